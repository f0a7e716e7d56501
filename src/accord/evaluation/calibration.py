"""Calibration: does a reward model know how sure it is? Its probabilities compared with the labelers' preferences.

Bradley-Terry reads a difference of rewards as a probability, ``sigmoid(r_first - r_second)``. Pairs are
oriented at random, so that a model that always said "the first" would gain nothing (an orientation by the label
would make every probability compare to 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose probability fell between two bounds."""

    low: float
    high: float
    predicted: float
    """Mean probability that the first is preferred."""
    observed: float
    """Share of pairs in which the first is preferred."""
    pairs: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The match between predicted probabilities and observed shares."""

    ece: float
    """Expected calibration error: mean over pairs of |observed - predicted| of their bin (Naeini et al. 2015)."""
    brier: float
    """Mean squared difference between probability and outcome (Brier 1950); 0.25 for a coin."""
    log_loss: float
    """In nats; 0.693 for a coin."""
    scale: float
    """The factor by which to multiply rewards for the best calibration. Below 1 the model is overconfident."""
    bins: tuple[Bin, ...]


def calibration(differences: Sequence[float] | Floats, *, bins: int = 10, seed: int = 0) -> Calibration:
    """Measure calibration from the rewards of preferred minus rejected responses, over untied pairs.

    Raises:
        InputError: there are none.
    """
    won = np.asarray(differences, dtype=np.float64)
    if not won.size:
        raise InputError("there is no untied pair", where="calibration", hint="calibration needs rankings with different ranks")
    first = np.random.default_rng(seed).random(won.size) < 0.5
    gap = np.where(first, won, -won)
    p, y = _sigmoid(gap), first.astype(np.float64)
    table = reliability(p, y, bins)
    return Calibration(
        sum(each.pairs * abs(each.observed - each.predicted) for each in table) / won.size,
        float(((p - y) ** 2).mean()),
        float(np.logaddexp(0.0, -won).mean()),
        best_scale(won),
        table,
    )


def reliability(probabilities: Floats, outcomes: Floats, bins: int) -> tuple[Bin, ...]:
    """Return the non-empty bins of equal width. A probability of 1 falls into the last."""
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    found: list[Bin] = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            predicted, observed = float(probabilities[inside].mean()), float(outcomes[inside].mean())
            found.append(Bin(number / bins, (number + 1) / bins, predicted, observed, int(inside.sum())))
    return tuple(found)


def best_scale(differences: Floats) -> float:
    """Return the factor a that makes sigmoid(a * difference) likeliest (Guo et al. 2017's temperature, inverted), in [0, 1000]."""
    low, high = 0.0, 1.0
    while high < 1000 and _slope(differences, high) > 0:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(differences, middle) > 0 else (low, middle)
    return min((low + high) / 2, 1000.0)


def _slope(differences: Floats, scale: float) -> float:
    return float((differences * _sigmoid(-scale * differences)).mean())


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * x))
