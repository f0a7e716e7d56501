"""Power: how many prompts separate two systems, that is the sample size of a win rate against one half.

The usual two-sided test at 5% with 80% power: ``n = ((z_a s_0 + z_b s_1) / (rate - 1/2))^2``, where s_0 and s_1
are the standard deviations of one prompt's value, under equality and as observed. Ties make both smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import FEW, Floats, Interval

Z_LEVEL, Z_POWER = 1.959963984540054, 0.8416212335729143
"""Normal quantiles of 97.5% and 80%."""
NEVER = 1_000_000
"""A difference that needs more prompts than this counts as none."""


def prompts_needed(rate: float, ties: float = 0.0) -> int | None:
    """Return the number of prompts that separate a win rate from one half; None when it is one half or nearly so.

    Args:
        rate: in [0, 1], a tie counting half.
        ties: share of the prompts on which neither is better.
    Raises:
        InputError: no such rate and share of ties can go together.
    """
    if not (0 <= ties <= 1 and ties / 2 <= rate <= 1 - ties / 2):
        raise InputError(f"a win rate of {rate} cannot have {ties} ties", where="prompts needed")
    variance = rate - ties / 4 - rate**2
    return _needed(rate, sqrt((1 - ties) / 4), sqrt(max(variance, 0.0)))


def more_prompts(values: Sequence[float] | Floats, won: Interval) -> int | None:
    """Return how many more prompts would settle which of two is better: 0 when the interval excludes one half already.

    Args:
        values: [prompts], each in [0, 1].
        won: their mean with its interval.
    Returns:
        None when they are so close that a million prompts would not do. Below ``FEW`` prompts it is ``FEW`` in all at least.
    """
    sample = np.asarray(values, dtype=np.float64)
    lacking = max(0, FEW - len(sample))
    if not won.low <= 0.5 <= won.high:
        return lacking
    null, seen = float(np.sqrt(((sample - 0.5) ** 2).mean())), float(sample.std())
    needed = _needed(won.mean, null, seen)
    return None if needed is None else max(1, lacking, needed - len(sample))


def _needed(rate: float, null: float, seen: float) -> int | None:
    gap = abs(rate - 0.5)
    if gap < 1e-9:
        return None
    needed = ceil(((Z_LEVEL * null + Z_POWER * seen) / gap) ** 2 - 1e-9)
    return needed if needed <= NEVER else None
