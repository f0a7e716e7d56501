"""Rewards out of several models, and out of what people wrote or rated themselves. Each is a ``Scorer``, for mixtures to weigh."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import UsageError
from accord.protocols import Scorer

Tokens = Sequence[int]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pooling:
    """How an ensemble's models make one score: their mean, their least, or the mean less ``spread`` standard deviations."""

    how: Literal["mean", "min"]
    models: tuple[str, ...]
    spread: float = 0.0


_POOLED = re.compile(r"(mean|min)(?:-([0-9.]+)std)?\((.*)\)")


def parse_pooling(text: str) -> Pooling | None:
    """Reads ``mean(a+b)``, ``min(a+b)`` or ``mean-1.5std(a+b)``; None for what is no ensemble.

    Raises:
        UsageError: it names fewer than two models, one of them twice, or takes a spread off the least.
    """
    if not (found := _POOLED.fullmatch(text)):
        return None
    how, spread, names = found.groups()
    models = tuple(name.strip() for name in names.split("+") if name.strip())
    if len(set(models)) != len(models) or len(models) < 2 or (how == "min" and spread):
        hint = "for example min(reward-0+reward-1) or mean-1std(reward-0+reward-1+reward-2)"
        raise UsageError(f"{text!r} is no ensemble", where="rewards", hint=hint)
    return Pooling("min" if how == "min" else "mean", models, float(spread or 0))


@dataclass(frozen=True)
class Ensemble:
    """Several reward models as one (Coste et al. 2024): what they disagree about is worth less, so it is harder to exploit."""

    members: Sequence[Scorer]
    how: Literal["mean", "min"] = "mean"
    spread: float = 0.0

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """The pooled score; the standard deviation is over members, with biased variance."""
        each = torch.stack([member.score(prompts, responses).float().cpu() for member in self.members])
        if self.how == "min":
            return each.amin(0)
        return each.mean(0) - self.spread * each.std(0, unbiased=False)


def overlap(one: Tokens, other: Tokens) -> float:
    """How much two texts share, 0 to 1: the mean of the F1 of their tokens and of their pairs of neighbours."""
    tokens = _f1(Counter(one), Counter(other))
    pairs = _f1(Counter(pairwise(one)), Counter(pairwise(other))) if len(one) > 1 and len(other) > 1 else tokens
    return (tokens + pairs) / 2


def _f1(one: Counter[int] | Counter[tuple[int, int]], other: Counter[int] | Counter[tuple[int, int]]) -> float:
    shared = sum(min(count, other[key]) for key, count in one.items())  # type: ignore[index]
    return 2 * shared / max(one.total() + other.total(), 1)


@dataclass(frozen=True)
class Similarity:
    """How near a response is to what people wrote to the same prompt themselves: ``overlap`` with the nearest of it."""

    written: Mapping[Ids, Sequence[Tokens]]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        near = [
            max((overlap(response, own) for own in self.written.get(tuple(prompt), ())), default=0.0)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return torch.tensor(near)


SHARPNESS = 8
"""How steeply a rated response's say falls with its distance: at an overlap of 0.9 it has 0.43 of what it has at 1."""


@dataclass(frozen=True)
class HumanRatings:
    """People's own ratings, -1 to 1: that of the very response where they gave one, else what they gave to the prompt's others.

    A mean weighed by ``overlap`` to the power ``SHARPNESS``, shrunk towards 0 where nothing is near.
    """

    rated: Mapping[Ids, Mapping[Ids, float]]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([self._rating(self.rated.get(tuple(prompt), {}), tuple(response)) for prompt, response in pairs])

    def _rating(self, known: Mapping[Ids, float], response: Ids) -> float:
        if response in known:
            return known[response]
        weighed = [(overlap(response, other) ** SHARPNESS, worth) for other, worth in known.items()]
        return sum(weight * worth for weight, worth in weighed) / max(sum(weight for weight, _ in weighed), 1.0)
