"""Rollouts: the policy's samples, measured by reward model, reference and value model.

Shared by every method that learns from its own samples. The loss uses the sampled tokens as they are; nothing is tokenised again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.algorithms.objectives import kl_estimate
from accord.errors import RunError
from accord.models.packing import PackedBatch, divided, keep_mask, pack, pad
from accord.models.policy import logprobs
from accord.models.scalar import scalars
from accord.protocols import Sampler, Scorer, is_foreign
from accord.records import EPISODE_ENDS, Episode, Generation, PromptTokens, Sampling
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.seeds import generator as stream


@dataclass(frozen=True)
class Drawn:
    """Responses with their scores, before any forward pass of the trainer; the n responses of a prompt are adjacent."""

    prompts: list[list[int]]
    responses: list[list[int]]
    finished: Bool[Tensor, " rows"]
    scores: Float[Tensor, " rows"]
    keep: Bool[Tensor, "rows steps"]
    logprobs: Float[Tensor, "rows steps"]
    """Log-probabilities from the sampler."""
    seconds: dict[str, float]
    dense: Float[Tensor, "rows steps"] | None = None
    """Rewards of single tokens in addition to the scores, if the scorer gives any."""
    episodes: list[Episode] | None = None
    """What each row is, where an environment answered the model. ``responses`` then hold all tokens behind the opening, and the token
    tensors have a step for each of the model's own alone, as they have where a response is all that is said."""
    group: int = 1
    """How many adjacent rows share a prompt, where they are episodes."""

    def rows(self, chosen: Sequence[int]) -> Drawn:
        """Return some of the rows, in the given order."""
        kept = list(chosen)
        prompts, responses = [self.prompts[i] for i in kept], [self.responses[i] for i in kept]
        width = int(self.keep[kept].sum(1).max())
        tokens = (self.keep[kept][:, :width], self.logprobs[kept][:, :width])
        dense = None if self.dense is None else self.dense[kept][:, :width]
        episodes = None if self.episodes is None else [self.episodes[i] for i in kept]
        return Drawn(prompts, responses, self.finished[kept], self.scores[kept], *tokens, self.seconds, dense, episodes, self.group)

    def __add__(self, other: Drawn) -> Drawn:
        """Concatenate two draws and add up their seconds."""
        width = max(self.keep.shape[1], other.keep.shape[1])

        def joined(one: Tensor, two: Tensor) -> Tensor:
            return torch.cat([F.pad(each, (0, width - each.shape[1])) for each in (one, two)])

        keep, logprobs = joined(self.keep, other.keep), joined(self.logprobs, other.logprobs)
        dense = None if self.dense is None or other.dense is None else joined(self.dense, other.dense)
        episodes = None if self.episodes is None or other.episodes is None else self.episodes + other.episodes
        finished, scores = torch.cat([self.finished, other.finished]), torch.cat([self.scores, other.scores])
        seconds = {name: spent + other.seconds[name] for name, spent in self.seconds.items()}
        prompts, responses = self.prompts + other.prompts, self.responses + other.responses
        return Drawn(prompts, responses, finished, scores, keep, logprobs, seconds, dense, episodes, self.group)


@dataclass(frozen=True)
class Rollout:
    """One batch of episodes. Row tensors are [rows], token tensors [rows, steps] right-padded over response tokens."""

    prompts: list[list[int]]
    responses: list[list[int]]
    finished: Bool[Tensor, " rows"]
    scores: Float[Tensor, " rows"]
    keep: Bool[Tensor, "rows steps"]
    logprobs: Float[Tensor, "rows steps"]
    """Log-probabilities of the sampling policy, from the trainer's own forward pass."""
    reference: Float[Tensor, "rows steps"]
    values: Float[Tensor, "rows steps"]
    after: Float[Tensor, " rows"]
    """Value after the last token."""
    entropy: float
    """Mean over kept tokens, in nats."""
    logprob_gap: float
    """Mean absolute difference between the log-probabilities of sampler and trainer, per token."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    dense: Float[Tensor, "rows steps"] | None = None
    """Rewards of single tokens in addition to the scores."""
    log_ratio: Float[Tensor, "rows steps"] | None = None
    """The trainer's log-probability of each sampled token minus the sampler's, 0 elsewhere; None where both are one."""
    entropies: Float[Tensor, "rows steps"] | None = None
    """The trainer's entropy where each token was sampled."""
    episodes: list[Episode] | None = None
    """As in ``Drawn``."""
    group: int = 1
    """As in ``Drawn``."""


