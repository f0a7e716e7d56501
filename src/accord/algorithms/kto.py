"""Kahneman-Tversky optimisation: the policy learns from thumbs up and down on single responses, without comparisons.

Follows Ethayarajh et al. 2024, section 4, except: the reference point, KL(policy || reference), is estimated on each prompt with one
fixed mismatched response (that of another prompt), drawn once by the seed instead of from the batch. The reference is the policy before
its first step, so its log-probabilities of both kinds of responses are computed once and stored in the checkpoint, and no second model
is held. AdamW and a cosine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.objectives import kto_loss
from accord.algorithms.optim import Schedule, cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pack
from accord.models.responses import all_response_logprobs, response_logprobs
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import KtoConfig


@dataclass(frozen=True)
class ThumbRow:
    """Token ids of a prompt and a response, the last ``kept`` of which are the response, and whether it got a thumb up."""

    tokens: list[int]
    kept: int
    up: bool


def thumb_row(prompt: list[int], response: list[int], up: bool, window: RowWindow, name: str) -> ThumbRow:
    """Join prompt and response within the window.

    Raises:
        InputError: they do not fit, or the response is empty; the error names the response.
    """
    row = window.join(prompt, response, name)
    return ThumbRow(row.tokens, row.kept, up)


def estranged(thumbs: Sequence[ThumbRow], *, max_tokens: int, seed: int) -> list[ThumbRow]:
    """Return each thumb's prompt with a mismatched response: the next one, in an order drawn once, that answers another prompt.

    Where both together exceed ``max_tokens``, the prompt's left is cut; nothing is learned from these rows.

    Raises:
        InputError: there is no other prompt.
    """
    prompts = [thumb.tokens[: -thumb.kept] for thumb in thumbs]
    order: list[int] = torch.randperm(len(thumbs), generator=generator(seed, "kto", "strangers")).tolist()
    rows = list(thumbs)
    for place, row in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        other = next((i for i in following if prompts[i] != prompts[row]), None)
        if other is None:
            hint = "label responses to more prompts"
            raise InputError("all thumbs are on one prompt; the reference point needs another prompt's response", where="kto", hint=hint)
        stranger = thumbs[other].tokens[-thumbs[other].kept :]
        rows[row] = ThumbRow([*prompts[row], *stranger][-max_tokens:], len(stranger), thumbs[row].up)
    return rows


def train(
    config: KtoConfig,
    *,
    policy: Any,
    thumbs: Sequence[ThumbRow],
    validation: Sequence[ThumbRow],
    held_out_group: Sequence[ThumbRow] = (),
    run: Run,
    dtype: torch.dtype,
    schedule: Schedule = cosine,
) -> Mapping[str, float]:
    """Train ``policy``, which starts as the reference, in place; return its final metrics on held-out data.

    Args:
        thumbs: of both kinds.
        validation: of other users. held_out_group: of the held-out group of labelers.
    """
    a_pass = math.ceil(len(thumbs) / config.batch_size)
    steps = a_pass * config.epochs
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    strangers = estranged(thumbs, max_tokens=config.max_tokens, seed=config.seed)
    done, held_out = 0, dict[str, float]()
    if (restored := run.restore()) is None:
        reference = said(config, policy, [*thumbs, *validation, *held_out_group], dtype).cpu()
        stranger_reference = said(config, policy, strangers, dtype).cpu()
    else:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        reference, stranger_reference = state["reference"], state["stranger_reference"]
        held_out = state.get("held_out", {})
    weights = thumb_weights(config, torch.tensor([thumb.up for thumb in thumbs]))
    references = torch.split(reference, [len(thumbs), len(validation), len(held_out_group)])

    with track(steps, "kto", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the thumbs of this step
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(thumbs), generator=generator(config.seed, "kto", epoch)).tolist()
            chosen = order[place * config.batch_size : (place + 1) * config.batch_size]
            rows = [thumbs[i] for i in chosen]

            # step 2: the reference point, from what the policy says of strangers; it carries no gradient
            asked = said(config, policy, [strangers[i] for i in chosen], dtype)
            kl = (asked - stranger_reference[chosen].to(asked.device)).mean().clamp(min=0)

            # step 3: the loss against the cached reference, a mean over thumbs
            losses, said_more, order_of = _accumulate(config, policy, rows, references[0][chosen], weights[chosen], kl, dtype)

            # step 4: update
            share = schedule(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = to_host({"loss": torch.stack(losses), "ratios": torch.cat(said_more), "kl": kl, "grad_norm": norm})
            found = ranks.joined(found | {"order": torch.tensor(order_of, dtype=torch.long)}, "kl", "grad_norm")
            ratios = torch.empty(len(rows)).index_copy_(0, found["order"], found["ratios"])
            metrics = _summary(config, rows, ratios) | {"loss": added(found["loss"])}
            metrics |= {"kl": float(found["kl"]), "lr": config.lr * share, "grad_norm": float(found["grad_norm"])}
            metrics["thumbs_per_second"] = len(rows) / (time.perf_counter() - began)

            # step 5: accuracy on what it does not learn from at the end of an epoch, checkpoint
            if step % a_pass == 0:
                held_out = _held_out(config, policy, (validation, held_out_group), references[1:], dtype)
                metrics |= held_out
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers), "held_out": held_out}
                run.checkpoint(step, state | {"reference": reference, "stranger_reference": stranger_reference})
            bar.advance(loss=metrics["loss"], accuracy=metrics["accuracy"])
    return held_out or _held_out(config, policy, (validation, held_out_group), references[1:], dtype)


def said(config: KtoConfig, policy: Any, rows: Sequence[ThumbRow], dtype: torch.dtype) -> Tensor:
    """Return the policy's log-probability of each row's response in nats, without gradient, on its device."""
    return all_response_logprobs(
        policy, [row.tokens for row in rows], [row.kept for row in rows], dtype=dtype, batch_tokens=config.micro_tokens
    )


def thumb_weights(config: KtoConfig, up: Tensor) -> Tensor:
    """Return the weight of each thumb; with ``up_weight`` 0, all ups together weigh as much as all downs."""
    ups, downs = int(up.sum()), int((~up).sum())
    up_weight = config.up_weight or config.down_weight * downs / max(ups, 1)
    return torch.where(up, up_weight, config.down_weight)


def _accumulate(
    config: KtoConfig, policy: Any, rows: Sequence[ThumbRow], reference: Tensor, weights: Tensor, kl: Tensor, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Accumulate this process's share of the gradients of the mean loss over the rows.

    Returns the parts of the loss, which add up to it, log policy - log reference of the rows, and the rows' numbers in that order.
    """
    losses, log_ratios, order = list[Tensor](), list[Tensor](), list[int]()
    up = torch.tensor([row.up for row in rows])
    for group in divided([len(row.tokens) for row in rows], config.micro_tokens):
        batch = pack([rows[i].tokens for i in group], [rows[i].kept for i in group]).to(policy.device)
        ratios = response_logprobs(policy, batch, dtype=dtype) - reference[group].to(policy.device)
        device = ratios.device
        each = kto_loss(ratios, up[group].to(device), kl.to(device), config.beta, weights[group].to(device))
        loss = each.sum() / len(rows)
        loss.backward()
        losses.append(loss.detach())
        log_ratios.append(ratios.detach())
        order += group
    return losses, log_ratios, order


