"""Taste and noise: how much of the disagreement between people is that they want different things.

Two people who want the same still disagree now and then, as often as one person contradicts themselves when a pair comes back. What two
people disagree beyond that is taste. Ties are left out; prompts are resampled for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from accord.feedback.intervals import Floats, Interval, ratio, resampled, share
from accord.records import RankedPrompt

Chance = Callable[[str, str, str], float]
"""The probability that a person prefers the first of two responses to the second, by a model of them: person, first, second."""


@dataclass(frozen=True)
class Disagreement:
    """Shares of untied pairs judged differently, and the share of people's disagreement that is taste."""

    between: Interval
    """By two people."""
    within: Interval
    """By one person, when the pair came back; undefined where none did."""
    taste: Interval
    """1 - noise / between. The noise is ``within``, or the fitted model's where no pair came back."""
    pairs: int
    repeated: int
    by_model: bool
    """Whether the noise is the model's estimate rather than measured on repeated pairs."""


def disagreement(rankings: Sequence[RankedPrompt], chance: Chance | None = None, *, resamples: int = 2000, seed: int = 0) -> Disagreement:
    """Return how much of the disagreement is taste.

    Args:
        rankings: of any prompts, in any order.
        chance: the fitted model of each person, for where no pair came back.
    """
    together: dict[str, list[RankedPrompt]] = {}
    for row in rankings:
        together.setdefault(row.prompt.id, []).append(row)
    rows = np.array([_sums(group, chance) for _, group in sorted(together.items())], dtype=np.float64).reshape(-1, 6)
    repeated = int(rows[:, 3].sum())
    measured = repeated > 0

    def taste(sums: Floats) -> Floats:
        between = ratio(sums[..., 0], sums[..., 1])
        noise = ratio(sums[..., 2], sums[..., 3]) if measured else ratio(sums[..., 4], sums[..., 5])
        return 1 - ratio(noise, between)

    options = {"resamples": resamples, "seed": seed}
    return Disagreement(
        resampled(rows[:, :2], share, **options),
        resampled(rows[:, 2:4], share, **options),
        resampled(rows, taste, **options),
        int(rows[:, 1].sum()),
        repeated,
        not measured,
    )


def _sums(group: Sequence[RankedPrompt], chance: Chance | None) -> tuple[float, ...]:
    """Return of one prompt: pairs judged differently by two people and all of them, the same by one person, and expected noise."""
    between, within, noise = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for one, other in combinations(group, 2):
        mine, theirs = _orders(one), _orders(other)
        sums = within if one.labeler == other.labeler else between
        for first, second in mine.keys() & theirs.keys():
            sums[0] += mine[first, second] != theirs[first, second]
            sums[1] += 1
            if chance is not None and one.labeler != other.labeler:
                p, q = chance(one.labeler, first, second), chance(other.labeler, first, second)
                noise[0] += p * (1 - p) + q * (1 - q)
                noise[1] += 1
    return (*between, *within, *noise)


def _orders(row: RankedPrompt) -> dict[tuple[str, str], bool]:
    """Return of each untied pair, ids in order, whether the first is better."""
    ranks = {response.id: rank for response, rank in zip(row.responses, row.ranks, strict=True)}
    return {(a, b): ranks[a] < ranks[b] for a, b in combinations(sorted(ranks), 2) if ranks[a] != ranks[b]}
