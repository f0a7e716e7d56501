"""Exact intervals for few observations. The standard library alone.

The bootstrap and the normal approximation are too narrow for a few prompts: three wins of three have no spread to resample. Clopper and
Pearson 1934 invert the binomial test itself. Its ends are quantiles of a beta distribution, found here by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import exp, lgamma, log

HALVINGS = 80
"""Bisections of an interval: as far as doubles go."""
SMALLEST = 1e-300
"""In place of zero in a continued fraction."""


def clopper_pearson(successes: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the two ends of the exact interval of a share.

    Args:
        successes: a tie counts one half. A sum of values between 0 and 1 varies less than a count with the same mean, so that the
            interval is then wider than it has to be.
        trials: 0 tells nothing, and gives 0 and 1.
        level: coverage, at least this.
    """
    tail, failures = (1 - level) / 2, trials - successes
    low = 0.0 if successes <= 0 else _where(lambda p: incomplete_beta(successes, failures + 1, p), tail)
    high = 1.0 if failures <= 0 else _where(lambda p: incomplete_beta(successes + 1, failures, p), 1 - tail)
    return low, high


@cache
def t_quantile(share: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution, for a share above one half."""

    def below(scaled: float) -> float:  # of t / (1 + t)
        t = scaled / (1 - scaled)
        return 1 - incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2

    scaled = _where(below, share)
    return scaled / (1 - scaled)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or SMALLEST)
    fraction = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1 / (1 + term * d or SMALLEST)
            c = 1 + term / c or SMALLEST
            step = c * d
            fraction *= step
        if abs(step - 1) < 1e-15:
            break
    return min(front * fraction, 1.0)


def _where(rising: Callable[[float], float], value: float) -> float:
    """Return where a function that rises from 0 to 1 reaches a value."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2