def collect(
    prompts: Sequence[list[int]],
    *,
    sampler: Sampler,
    scorer: Scorer,
    policy: Any,
    reference: Any,
    value: Any,
    sampling: Sampling,
    generator: torch.Generator,
    dtype: torch.dtype,
    micro_tokens: int,
) -> Rollout:
    """Sample one response per prompt and measure it.

    Raises:
        RunError: the scorer returned a number that is not finite, or not one per response.
    """
    drawn = draw(prompts, n=1, sampler=sampler, scorer=scorer, sampling=sampling, generator=generator)
    return measure(
        drawn, policy=policy, reference=reference, value=value, temperature=sampling.temperature, dtype=dtype, micro_tokens=micro_tokens
    )


def draw(
    prompts: Sequence[list[int]], *, n: int, sampler: Sampler, scorer: Scorer, sampling: Sampling, generator: torch.Generator
) -> Drawn:
    """Sample n responses per prompt, or n episodes where an environment answers the model, and score them.

    Raises:
        RunError: the scorer returned a number that is not finite, or not one per response; or every episode failed.
    """
    started = time.perf_counter()
    generation = asked_of(sampler, partial(sampler.sample, prompts, n=n, sampling=sampling, generator=generator))
    responses, episodes = generation.rows(), generation.episodes
    sampled = time.perf_counter()
    asked: list[list[int]] = [prompt for prompt in prompts for _ in range(n)]
    if episodes is not None:
        asked = [PromptTokens(e.opening, cast("PromptTokens", prompt).prompt) for e, prompt in zip(episodes, asked, strict=True)]
        hear: Callable[[Sequence[Episode]], None] | None = getattr(scorer, "hear", None)
        if hear:
            hear(episodes)
    scores = checked_scores(scorer.score(asked, responses), len(responses))
    seconds = {"rollout": sampled - started, "score": time.perf_counter() - sampled}
    spread: Callable[[], Tensor | None] | None = getattr(scorer, "token_rewards", None)
    drawn = Drawn(
        asked, responses, generation.finished, scores, generation.keep, generation.logprobs, seconds, spread() if spread else None
    )
    return drawn if episodes is None else _own_tokens(drawn, episodes, n)


def _own_tokens(drawn: Drawn, episodes: list[Episode], n: int) -> Drawn:
    """Return episodes with a step for each of the model's own tokens. Those that failed were given nothing; see ``neutral``."""
    void = torch.tensor([episode.void for episode in episodes])
    if bool(void.all()):
        hint = "fix the environment, and continue with --resume"
        raise RunError(f"all {len(episodes)} episodes failed; the first: {episodes[0].error}", where="the environment", hint=hint)
    own = pad(torch.tensor([float(each) for episode in episodes for each in episode.own]), torch.tensor([len(e.own) for e in episodes]))
    counts = own.bool().sum(1)

    def own_steps(table: Tensor) -> Tensor:
        return pad(table[own.bool()], counts)

    dense = None if drawn.dense is None else own_steps(drawn.dense).masked_fill(void[:, None], 0.0)
    there = replace(drawn, keep=keep_mask(counts), logprobs=own_steps(drawn.logprobs), dense=dense, episodes=episodes, group=n)
    return replace(there, scores=neutral(there, there.scores))


