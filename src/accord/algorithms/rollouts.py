"""Rollouts: what the policy said, and what reward model, reference and value model think of it.

Shared by every method that learns from its own samples. Sampled tokens go to the loss as they are; nothing is tokenised again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.errors import RunError
from accord.models.policy import logprobs
from accord.models.ragged import Ragged, by_tokens, keep_mask, pack, pad
from accord.models.scalar import scalars
from accord.protocols import Sampler, Scorer
from accord.records import Sampling


@dataclass(frozen=True)
class Rollout:
    """One batch of episodes. Row tensors are [rows], token tensors [rows, steps] right-padded over response tokens."""

    prompts: list[list[int]]
    responses: list[list[int]]
    finished: Bool[Tensor, " rows"]
    scores: Float[Tensor, " rows"]
    keep: Bool[Tensor, "rows steps"]
    logprobs: Float[Tensor, "rows steps"]
    """Of the policy that sampled them, by the trainer's own forward pass."""
    reference: Float[Tensor, "rows steps"]
    values: Float[Tensor, "rows steps"]
    after: Float[Tensor, " rows"]
    """Value after the last token."""
    entropy: float
    """Mean over kept tokens, in nats."""
    logprob_gap: float
    """Mean absolute difference between sampler's and trainer's log-probabilities."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])


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
    """Samples one response a prompt and measures it.

    Raises:
        RunError: the scorer returned a number that is not finite, or not one for each response.
    """
    started = time.perf_counter()
    generation = sampler.sample(prompts, n=1, sampling=sampling, generator=generator)
    responses = generation.rows()
    sampled = time.perf_counter()
    scores = checked_scores(scorer.score(list(prompts), responses), len(responses))
    scored = time.perf_counter()
    rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    counts = generation.keep.sum(1)
    flat = _Flat(counts)
    with torch.no_grad():
        for group in by_tokens([len(row) for row in rows], micro_tokens):
            batch = pack([rows[i] for i in group], [len(responses[i]) for i in group]).to(policy.device)
            own, entropy = logprobs(policy, batch, dtype=dtype, temperature=sampling.temperature)
            other, _ = logprobs(reference, batch, dtype=dtype, temperature=sampling.temperature)
            at = torch.cat([batch.targets - 1, batch.last])
            before, after = torch.split(scalars(value, batch, at, dtype=dtype), [len(batch.targets), len(group)])
            flat.put(group, batch.kept.cpu(), {"logprobs": own, "entropy": entropy, "reference": other, "values": before}, after)
    gap = (flat.rows["logprobs"] - generation.logprobs).abs()[generation.keep].mean()
    return Rollout(
        prompts=list(prompts),
        responses=responses,
        finished=generation.finished,
        scores=scores,
        keep=generation.keep,
        logprobs=flat.rows["logprobs"],
        reference=flat.rows["reference"],
        values=flat.rows["values"],
        after=flat.after,
        entropy=float(flat.rows["entropy"][generation.keep].mean()),
        logprob_gap=float(gap),
        seconds={"rollout": sampled - started, "score": scored - sampled, "measure": time.perf_counter() - scored},
    )


def checked_scores(scores: Tensor, rows: int) -> Tensor:
    """The scores as float32, refused when there are too few or one is not a number.

    Raises:
        RunError: says which response's score is unusable.
    """
    if scores.shape != (rows,):
        raise RunError(f"the scorer returned {tuple(scores.shape)} rewards for {rows} responses")
    bad: list[int] = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"the scorer returned {scores[bad[0]].item()} for response {bad[0]} of the batch")
    return scores.float()


class _Flat:
    """Collects flat per-token results of groups of rows into right-padded rows in the batch's own order."""

    def __init__(self, counts: Int[Tensor, " rows"]) -> None:
        self.shape = keep_mask(counts).shape
        self.rows: dict[str, Tensor] = {}
        self.after = torch.zeros(len(counts))

    def put(self, group: list[int], kept: Int[Tensor, " group"], figures: dict[str, Tensor], after: Tensor) -> None:
        for name, flat in figures.items():
            rows = self.rows.setdefault(name, torch.zeros(self.shape))
            padded = pad(flat.cpu(), kept)
            rows[group, : padded.shape[1]] = padded
        self.after[group] = after.cpu()


def minibatch(rollout: Rollout, rows: Sequence[int]) -> Ragged:
    """Prompts and responses of some rows, ready for a forward pass; response tokens are kept."""
    pairs = [(rollout.prompts[i], rollout.responses[i]) for i in rows]
    return pack([[*prompt, *response] for prompt, response in pairs], [len(response) for _, response in pairs])
