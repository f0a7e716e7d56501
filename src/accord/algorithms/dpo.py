"""Direct preference optimisation: the policy learns from rankings without a reward model, by pairs or by the whole ranking.

Follows Rafailov et al. 2023, section 4, except: rankings of K responses are kept together as in the reward model, with one forward pass
per response and weight 1/C(K,2) per pair (untied pairs only); the reference is the policy before its first step, so its
log-probabilities are computed once and stored in the checkpoint, and no second model is held; AdamW and a cosine replace RMSprop. One
loop and one kind of data serve all losses of ``prompt_loss``: DPO, cDPO, robust DPO, IPO, ORPO, SimPO and Plackett-Luce. ORPO's
likelihood term covers the best responses of a prompt, where its paper has only pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.objectives import (
    TIE,
    dpo_loss,
    ipo_loss,
    odds_ratio_loss,
    plackett_luce_loss,
    ranked_pairs,
    rao_kupper_loss,
    robust_dpo_loss,
    share_above,
)
from accord.algorithms.optim import Schedule, cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, in_parts, pack
from accord.models.responses import all_response_logprobs, response_logprobs
from accord.models.sharding import pass_tokens
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import DpoConfig

REFERENCE_FREE = ("orpo", "simpo")
BY_MEAN = ("ipo", "orpo", "simpo")


@dataclass(frozen=True)
class RankedResponses:
    """One prompt's K token sequences with one labeler's ranks; the last ``kept[i]`` tokens of row i are the response."""

    rows: list[list[int]]
    kept: list[int]
    ranks: list[int]


@dataclass(frozen=True)
class Known:
    """A ranking and the reference's log-probabilities [K] of its responses in nats, zeros where there is no reference."""

    ranked: RankedResponses
    reference: Tensor


@dataclass(frozen=True)
class Measured:
    """The result of one forward pass over some prompts: loss share, implied rewards of each untied pair, the best responses' likelihood.

    ``moved`` is |log policy - log reference| of each response in nats, and ``tokens`` its length; empty where there is no reference.
    """

    loss: Tensor
    better: Tensor
    worse: Tensor
    best: Tensor
    moved: Tensor
    tokens: Tensor


def ranked_responses(
    prompt: list[int], responses: Sequence[list[int]], ranks: Sequence[int], window: RowWindow, name: str
) -> RankedResponses:
    """Join a prompt to those of its responses that fit the window.

    Raises:
        InputError: too few fit, or one is empty; the error names the ranking.
    """
    rows, kept = window.join_ranked(prompt, responses, ranks, name)
    return RankedResponses([row.tokens for row in rows], [row.kept for row in rows], [ranks[i] for i in kept])


def train(
    config: DpoConfig,
    *,
    policy: Any,
    rankings: Sequence[RankedResponses],
    validation: Sequence[RankedResponses],
    held_out_group: Sequence[RankedResponses] = (),
    run: Run,
    dtype: torch.dtype,
    schedule: Schedule = cosine,
) -> Mapping[str, float]:
    """Train ``policy``, which starts as the reference, in place; return its final metrics on held-out data.

    Args:
        rankings: each with at least one untied pair.
        validation: of other users. held_out_group: of the held-out group of labelers.
    """
    a_pass = math.ceil(len(rankings) / config.batch_size)
    steps = a_pass * config.epochs
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    everything = [*rankings, *validation, *held_out_group]
    done, held_out = 0, dict[str, float]()
    if (restored := run.restore()) is None:
        reference = reference_logprobs(config, policy, everything, dtype=dtype)
    else:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        reference, held_out = state["reference"], state.get("held_out", {})
    parts = torch.split(reference, [len(ranked.rows) for ranked in everything])
    known = [Known(ranked, part) for ranked, part in zip(everything, parts, strict=True)]
    learned, unseen = known[: len(rankings)], known[len(rankings) :]
    unseen, strangers = unseen[: len(validation)], unseen[len(validation) :]

    with track(steps, "dpo", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the prompts of this step, each with all its responses
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(rankings), generator=generator(config.seed, "dpo", epoch)).tolist()
            chosen = [learned[i] for i in order[place * config.batch_size : (place + 1) * config.batch_size]]

            # step 2: one forward pass a response, the loss of each prompt against the cached reference, a mean over prompts
            measured = list[Measured]()
            for part in _passes(config, policy, chosen, dtype):
                part.loss.backward()
                measured.append(replace(part, loss=part.loss.detach()))

            # step 3: update
            share = schedule(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            metrics = _summary(measured, grad_norm=norm) | {"lr": config.lr * share}
            metrics["pairs_per_second"] = metrics.pop("pairs") / (time.perf_counter() - began)

            # step 4: loss and accuracy on what it does not learn from at the end of an epoch, checkpoint
            if step % a_pass == 0:
                held_out = _held_out(config, policy, unseen, strangers, dtype)
                metrics |= held_out
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers)}
                run.checkpoint(step, state | {"reference": reference, "held_out": held_out})
            bar.advance(loss=metrics["loss"], accuracy=metrics["accuracy"])
    return held_out or _held_out(config, policy, unseen, strangers, dtype)