def _summary(config: KtoConfig, rows: Sequence[ThumbRow], log_ratios: Tensor) -> dict[str, float]:
    """Return the metrics of a step, which docs/kto.md defines."""
    up, rewards = torch.tensor([row.up for row in rows]), config.beta * log_ratios
    return {
        "accuracy": _accuracy(log_ratios, up),
        "reward_up": rewards[up].mean().item(),
        "reward_down": rewards[~up].mean().item(),
        "ups": up.float().mean().item(),
        "drift": _drift(log_ratios, rows),
    }


def _drift(log_ratios: Tensor, rows: Sequence[ThumbRow]) -> float:
    """Return how far the policy is from the reference on these responses: the mean of |log policy - log reference|, in nats per token."""
    return float(log_ratios.abs().sum() / sum(row.kept for row in rows))


def _accuracy(log_ratios: Tensor, up: Tensor) -> float:
    """Return how often an up scores above a down, over all such pairs; equal counts half. 0 without pairs."""
    ups, downs = log_ratios[up], log_ratios[~up].sort().values
    below = torch.searchsorted(downs, ups) + torch.searchsorted(downs, ups, right=True)
    return float(below.sum() / 2 / max(len(ups) * len(downs), 1))


def _held_out(
    config: KtoConfig, policy: Any, sets: tuple[Sequence[ThumbRow], Sequence[ThumbRow]], references: Sequence[Tensor], dtype: torch.dtype
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for rows, reference, strangers in zip(sets, references, (False, True), strict=True):
        if rows:
            log_ratios = said(config, policy, rows, dtype).cpu() - reference
            found = _accuracy(log_ratios, torch.tensor([row.up for row in rows]))
            unseen = {"validation_accuracy": found, "validation_drift": _drift(log_ratios, rows)}
            metrics |= {"heldout_accuracy": found} if strangers else unseen
    return metrics
