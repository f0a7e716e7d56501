"""Pretraining: next-token cross-entropy on raw text; documents are packed without padding and do not attend to one another.

Step 1 draw a batch of documents, step 2 compute its loss, step 3 update, step 4 validation loss and checkpoint at intervals.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from accord.algorithms.optim import cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.corpus import TokenCorpus
from accord.models.folders import new_decoder
from accord.models.policy import mean_loss, text_loss
from accord.models.sharding import take_up
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import derive
from accord.settings import PretrainConfig


def fresh(config: PretrainConfig, vocab_size: int, end: int, pad: int) -> Any:
    """Return the decoder before its first step, initialised from the seed."""
    torch.manual_seed(derive(config.seed, "pretrain", "init"))
    return new_decoder(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        layers=config.layers,
        heads=config.heads,
        intermediate_size=config.intermediate_size,
        context=config.context,
        end=end,
        pad=pad,
    )


def train(config: PretrainConfig, *, model: Any, corpus: TokenCorpus, run: Run, dtype: torch.dtype) -> Any:
    """Train ``model`` in place for ``config.tokens`` tokens and return it; continue from the run's checkpoint if it has one."""
    validation = corpus.held_out()
    steps = math.ceil(config.tokens / config.batch_tokens)
    optimizers = make_optimizers(model, config, lr=config.lr, muon_lr=config.muon_lr)
    done = 0
    if (restored := run.restore()) is not None:
        done, state = restored
        take_up(model, state["model"])
        restore_optimizers(optimizers, state["optimizers"])

    batches = corpus.batches(derive(config.seed, "pretrain", "order"), config.batch_tokens, skip=done)
    with track(steps, "pretrain", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: a batch of documents
            documents = next(batches)
            tokens = sum(map(len, documents))

            # step 2: the loss of every token given those before it in its document
            loss = text_loss(model, documents, dtype=dtype)
            loss.backward()

            # step 3: update
            share = cosine(step - 1, steps, config.warmup_steps, floor=0.05)
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = ranks.joined(to_host({"loss": loss[None], "grad_norm": norm}), "grad_norm")
            speed = tokens / (time.perf_counter() - began)
            metrics = {
                "loss": added(found["loss"]),
                "lr": config.lr * share,
                "grad_norm": float(found["grad_norm"]),
                "tokens": tokens,
                "tokens_per_second": speed,
            }

            # step 4: validation and checkpoint
            if step % config.save_every == 0 or step == steps:
                metrics["validation_loss"] = mean_loss(model, validation, dtype=dtype)
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                run.checkpoint(step, {"model": model.state_dict(), "optimizers": optimizer_states(optimizers)})
            bar.advance(loss=metrics["loss"], tokens_per_second=speed)
    return model
