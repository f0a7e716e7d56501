"""Comparisons as scored by a reward model: its accuracy, its confidence, and its worst mistakes.

A verdict is one pair of responses with one labeler's preference and the reward of both. Everything here
averages within a prompt first and resamples prompts, as ``reward_accuracy`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from accord.evaluation.statistics import Interval, group_means, outcomes, rate
from accord.records import RankedPrompt, Response


@dataclass(frozen=True, slots=True)
class Verdict:
    """A labeler's preference for ``better``, and the reward model's scores of both."""

    ranked: RankedPrompt
    better: Response
    worse: Response
    steps: int
    """Difference between the two ranks."""
    margin: float
    """Score of the better response minus that of the worse. Below zero the reward model is wrong."""

    @property
    def worth(self) -> float:
        """1 for right, 0 for wrong, 1/2 when both scores are equal."""
        return float(outcomes([self.margin], [0.0])[0])


def verdicts(ranked: Sequence[RankedPrompt], scores: Sequence[Sequence[float]]) -> list[Verdict]:
    """Return all untied pairs of all rankings."""
    found: list[Verdict] = []
    for row, given in zip(ranked, scores, strict=True):
        for i, j in combinations(range(len(row.ranks)), 2):
            if row.ranks[i] != row.ranks[j]:
                one, other = (i, j) if row.ranks[i] < row.ranks[j] else (j, i)
                steps = row.ranks[other] - row.ranks[one]
                found.append(Verdict(row, row.responses[one], row.responses[other], steps, given[one] - given[other]))
    return found


def accuracy_of(found: Sequence[Verdict], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the accuracy over prompts. Raises InputError when there is no verdict."""
    means = group_means([verdict.ranked.prompt.id for verdict in found], [verdict.worth for verdict in found])
    return rate(means, resamples=resamples, seed=seed)


def accuracy_by(found: Sequence[Verdict], key: Callable[[Verdict], str], *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return the accuracy of each part of the verdicts, keys in alphabetical order."""
    parts: dict[str, list[Verdict]] = {}
    for verdict in found:
        parts.setdefault(key(verdict), []).append(verdict)
    return {name: accuracy_of(part, resamples=resamples, seed=seed) for name, part in sorted(parts.items())}


def by_margin(found: Sequence[Verdict], parts: int = 5, *, resamples: int = 2000, seed: int = 0) -> list[dict[str, object]]:
    """Return the accuracy in parts of equal size by score difference. A well-calibrated model is right where it is sure."""
    order = sorted(found, key=lambda verdict: abs(verdict.margin))
    cuts = [round(len(order) * part / parts) for part in range(parts + 1)]
    rows: list[dict[str, object]] = []
    for low, high in pairwise(cuts):
        if part := order[low:high]:
            right = accuracy_of(part, resamples=resamples, seed=seed)
            rows.append({"from": abs(part[0].margin), "to": abs(part[-1].margin), "accuracy": right, "pairs": len(part)})
    return rows


@dataclass(frozen=True, slots=True)
class Mistake:
    """A pair that labelers, taken together, order differently from the reward model."""

    verdict: Verdict
    labelers: tuple[str, ...]
    """Labelers who preferred the better one."""
    against: int
    """Number of labelers who preferred the other."""


def mistakes(found: Sequence[Verdict]) -> list[Mistake]:
    """Return the pairs that most of their labelers order differently from the reward model, the surest mistakes
    first; each pair once."""
    pairs: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in found:
        pairs.setdefault((verdict.ranked.prompt.id, *sorted((verdict.better.id, verdict.worse.id))), []).append(verdict)
    wrong: list[Mistake] = []
    for group in pairs.values():
        said = [verdict for verdict in group if verdict.margin < 0]
        if 2 * len(said) > len(group):
            wrong.append(Mistake(said[0], tuple(verdict.ranked.labeler for verdict in said), len(group) - len(said)))
    return sorted(wrong, key=lambda mistake: mistake.verdict.margin)


def longer_is_better(found: Sequence[Verdict], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the accuracy of always choosing the longer response: the share of the labels that length alone explains."""
    worth = outcomes([float(len(v.better.text)) for v in found], [float(len(v.worse.text)) for v in found])
    return rate(group_means([v.ranked.prompt.id for v in found], worth), resamples=resamples, seed=seed)


def moved(before: Sequence[float], after: Sequence[float], pairs: Sequence[tuple[int, int]]) -> Mapping[str, float]:
    """Measure the effect of a meaningless change on scores: mean shift in standard deviations, and the share of
    pairs whose order flipped.

    Args:
        pairs: indices (i, j) of responses to one prompt.
    """
    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    spread = float(one.std())
    turned = [(one[i] - one[j]) * (other[i] - other[j]) < 0 for i, j in pairs]
    shift = float(np.abs(one - other).mean())
    return {"shift": shift / spread if spread > 1e-12 else 0.0, "turned": float(np.mean(turned)) if turned else 0.0}
