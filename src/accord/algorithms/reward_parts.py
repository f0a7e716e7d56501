"""Rewards from several models, and from demonstrations and ratings. Each is a ``Scorer``, for mixtures to weight."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import UsageError
from accord.protocols import Scorer
from accord.records import Episode

Tokens = Sequence[int]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pooling:
    """The pooling of an ensemble's scores: their mean, their minimum, or the mean minus ``spread`` standard deviations."""

    how: Literal["mean", "min"]
    models: tuple[str, ...]
    spread: float = 0.0


_POOLED = re.compile(r"(mean|min)(?:-([0-9.]+)std)?\((.*)\)")


def parse_pooling(text: str) -> Pooling | None:
    """Parse ``mean(a+b)``, ``min(a+b)`` or ``mean-1.5std(a+b)``; return None for anything that is not an ensemble.

    Raises:
        UsageError: it names fewer than two models, one of them twice, or subtracts a spread from the minimum.
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
    """Several reward models as one (Coste et al. 2024): disagreement lowers the score, which makes it harder to exploit."""

    members: Sequence[Scorer]
    how: Literal["mean", "min"] = "mean"
    spread: float = 0.0

    @property
    def max_tokens(self) -> int:
        """The shortest window of the members; 0 where none has one."""
        return min((window for member in self.members if (window := getattr(member, "max_tokens", 0))), default=0)

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Hand the episodes that are scored next to the members that read whole conversations."""
        for member in self.members:
            hear: Callable[[Sequence[Episode]], None] | None = getattr(member, "hear", None)
            if hear:
                hear(episodes)

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """Return the pooled score; the standard deviation is over members, with biased variance."""
        each = torch.stack([member.score(prompts, responses).float().cpu() for member in self.members])
        if self.how == "min":
            return each.amin(0)
        return each.mean(0) - self.spread * each.std(0, unbiased=False)


def overlap(one: Tokens, other: Tokens) -> float:
    """Return the overlap of two texts, 0 to 1: the mean of the F1 of their tokens and of their bigrams."""
    tokens = _f1(Counter(one), Counter(other))
    pairs = _f1(Counter(pairwise(one)), Counter(pairwise(other))) if len(one) > 1 and len(other) > 1 else tokens
    return (tokens + pairs) / 2


def _f1(one: Counter[int] | Counter[tuple[int, int]], other: Counter[int] | Counter[tuple[int, int]]) -> float:
    shared = sum(min(count, other[key]) for key, count in one.items())  # type: ignore[index]
    return 2 * shared / max(one.total() + other.total(), 1)


@dataclass(frozen=True)
class Similarity:
    """The similarity of a response to demonstrations for the same prompt: ``overlap`` with the nearest one."""

    written: Mapping[Ids, Sequence[Tokens]]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        near = [
            max((overlap(response, own) for own in self.written.get(tuple(prompt), ())), default=0.0)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return torch.tensor(near)


@dataclass(frozen=True)
class SignedSimilarity:
    """``Similarity`` with a sign, -1 to 1: above 0 for what is alike to people's own words, below for what is not.

    Args:
        middle: the similarity that is worth 0.
    """

    similarity: Similarity
    middle: float = 0.5

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        beyond = self.similarity.score(prompts, responses) - self.middle
        return torch.where(beyond > 0, beyond / (1 - self.middle), beyond / self.middle)


SHARPNESS = 8
"""Sharpness of the weights: a rated response at an overlap of 0.9 has 0.43 of the weight it has at 1."""


@dataclass(frozen=True)
class HumanRatings:
    """Human ratings, -1 to 1: that of the response itself if it has one, otherwise those of other responses to the prompt.

    A mean weighted by ``overlap`` to the power ``SHARPNESS``, shrunk towards 0 where no rated response is near.
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
