"""Metrics with their uncertainty: a bootstrap over prompts, since the judgements of one prompt are dependent."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]
"""A function from sums over prompts, [..., *shape of a row], to a number for each: [...]. NaN where it is undefined."""
CHUNK = 1 << 22
"""Numbers drawn at once (32 MB), so that memory does not grow with the prompts."""


class Interval(NamedTuple):
    """A metric with its 95% interval; NaN three times when it is undefined. In JSON it is ``[mean, low, high]``."""

    mean: float
    low: float
    high: float


UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


def resampled(rows: Floats, figure: Figure, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return a metric of the sum of rows, with the 2.5% and 97.5% quantiles of its bootstrap draws (Efron 1979).

    Args:
        rows: [prompts, ...], each prompt's contribution to the sums.
        figure: maps sums [draws, ...] to [draws].
        resamples: number of bootstrap draws of the prompts. Draws in which the metric is undefined are left out.
        seed: fixes the draws.
    """
    if not len(rows):
        return UNDEFINED
    flat = rows.reshape(len(rows), -1)

    def of_counts(counts: Floats) -> Floats:
        return figure((counts @ flat).reshape(len(counts), *rows.shape[1:]))

    return over_draws(len(rows), of_counts, resamples=resamples, seed=seed)


def over_draws(prompts: int, figure: Figure, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the same as ``resampled``, for a metric of the number of times each prompt was drawn: [draws, prompts] to [draws]."""
    mean = float(figure(np.ones((1, prompts)))[0]) if prompts else float("nan")
    if np.isnan(mean):
        return UNDEFINED
    rng, step = np.random.default_rng(seed), max(1, CHUNK // prompts)
    found = np.concatenate([figure(draws(rng, prompts, min(step, resamples - start))) for start in range(0, resamples, step)])
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Interval(mean, float(low), float(high))


def draws(rng: np.random.Generator, prompts: int, times: int) -> Floats:
    """Return the number of times each prompt was drawn: [times, prompts], rows that sum to the number of prompts."""
    drawn = rng.integers(0, prompts, (times, prompts)) + prompts * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * prompts).reshape(times, prompts).astype(np.float64)


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide elementwise; NaN where the divisor is 0."""
    known = np.asarray(below) != 0
    return np.where(known, above / np.where(known, below, 1.0), np.nan)


def share(sums: Floats) -> Floats:
    """Return the share counted / all of rows (counted, all), [..., 2]."""
    return ratio(sums[..., 0], sums[..., 1])


def wilson(hits: float, of: int) -> Interval:
    """Return a share of independent trials with its 95% score interval (Wilson 1927), which is valid for few trials too."""
    if of == 0:
        return UNDEFINED
    z, p = 1.959964, hits / of
    middle, reach = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Interval(p, max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))
