"""Trends: did a metric rise over a run? The difference between its first and last stretch, compared with its
noise. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARE = 5
"""The first and the last fifth of a run are compared."""
SUREST = 0.999
"""Upper limit of the confidence in a measured finding."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Means of a metric's first and last stretch, and the standard error of their difference."""

    first: float
    last: float
    error: float

    @property
    def z(self) -> float:
        """The rise in standard errors; 0 when nothing moved."""
        rise = self.last - self.first
        return rise / self.error if self.error > 0 else (0.0 if rise == 0 else float(np.sign(rise)) * 99.0)


def ends(values: Sequence[float] | Floats) -> Ends:
    """Return the first and last fifth of a series.

    The noise is taken from differences of neighbours (von Neumann et al. 1941), which a trend does not inflate.

    Args:
        values: [steps], two at least.
    """
    line = np.asarray(values, dtype=np.float64)
    part = max(1, line.size // SHARE)
    noise = sqrt(float(np.square(np.diff(line)).mean()) / 2) if line.size > 2 else abs(float(line[-1] - line[0]))
    return Ends(float(line[:part].mean()), float(line[-part:].mean()), noise * sqrt(2 / part))


def late(values: Sequence[float] | Floats) -> tuple[float, float]:
    """Return the mean of the last third and its standard error."""
    line = np.asarray(values, dtype=np.float64)[-max(1, len(values) // 3) :]
    return float(line.mean()), float(line.std(ddof=1) / sqrt(line.size)) if line.size > 1 else 0.0


def sure(z: float) -> float:
    """Return the confidence of a one-sided finding of z standard errors: the normal distribution's share below
    z, at most ``SUREST``."""
    return min(SUREST, 0.5 * (1 + erf(z / sqrt(2))))


def share_z(before: float, before_n: int, after: float, after_n: int) -> float:
    """Return z of the rise from one share to another (pooled; Agresti 2013, section 3.1), with one answer of
    either kind added to each."""
    one, other = before * before_n + 1, after * after_n + 1
    pooled = (one + other) / (before_n + after_n + 4)
    error = sqrt(pooled * (1 - pooled) * (1 / (before_n + 2) + 1 / (after_n + 2)))
    return (other / (after_n + 2) - one / (before_n + 2)) / error


def mean_z(before: Sequence[float], after: Sequence[float]) -> float:
    """Return z of the rise from one sample's mean to another's (Welch 1947); 0 when either has fewer than two values."""
    if len(before) < 2 or len(after) < 2:
        return 0.0
    error = sqrt(float(np.var(before, ddof=1)) / len(before) + float(np.var(after, ddof=1)) / len(after))
    rise = float(np.mean(after) - np.mean(before))
    return rise / error if error > 0 else (0.0 if rise == 0 else float(np.sign(rise)) * 99.0)
