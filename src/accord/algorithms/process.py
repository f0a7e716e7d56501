"""A process reward model: for every token of a response, the probability that labelers would mark its part as wrong.

Follows Wu et al. 2023 (fine-grained RLHF), sections 3 and 4, except: the model decides for every token, not for a sentence, so that no
splitter is needed; one model covers all requested kinds of error; a reward is minus the probability of an error, spread over the tokens,
where theirs is a constant at the end of a segment. Starts from the SFT model with its head replaced by a scalar.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from accord.algorithms.optim import cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pack
from accord.models.scalar import scalars, scored_row, trained_window
from accord.records import Episode
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import ProcessConfig


@dataclass(frozen=True)
class MarkedRow:
    """Token ids of a prompt and a response, and for each of the last ``len(wrong)`` tokens, the response's, whether it is in a marked
    part."""

    tokens: list[int]
    wrong: list[bool]


def marked_row(prompt: list[int], response: list[int], wrong: list[bool], window: RowWindow, name: str) -> MarkedRow:
    """Join prompt and response within the window.

    Raises:
        InputError: they do not fit, or the response is empty; the error names the response.
    """
    return MarkedRow(window.join(prompt, response, name).tokens, wrong)


def marks(pieces: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each piece of a text (the texts of its tokens, in order) whether it overlaps one of the character spans."""
    wrong, at = list[bool](), 0
    for piece in pieces:
        wrong.append(any(max(start, at) < min(end, at + len(piece)) for start, end in spans))
        at += len(piece)
    return wrong


def train(
    config: ProcessConfig, *, model: Any, rows: Sequence[MarkedRow], validation: Sequence[MarkedRow], run: Run, dtype: torch.dtype
) -> Mapping[str, float]:
    """Train a scalar model in place and return its metrics on held-out data."""
    a_pass = math.ceil(len(rows) / config.batch_size)
    steps = a_pass * config.epochs
    optimizers = make_optimizers(model, config, lr=config.lr, muon_lr=config.muon_lr)
    weight = mark_weight(config, rows)
    done, held_out = 0, dict[str, float]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(model, state["model"])
        restore_optimizers(optimizers, state["optimizers"])
        held_out = state.get("held_out", {})

    with track(steps, "process", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the responses of this step
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(rows), generator=generator(config.seed, "process", epoch)).tolist()
            chosen = [rows[i] for i in order[place * config.batch_size : (place + 1) * config.batch_size]]

            # step 2: is each token in a marked part? cross-entropy, a mean over response tokens
            losses, right = _accumulate(config, model, chosen, weight, dtype)

            # step 3: update
            share = cosine(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = ranks.joined(to_host({"loss": torch.stack(losses), "right": torch.stack(right), "grad_norm": norm}), "grad_norm")
            metrics = _summary(chosen, found)
            metrics["lr"] = config.lr * share
            metrics["tokens_per_second"] = sum(len(row.tokens) for row in chosen) / (time.perf_counter() - began)

            # step 4: accuracy on what it does not learn from at the end of an epoch, checkpoint
            if step % a_pass == 0 and validation:
                held_out = _held_out(config, model, validation, dtype)
                metrics |= held_out
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"model": trained_state(model), "optimizers": optimizer_states(optimizers)}
                run.checkpoint(step, state | {"held_out": held_out})
            bar.advance(loss=metrics["loss"], tokens_per_second=metrics["tokens_per_second"])
    if validation and not held_out:
        held_out = _held_out(config, model, validation, dtype)
    return held_out


def mark_weight(config: ProcessConfig, rows: Sequence[MarkedRow]) -> float:
    """Return the weight of a marked token; with ``weight`` 0, all of them together weigh as much as all others."""
    marked, all_ = sum(sum(row.wrong) for row in rows), sum(len(row.wrong) for row in rows)
    return config.weight or (all_ - marked) / max(marked, 1)


def error_logits(model: Any, rows: Sequence[MarkedRow], dtype: torch.dtype) -> Float[Tensor, " tokens"]:
    """Return the model's logit for every response token, read at the token itself, rows end to end."""
    batch = pack([row.tokens for row in rows], [len(row.wrong) for row in rows]).to(model.device)
    return scalars(model, batch, batch.targets, dtype=dtype)


