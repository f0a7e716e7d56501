"""Supervised fine-tuning on demonstrations, with the loss on response tokens only.

Follows Ouyang et al. 2022, appendix C.1, except: there is no residual dropout (log-probabilities must not depend on a random mask, and
the same model is the KL reference later), and the epoch is chosen by validation loss or is the last one, since no reward model exists
yet.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.optim import Schedule, cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pack
from accord.models.policy import logprobs, text_loss
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import SftConfig


@dataclass(frozen=True)
class Example:
    """Token ids of a conversation; the last ``kept`` are the response with its stop token."""

    tokens: list[int]
    kept: int


def example(prompt: list[int], response: list[int], window: RowWindow, name: str) -> Example:
    """Join prompt and response within the window.

    Raises:
        InputError: they do not fit, or the response is only its stop token; the error names the example.
    """
    row = window.join(prompt, response, name, shortest=2)
    return Example(row.tokens, row.kept)


def train(
    config: SftConfig,
    *,
    model: Any,
    examples: Sequence[Example],
    validation: Sequence[Example],
    pretraining: Callable[[int], Iterator[list[list[int]]]] | None = None,
    run: Run,
    dtype: torch.dtype,
    schedule: Schedule = cosine,
) -> Mapping[str, float]:
    """Train ``model`` in place, give it the weights of the chosen epoch, and return their loss on held-out data.

    ``pretraining`` yields batches of raw-text documents from the n-th on, whose loss is added with weight 1.
    """
    a_pass = math.ceil(len(examples) / config.batch_size)
    steps = a_pass * config.epochs
    optimizers = make_optimizers(model, config, lr=config.lr, muon_lr=config.muon_lr)
    done, best, best_loss = 0, 0, math.inf
    held_out: dict[str, float] = {}
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(model, state["model"])
        restore_optimizers(optimizers, state["optimizers"])
        best, best_loss, held_out = _best_of(state, run, done), state["best_loss"], state.get("held_out", {})
    named = best

    raw_text = pretraining(done) if pretraining else None
    with track(steps, "sft", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the batch; each epoch has its own order, its last batch may be short
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(examples), generator=generator(config.seed, "sft", epoch)).tolist()
            rows = [examples[i] for i in order[place * config.batch_size : (place + 1) * config.batch_size]]

            # step 2: loss of the response tokens, averaged over the tokens of the whole batch
            losses = _accumulate(model, rows, config.micro_tokens, dtype)

            if raw_text:
                text_loss(model, next(raw_text), dtype=dtype).backward()

            # step 3: update
            share = schedule(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = ranks.joined(to_host({"loss": torch.stack(losses), "grad_norm": norm}), "grad_norm")
            loss = added(found["loss"])
            speed = sum(len(row.tokens) for row in rows) / (time.perf_counter() - began)
            metrics = {"loss": loss, "lr": config.lr * share, "grad_norm": float(found["grad_norm"]), "tokens_per_second": speed}

            # step 4: after each epoch the validation loss; the best epoch's weights go to disk
            if step % a_pass == 0 and validation:
                held_out = {"validation_loss": response_loss(model, validation, dtype=dtype, batch_tokens=config.micro_tokens)}
                metrics |= held_out
                if config.select == "validation_loss" and held_out["validation_loss"] < best_loss:
                    best, best_loss = step, held_out["validation_loss"]
                    run.put_aside(best, {"model": trained_state(model)})
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"model": trained_state(model), "best": best, "best_loss": best_loss, "held_out": held_out}
                run.checkpoint(step, state | {"optimizers": optimizer_states(optimizers)})
                run.forget_aside({best, named})  # the checkpoint before is on disk until this one is written
                named = best
            bar.advance(loss=loss, tokens_per_second=speed)
    if best not in (0, steps):  # else they are the model's own
        restore_trained(model, run.aside(best)["model"])
    if best:
        held_out = {"validation_loss": best_loss}
    if validation and not held_out:
        held_out = {"validation_loss": response_loss(model, validation, dtype=dtype, batch_tokens=config.micro_tokens)}
    return held_out


def _best_of(state: dict[str, Any], run: Run, done: int) -> int:
    """Return the best epoch's last step; 0 while there is none. Earlier versions kept its weights in the checkpoint: they go to disk."""
    best: int | dict[str, Tensor] = state["best"]
    if isinstance(best, int):
        return best
    if state["best_loss"] == math.inf:
        return 0
    run.put_aside(done, {"model": best})
    return done


@torch.no_grad()
def response_loss(model: Any, examples: Sequence[Example], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> float:
    """Return the mean cross-entropy in nats per response token."""
    total = sum(_loss_sum(model, part, dtype).item() for part in _parts(examples, batch_tokens))
    return float(ranks.summed(torch.tensor(total, dtype=torch.float64))) / sum(example.kept for example in examples)


def _accumulate(model: Any, rows: Sequence[Example], micro_tokens: int, dtype: torch.dtype) -> list[Tensor]:
    """Accumulate the gradient of the mean loss over the rows' response tokens; return its parts, which add up to it."""
    kept, losses = sum(row.kept for row in rows), list[Tensor]()
    for part in _parts(rows, micro_tokens):
        loss = _loss_sum(model, part, dtype) / kept
        loss.backward()
        losses.append(loss.detach())
    return losses


def _loss_sum(model: Any, rows: Sequence[Example], dtype: torch.dtype) -> Tensor:
    batch = pack([row.tokens for row in rows], [row.kept for row in rows]).to(model.device)
    return -logprobs(model, batch, dtype=dtype)[0].sum()


def _parts(rows: Sequence[Example], limit: int) -> list[list[Example]]:
    """Return the passes over this process's share of the rows."""
    return [[rows[i] for i in group] for group in divided([len(row.tokens) for row in rows], limit)]
