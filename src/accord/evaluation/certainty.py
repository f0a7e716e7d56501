"""Does a model know what it knows? Its measures of certainty, held against whether its answers are right.

AUROC: how often a right answer has the higher score of a right and a wrong one. ECE: how far stated probabilities are from the share
that is right. The coverage-accuracy curve says how many questions are answered, and how many of those rightly, at each threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from accord.evaluation.calibration import reliability
from accord.evaluation.statistics import Floats, Interval

Numbers = Sequence[float] | Floats


def auroc(scores: Numbers, right: Sequence[bool]) -> float:
    """Return the probability that a right answer scores above a wrong one, ties as one half; NaN without both kinds."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    good, bad = values[truth], np.sort(values[~truth])
    if not good.size or not bad.size:
        return float("nan")
    below, upto = np.searchsorted(bad, good, "left"), np.searchsorted(bad, good, "right")
    return float((below + upto).sum() / (2 * good.size * bad.size))


def ece(probabilities: Numbers, right: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error: the mean of |share right - mean probability| of each answer's bin (Naeini et al. 2015)."""
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.float64)
    table = reliability(values, truth, bins)
    return sum(each.pairs * abs(each.observed - each.predicted) for each in table) / len(values)


def resampled(
    measure: Callable[[Floats, Sequence[bool]], float], scores: Numbers, right: Sequence[bool], *, resamples: int, seed: int
) -> Interval | None:
    """Return a measure with its 95% interval over resampled questions; None where it is not defined.

    A resample in which it is not defined, as one without a wrong answer, is left out.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    mean = measure(values, truth.tolist()) if len(values) else float("nan")
    if np.isnan(mean):
        return None
    rng, found = np.random.default_rng(seed), list[float]()
    for _ in range(resamples):
        rows = rng.integers(0, len(values), len(values))
        found.append(measure(values[rows], truth[rows].tolist()))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Point:
    """What comes of answering only where the certainty is at least ``threshold``."""

    threshold: float
    coverage: float
    """Share of the questions that are answered."""
    accuracy: float
    """Share of those that are right."""


def coverage_curve(scores: Numbers, right: Sequence[bool], questions: int) -> list[Point]:
    """Return a point for each certainty that occurs, the highest first.

    Args:
        questions: how many were asked, those included that the model itself did not answer and that have no score here.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    points: list[Point] = []
    for threshold in np.unique(values)[::-1]:
        answered = values >= threshold
        points.append(Point(float(threshold), float(answered.sum() / questions), float(truth[answered].mean())))
    return points


def threshold_for(curve: Sequence[Point], accuracy: float) -> Point | None:
    """Return the point that answers most of those at which the accuracy is reached; None where none reaches it."""
    reached = [point for point in curve if point.accuracy >= accuracy]
    return max(reached, key=lambda point: point.coverage, default=None)