def _accumulate(
    config: ProcessConfig, model: Any, rows: Sequence[MarkedRow], weight: float, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """Accumulate this process's share of the gradient of the mean loss over the rows' tokens; return sums over tokens: losses, and
    whether it was right."""
    kept, all_losses, right = sum(len(row.wrong) for row in rows), list[Tensor](), list[Tensor]()
    for group in divided([len(row.tokens) for row in rows], config.micro_tokens):
        part = [rows[i] for i in group]
        wrong = torch.tensor([mark for row in part for mark in row.wrong], dtype=torch.bool, device=model.device)
        logits = error_logits(model, part, dtype)
        losses = F.binary_cross_entropy_with_logits(
            logits, wrong.float(), pos_weight=torch.tensor(weight, device=model.device), reduction="sum"
        )
        (losses / kept).backward()
        all_losses.append(losses.detach())
        right.append(((logits > 0) == wrong).sum().float())
    return all_losses, right


def _summary(rows: Sequence[MarkedRow], found: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the metrics of a step from its sums over tokens; docs/process.md defines each."""
    kept = sum(len(row.wrong) for row in rows)
    return {
        "loss": added(found["loss"].double() / kept),
        "accuracy": added(found["right"].double() / kept),
        "marked": sum(sum(row.wrong) for row in rows) / kept,
        "grad_norm": float(found["grad_norm"]),
    }


@torch.no_grad()
def _held_out(config: ProcessConfig, model: Any, rows: Sequence[MarkedRow], dtype: torch.dtype) -> dict[str, float]:
    logits, wrong = list[Tensor](), list[Tensor]()
    for group in divided([len(row.tokens) for row in rows], config.micro_tokens):
        part = [rows[i] for i in group]
        logits.append(error_logits(model, part, dtype).cpu())
        wrong.append(torch.tensor([mark for row in part for mark in row.wrong], dtype=torch.bool))
    found = ranks.joined({"logits": torch.cat(logits), "wrong": torch.cat(wrong)})
    return {"validation_auc": _auc(found["logits"], found["wrong"])}


def _auc(logits: Float[Tensor, " n"], wrong: Bool[Tensor, " n"]) -> float:
    """Return how often a marked token has a larger logit than an unmarked one; equal counts half; 0 without both."""
    marked, others = logits[wrong], logits[~wrong].sort().values
    below = torch.searchsorted(others, marked) + torch.searchsorted(others, marked, right=True)
    return float(below.sum() / 2 / max(len(marked) * len(others), 1))


class ProcessReward:
    """A process model as a reward: each token of a response gets minus the probability that it is part of an error."""

    def __init__(self, model: Any, *, dtype: torch.dtype, batch_tokens: int = 16_384) -> None:
        self.model, self.dtype, self.batch_tokens = model.eval(), dtype, batch_tokens
        self.max_tokens = trained_window(model)
        self.heard: Sequence[Episode] = ()

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored next."""
        self.heard = episodes

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Float[Tensor, " rows"]:
        """Return the sum over each response's tokens, for methods that reward whole responses."""
        return self.score_tokens(prompts, responses).sum(1)

    @torch.no_grad()
    def score_tokens(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Float[Tensor, "rows steps"]:
        """Return the reward of each response token, 0 after a row's end and for what others said in an episode.

        Of several processes each scores its share.
        """
        rows: list[MarkedRow] = []
        for prompt, response in zip(prompts, responses, strict=True):
            rows.append(MarkedRow(scored_row(prompt, response, self.max_tokens), [False] * len(response)))
        out = torch.zeros(len(rows), max(len(row.wrong) for row in rows))
        for group in divided([len(row.tokens) for row in rows], self.batch_tokens):
            part = [rows[i] for i in group]
            flat = -torch.sigmoid(error_logits(self.model, part, self.dtype)).cpu()
            for i, each in zip(group, torch.split(flat, [len(row.wrong) for row in part]), strict=True):
                out[i, : len(each)] = each
        for row, episode in zip(out, self.heard, strict=bool(self.heard)):
            row[: len(episode.own)] *= torch.tensor(episode.own)
        return ranks.summed(out)
