"""Best-of-n: draw n responses and keep the one with the highest reward. PPO has to beat it at the same KL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.errors import InputError


def best_of_n(scores: Sequence[float], n: int) -> list[int]:
    """Return the row number of each prompt's best response.

    Args:
        scores: [prompts * n] rewards, the n responses of a prompt in consecutive rows.
    Returns:
        [prompts] indices into ``scores``; the first of equals. Its KL is ``statistics.best_of_n_kl(n)``.
    Raises:
        InputError: the number of scores is not a multiple of n, or a score is not a number.
    """
    if n < 1 or len(scores) % n:
        raise InputError(f"{len(scores)} scores are not a multiple of n = {n}", where="best of n")
    table = np.asarray(scores, dtype=np.float64).reshape(-1, n)
    if np.isnan(table).any():
        raise InputError("a score is not a number", where="best of n")
    return [int(row * n + column) for row, column in enumerate(table.argmax(axis=1))]
