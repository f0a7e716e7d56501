"""Best-of-n: draw n responses, keep the one of highest reward. The yardstick that PPO has to beat at the same KL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.errors import InputError


def best_of_n(scores: Sequence[float], n: int) -> list[int]:
    """Row numbers of the best response of each prompt.

    Args:
        scores: [prompts * n] rewards, the n responses of a prompt standing together.
    Returns:
        [prompts] indices into ``scores``; the first of equals. Its KL is ``statistics.best_of_n_kl(n)``.
    Raises:
        InputError: the scores are no multiple of n, or one is not a number.
    """
    if n < 1 or len(scores) % n:
        raise InputError(f"{len(scores)} scores are no whole number of prompts with n {n} responses", where="best of n")
    table = np.asarray(scores, dtype=np.float64).reshape(-1, n)
    if np.isnan(table).any():
        raise InputError("a score is not a number", where="best of n")
    return [int(row * n + column) for row, column in enumerate(table.argmax(axis=1))]