def reference_logprobs(config: DpoConfig, policy: Any, rankings: Sequence[RankedResponses], *, dtype: torch.dtype) -> Tensor:
    """Return the policy's current log-probabilities of all responses, flat in order; zeros for losses without a reference."""
    rows = [row for ranked in rankings for row in ranked.rows]
    if config.loss in REFERENCE_FREE:
        return torch.zeros(len(rows))
    kept = [count for ranked in rankings for count in ranked.kept]
    return all_response_logprobs(policy, rows, kept, dtype=dtype, batch_tokens=config.micro_tokens).cpu()


def implied_rewards(config: DpoConfig, logprobs: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
    """Return beta (log policy - log reference) of each response [K], divided by its length if the method does; ``tokens`` are the
    lengths."""
    by_mean = config.normalise == "mean" or (config.normalise == "auto" and config.loss in BY_MEAN)
    return config.strength * (logprobs - reference) / (tokens if by_mean else 1)


def prompt_loss(config: DpoConfig, logprobs: Tensor, rewards: Tensor, tokens: Tensor, ranks: Tensor) -> Tensor:
    """Return the loss of one prompt's K responses: of the whole ranking, or the mean over its untied pairs.

    Args:
        logprobs: the policy's, of each response [K]. rewards: from ``implied_rewards`` [K].
        tokens: lengths of the responses [K]. ranks: 1 is best [K], on the CPU.
    """
    better, worse = ranked_pairs(ranks)[0].to(rewards.device)
    beta, ahead = config.strength, rewards[better] - rewards[worse]
    match config.loss:
        case "plackett-luce":
            return plackett_luce_loss(rewards, ranks, ties=config.ties == "model")
        case "sigmoid" if config.ties == "model":
            return rao_kupper_loss(rewards, ranks, rewards.new_tensor(math.log(math.expm1(config.tie_margin))))
        case "sigmoid":
            losses = dpo_loss(ahead, config.label_smoothing)
        case "robust":
            losses = robust_dpo_loss(ahead, config.label_smoothing)
        case "ipo":
            losses = ipo_loss(ahead / beta, beta)
        case "simpo":
            losses = dpo_loss(ahead - beta * config.margin, config.label_smoothing)
        case "orpo":
            means = logprobs / tokens
            odds = odds_ratio_loss(means[better], means[worse]).sum() / max(len(better), 1)
            return beta * odds - means[_best(ranks).to(means.device)].mean()
    return losses.sum() / max(len(better), 1)


def _best(ranks: Tensor) -> Tensor:
    """Return the indices of the responses of the best rank."""
    return (ranks == ranks.min()).nonzero().squeeze(1)


def _passes(config: DpoConfig, policy: Any, chosen: Sequence[Known], dtype: torch.dtype) -> Iterator[Measured]:
    """Yield measurements of this process's share of the chosen prompts, a few at a time. Over all processes the losses add up to the mean
    over prompts. Responses of one prompt that do not fit into one pass are computed in several."""
    for group in divided([sum(map(len, known.ranked.rows)) for known in chosen], config.micro_tokens):
        yield _measured(config, policy, [chosen[i] for i in group], len(chosen), dtype)


def _measured(config: DpoConfig, policy: Any, part: Sequence[Known], prompts: int, dtype: torch.dtype) -> Measured:
    rows, kept = [row for known in part for row in known.ranked.rows], [count for known in part for count in known.ranked.kept]

    def said_of(numbers: list[int]) -> Tensor:
        return response_logprobs(policy, pack([rows[i] for i in numbers], [kept[i] for i in numbers]).to(policy.device), dtype=dtype)

    said = in_parts(said_of, [len(row) for row in rows], pass_tokens(policy, config.micro_tokens))
    nothing = said.detach()[:0]  # a process may have no prompt
    losses, better, worse, best = list[Tensor](), [nothing], [nothing], [nothing]
    for known, logprobs in zip(part, torch.split(said, [len(known.ranked.rows) for known in part]), strict=True):
        ranks, tokens = torch.tensor(known.ranked.ranks), torch.tensor(known.ranked.kept, device=said.device)
        rewards = implied_rewards(config, logprobs, known.reference.to(said.device), tokens)
        losses.append(prompt_loss(config, logprobs, rewards, tokens, ranks))
        first, second = ranked_pairs(ranks)[0].to(said.device)
        better.append(rewards.detach()[first])
        worse.append(rewards.detach()[second])
        best.append((logprobs / tokens).detach()[_best(ranks).to(said.device)])
    known_of_all = torch.cat([torch.empty(0), *(known.reference for known in part)]).to(said.device)
    with_reference = slice(0) if config.loss in REFERENCE_FREE else slice(None)
    moved, lengths = (said.detach() - known_of_all).abs()[with_reference], torch.tensor(kept, dtype=torch.long)[with_reference]
    loss = torch.stack(losses).sum() if losses else said.sum()
    return Measured(loss / prompts, torch.cat(better), torch.cat(worse), torch.cat(best), moved, lengths)


def _summary(measured: Sequence[Measured], **single: Tensor) -> dict[str, float]:
    """Return the metrics of a step, those of one number each as they are; docs/dpo.md defines each."""
    parts = {name: torch.cat([getattr(part, name) for part in measured]) for name in ("better", "worse", "best", "moved")}
    found = to_host({"loss": torch.stack([part.loss for part in measured]), **parts, **single})
    found = ranks.joined(found | {"tokens": torch.cat([part.tokens for part in measured])}, *single)
    better, worse, best, moved = (found[name] for name in parts)
    tokens = found["tokens"]
    drift = {"drift": (moved.sum() / tokens.sum()).item()} if len(tokens) else {}
    metrics = {name: float(found[name]) for name in single} | drift
    return metrics | {
        "loss": added(found["loss"]),
        "accuracy": share_above(better, worse, TIE),
        "margin": (better - worse).mean().item(),
        "reward_better": better.mean().item(),
        "reward_worse": worse.mean().item(),
        "best_logprob": best.mean().item(),
        "pairs": float(len(better)),
    }


@torch.no_grad()
def _held_out(
    config: DpoConfig, policy: Any, validation: Sequence[Known], held_out_group: Sequence[Known], dtype: torch.dtype
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if validation:
        found = _summary(list(_passes(config, policy, validation, dtype)))
        metrics |= {"validation_loss": found["loss"], "validation_accuracy": found["accuracy"]}
        metrics |= {"validation_drift": found["drift"]} if "drift" in found else {}
    if held_out_group:
        metrics["heldout_accuracy"] = _summary(list(_passes(config, policy, held_out_group, dtype)))["accuracy"]
    return metrics