def neutral(drawn: Drawn | Rollout, scores: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Return scores in which each episode that failed has the mean of the others of its group, so that it moves no baseline."""
    if drawn.episodes is None:
        return scores
    void, n = torch.tensor([episode.void for episode in drawn.episodes]), drawn.group
    valid = (~void).float()
    mean_of_all = (scores * valid).sum() / valid.sum().clamp(min=1)
    sums, there = (scores * valid).view(-1, n).sum(1), valid.view(-1, n).sum(1)
    usual = torch.where(there > 0, sums / there.clamp(min=1), mean_of_all).repeat_interleave(n)
    return torch.where(void, usual, scores)


def own_tokens(responses: Sequence[Sequence[int]], episodes: Sequence[Episode] | None) -> list[list[int]]:
    """Return the policy's own tokens of each response: all of them, or those of an episode without what others said."""
    if not episodes:
        return [list(response) for response in responses]
    said: list[list[int]] = []
    for response, episode in zip(responses, episodes, strict=True):
        said.append([token for token, own in zip(response, episode.own, strict=True) if own])
    return said


def asked_of(sampler: Sampler, ask: Callable[[], Generation]) -> Generation:
    """Return a sampler's answer, the same in every process: one that computes outside of them is asked by the first alone."""
    return ranks.from_first(ask) if is_foreign(sampler) else ask()


@torch.no_grad()
def measure(
    drawn: Drawn, *, policy: Any, reference: Any, value: Any = None, temperature: float, dtype: torch.dtype, micro_tokens: int
) -> Rollout:
    """Measure the responses with policy, reference and value model; without a value model every value is 0."""
    began = time.perf_counter()
    lengths = [len(prompt) + len(response) for prompt, response in zip(drawn.prompts, drawn.responses, strict=True)]
    flat = _Flat(drawn.keep.sum(1), ("logprobs", "entropy", "reference", "values"))
    for group in divided(lengths, micro_tokens, drawn.prompts):
        batch = minibatch(drawn, group).to(policy.device)
        own, entropy = logprobs(policy, batch, dtype=dtype, temperature=temperature)
        other, _ = logprobs(reference, batch, dtype=dtype, temperature=temperature)
        before, after = torch.zeros_like(own), own.new_zeros(len(group))
        if value is not None:
            at = torch.cat([batch.targets - 1, batch.last])
            before, after = torch.split(scalars(value, batch, at, dtype=dtype), [len(batch.targets), len(group)])
        flat.put(group, torch.tensor(batch.kept_counts), {"logprobs": own, "entropy": entropy, "reference": other, "values": before}, after)
    flat.join()
    log_ratio = (flat.rows["logprobs"] - drawn.logprobs).masked_fill(~drawn.keep, 0.0)
    return Rollout(
        prompts=drawn.prompts,
        responses=drawn.responses,
        finished=drawn.finished,
        scores=drawn.scores,
        keep=drawn.keep,
        logprobs=flat.rows["logprobs"],
        reference=flat.rows["reference"],
        values=flat.rows["values"],
        after=flat.after,
        entropy=float(flat.rows["entropy"][drawn.keep].mean()),
        logprob_gap=float(log_ratio.abs()[drawn.keep].mean()),
        seconds=drawn.seconds | {"measure": time.perf_counter() - began},
        dense=drawn.dense,
        log_ratio=log_ratio,
        entropies=flat.rows["entropy"],
        episodes=drawn.episodes,
        group=drawn.group,
    )


def settled_scores(drawn: Drawn | Rollout, truncation: str, no_stop_reward: float) -> Float[Tensor, " rows"]:
    """Return the scores under the truncation rule, which replaces those of responses without a stop token.

    ``penalise`` gives ``no_stop_reward``, ``bootstrap`` 0; ``terminate`` and ``mask`` keep the score. An episode that failed then has what
    the others of its group have.
    """
    cut, scores = ~drawn.finished, drawn.scores
    if truncation in ("penalise", "bootstrap"):
        scores = torch.where(cut, no_stop_reward if truncation == "penalise" else 0.0, scores)
    return neutral(drawn, scores)


def learned_tokens(drawn: Drawn | Rollout, truncation: str) -> Bool[Tensor, "rows steps"]:
    """Return the mask of tokens that count in the loss: all kept ones, or under ``mask`` only those of finished responses.

    An episode whose environment failed teaches nothing.
    """
    keep = drawn.keep & drawn.finished[:, None] if truncation == "mask" else drawn.keep
    return keep if drawn.episodes is None else keep & ~torch.tensor([episode.void for episode in drawn.episodes])[:, None]


def next_prompts(prompts: Sequence[list[int]], start: int, count: int, *, seed: int, stage: str) -> list[list[int]]:
    """Return ``count`` prompts from the ``start``-th on, in passes over all of them, each in its own seeded order."""
    wanted = range(start, start + count)
    orders = {
        epoch: torch.randperm(len(prompts), generator=stream(seed, stage, "prompts", epoch))
        for epoch in {i // len(prompts) for i in wanted}
    }
    return [prompts[int(orders[i // len(prompts)][i % len(prompts)])] for i in wanted]


def minibatches(rows: int, size: int, epochs: int, *, seed: int, stage: str, step: int) -> Iterator[list[int]]:
    """Yield the row numbers of each minibatch: ``epochs`` passes, each in its own seeded order; the last minibatch may be short."""
    for epoch in range(epochs):
        order: list[int] = torch.randperm(rows, generator=stream(seed, stage, "minibatches", step, epoch)).tolist()
        for start in range(0, rows, size):
            yield order[start : start + size]


def given(rollout: Drawn | Rollout) -> Float[Tensor, " rows"]:
    """Return all that each row was given: its score, and the rewards of its tokens."""
    if rollout.dense is None:
        return rollout.scores
    return neutral(rollout, rollout.scores + rollout.dense.masked_fill(~rollout.keep, 0.0).sum(1))


def rollout_metrics(rollout: Rollout, kl: Float[Tensor, "rows steps"]) -> dict[str, float]:
    """Return metrics of the policy from a rollout. ``kl`` is log policy - log reference of each sampled token, 0 elsewhere."""
    return {
        "reward": given(rollout).mean().item(),
        "kl_k1": kl.sum(1).mean().item(),
        "kl_k3": kl_estimate(kl, "k3").masked_fill(~rollout.keep, 0.0).sum(1).mean().item(),
        "entropy": rollout.entropy,
        "response_length": rollout.keep.sum(1).float().mean().item(),
        "finished": rollout.finished.float().mean().item(),
        "logprob_gap": rollout.logprob_gap,
        "sequence_gap": 0.0 if rollout.log_ratio is None else rollout.log_ratio.sum(1).abs().mean().item(),
    }


def ratio_sums(log_ratio: Float[Tensor, " n"], clip: float, clip_high: float) -> dict[str, Tensor]:
    """Return sums over ratios new / old: of the ratio, of whether it is outside the clip range, of KL(old || new) by k3."""
    ratio = log_ratio.exp()
    return {
        "ratio": ratio.sum(),
        "clip_fraction": ((ratio - 1 > clip_high) | (1 - ratio > clip)).sum().float(),
        "approx_kl": kl_estimate(-log_ratio, "k3").sum(),
    }


def update_metrics(sums: Sequence[Mapping[str, Tensor]], kept: float, **single: Tensor) -> dict[str, float]:
    """Return the metrics of one update, for which the host waits once.

    Args:
        sums: of each of this process's passes: losses, which add up, and the sums of ``ratio_sums``, which become means over ``kept``
            ratios. Those of other processes are added.
        single: metrics of one number each, which all processes know.
    """
    parts = {name: torch.stack([each[name] for each in sums]) for name in sums[0]}
    found = ranks.joined(to_host(parts | single), *single)
    metrics = {name: float(found.pop(name)) for name in single}
    for name, values in found.items():
        share = 1.0 if name.endswith("loss") else kept
        metrics[name] = added(values.double() / share)
    return metrics


def speed_metrics(drawn: Drawn | Rollout, measured: Rollout, seconds_train: float) -> dict[str, float]:
    """Return the seconds of each part of a step, and the episodes and sampled tokens per second."""
    spent = measured.seconds
    total = sum(spent.values()) + seconds_train
    return {
        "seconds_rollout": spent["rollout"],
        "seconds_score": spent["score"],
        "seconds_measure": spent["measure"],
        "seconds_train": seconds_train,
        "episodes_per_second": len(drawn.responses) / total,
        "tokens_per_second": float(drawn.keep.sum()) / total,
    }


def sample_table(
    rollout: Rollout, kl: Float[Tensor, "rows steps"], decode: Callable[[Sequence[int]], str], rows: int = 8
) -> list[dict[str, Any]]:
    """Return the first episodes in readable form, for samples.jsonl."""
    scores: list[float] = given(rollout).tolist()
    return [
        {
            "prompt": decode(rollout.prompts[i]),
            "response": decode(rollout.responses[i]),
            "score": round(scores[i], 4),
            "kl": round(kl[i].sum().item(), 4),
            "finished": bool(rollout.finished[i]),
        }
        for i in range(min(rows, len(rollout.responses)))
    ]


def checked_scores(scores: Tensor, rows: int, scorer: str = "the scorer") -> Tensor:
    """Return the scores as float32; refuse too few scores or one that is not a number. ``scorer`` names their source.

    Raises:
        RunError: a score is unusable; the error names the response.
    """
    if scores.shape != (rows,):
        hint = "a reward gives one number for each response, in their order"
        raise RunError(f"{scorer} returned {tuple(scores.shape)} rewards for {rows} responses", hint=hint)
    bad: list[int] = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        hint = "a reward is a finite number; continue with --resume once it is"
        raise RunError(f"{scorer} returned {scores[bad[0]].item()} for response {bad[0]} of the batch", hint=hint)
    return scores.float()


class _Flat:
    """Collects flat per-token results of groups of rows into right-padded rows in the batch's own order."""

    def __init__(self, counts: Int[Tensor, " rows"], names: Sequence[str]) -> None:
        self.rows = {name: torch.zeros(keep_mask(counts).shape) for name in names}
        self.after = torch.zeros(len(counts))

    def put(self, group: list[int], kept: Int[Tensor, " group"], metrics: dict[str, Tensor], after: Tensor) -> None:
        for name, flat in metrics.items():
            padded = pad(flat.cpu(), kept)
            self.rows[name][group, : padded.shape[1]] = padded
        self.after[group] = after.cpu()

    def join(self) -> None:
        """Fill in the rows that other processes measured."""
        self.rows = {name: ranks.summed(table) for name, table in self.rows.items()}
        self.after = ranks.summed(self.after)


def minibatch(rollout: Drawn | Rollout, rows: Sequence[int]) -> PackedBatch:
    """Pack prompts and responses of some rows for a forward pass; response tokens are kept, of an episode those of the model alone."""
    pairs = [(rollout.prompts[i], rollout.responses[i]) for i in rows]
    own = None if rollout.episodes is None else [rollout.episodes[i].own for i in rows]
    return pack([[*prompt, *response] for prompt, response in pairs], [len(response) for _, response in pairs], own)


def episode_metrics(rollout: Drawn | Rollout) -> dict[str, float]:
    """Return what is counted of episodes: turns, tokens of others, how they ended, and what the environment counted; docs/episodes.md.

    Nothing where a response is all that is said.
    """
    episodes = rollout.episodes
    if not episodes:
        return {}
    shares = {f"ended.{end}": sum(episode.end == end for episode in episodes) / len(episodes) for end in EPISODE_ENDS}
    counted = sorted({name for episode in episodes for name in episode.counts})
    means = {f"environment.{name}": sum(e.counts.get(name, 0.0) for e in episodes) / len(episodes) for name in counted}
    others = sum(len(episode.own) - sum(episode.own) for episode in episodes) / len(episodes)
    calls = sum(episode.tool_calls for episode in episodes) / len(episodes)
    turns = sum(episode.turns for episode in episodes) / len(episodes)
    return shares | means | {"turns": turns, "tool_calls": calls, "others_tokens": others}
