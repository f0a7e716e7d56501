"""Statistics with their uncertainty. NumPy alone; every random function takes a seed.

The unit that is resampled is the prompt, never the pair: comparisons of one prompt share its difficulty, so
treating them as independent would make every interval too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError
from accord.evaluation.exact import clopper_pearson

Floats = NDArray[np.float64]

CHUNK = 1 << 22
"""Values drawn at once (32 MB), so that memory does not grow with the number of prompts."""


FEW = 30
"""Below so many prompts an interval of a rate is exact, and a comparison is called too small."""


class Interval(NamedTuple):
    """A mean with its 95% interval; in JSON it is ``[mean, low, high]``."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float] | Floats, *, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the mean of one value per prompt, with a percentile bootstrap interval over prompts (Efron 1979).

    Args:
        values: [prompts], one number each; a prompt with several comparisons is averaged before it comes here.
        resamples: how many times the prompts are drawn with replacement.
        level: coverage of the interval.
    Raises:
        InputError: there are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise InputError(
            "an interval needs one value per prompt, and at least one", where="evaluation", hint="is the held-out split empty?"
        )
    if not np.isfinite(sample).all():
        raise InputError(f"{int((~np.isfinite(sample)).sum())} of {sample.size} values are not finite numbers", where="evaluation")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(_resampled_means(sample, resamples, np.random.default_rng(seed)), [tail, 1.0 - tail])
    return Interval(float(sample.mean()), float(low), float(high))


def rate(values: Sequence[float] | Floats, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of values between 0 and 1, one per prompt: exact below ``FEW`` prompts, else by bootstrap.

    Values that are all 0 or all 1 have an exact interval however many they are: resampling them would claim certainty.
    The mean is inside its interval, whatever the resampling drew.

    Raises:
        InputError: there are no values, or one is not a number.
    """
    found = interval(values, resamples=1 if len(values) < FEW else resamples, seed=seed)
    if len(values) >= FEW and found.mean not in (0.0, 1.0):
        return found
    low, high = clopper_pearson(float(np.sum(values)), len(values))
    return Interval(found.mean, min(low, found.mean), max(high, found.mean))


def mean_of(values: Sequence[float] | Floats, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of one value per prompt with its interval: a rate's where all are between 0 and 1, else a bootstrap's.

    Raises:
        InputError: there are no values, or one is not finite.
    """
    shares = len(values) > 0 and all(0 <= value <= 1 for value in values)
    return (rate if shares else interval)(values, resamples=resamples, seed=seed)


def _resampled_means(sample: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    rows = max(1, CHUNK // sample.size)
    parts = [
        sample[rng.integers(0, sample.size, size=(min(rows, resamples - start), sample.size))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


def outcomes(first: Sequence[float] | Floats, second: Sequence[float] | Floats, *, margin: float = 1e-9) -> Floats:
    """Return each comparison's score for the first side: 1 for a win, 0 for a loss, 1/2 for a tie.

    Args:
        first, second: [prompts] utilities.
        margin: differences of at most this are ties.
    Returns:
        [prompts] in {0, 1/2, 1}; exchanging the sides gives one minus it.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return np.where(np.abs(difference) <= margin, 0.5, (difference > 0).astype(np.float64))


def win_rate(pairs: Sequence[tuple[float, float]], *, margin: float = 1e-9) -> float:
    """Return the share of (first, second) utilities in which the first is higher. Ties count half."""
    first, second = zip(*pairs, strict=True)
    return float(outcomes(first, second, margin=margin).mean())


def group_means(keys: Sequence[str], values: Sequence[float] | Floats) -> Floats:
    """Return one mean per distinct key, in order of first appearance, so that a prompt's comparisons become one value."""
    sums: dict[str, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        sums.setdefault(key, []).append(float(value))
    return np.array([np.mean(part) for part in sums.values()], dtype=np.float64)


def best_of_n_kl(n: int) -> float:
    """Return the KL in nats of best-of-n to the model it draws from: ``log n - (n - 1) / n`` (Stiennon et al.
    2020, appendix G.3).

    Exact for a continuous reward; an upper bound when responses can tie (Beirami et al. 2024).
    """
    if n < 1:
        raise InputError(f"best of {n}: n must be at least 1", where="evaluation")
    return log(n) - (n - 1) / n
