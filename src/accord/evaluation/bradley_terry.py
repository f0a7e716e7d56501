"""Bradley-Terry strengths of any number of systems from duels, with rank ranges by bootstrap over prompts.

``P(i is preferred to j) = sigmoid(s_i - s_j)`` (Bradley and Terry 1952); a tie is half a win for each side.
Strengths are in log-odds and sum to 0. Found by Newton's method, all bootstrap draws at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError
from accord.evaluation.statistics import Floats, Interval

Bools = NDArray[np.bool_]
STEPS = 100
"""Newton's method converges in about ten. The further steps are for systems whose strengths lie far apart."""
DRAWS = 200
"""Bootstrap draws that are fitted at once."""
HALF_A_TIE = 0.25
"""Added to both sides of every pair before ranks are drawn, so that a system that never lost has a finite strength."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One system's strength and rank among the others."""

    name: str
    strength: Interval
    rank: int
    """Rank among the systems; 1 is the strongest."""
    best: int
    """The better end of the rank's 95% range."""
    worst: int


def bradley_terry(wins: Floats, *, prior: float = 0.0) -> Floats:
    """Return the maximum-likelihood strengths.

    Args:
        wins: [..., systems, systems]; ``wins[i, j]`` is how often i was preferred to j, ties half each. The
            diagonal is ignored.
        prior: added to both sides of every pair.
    Returns:
        [..., systems], in log-odds, mean 0.
    Raises:
        InputError: the table is not square, or without a prior it does not separate all systems (Ford 1957):
            some never won, or never lost, against the rest.
    """
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or wins.shape[-1] < 2:
        raise InputError(f"a table of wins must be square, for two systems or more; this one is {wins.shape}", where="Bradley-Terry")
    size = wins.shape[-1]
    table = np.where(np.eye(size, dtype=bool), 0.0, wins + prior)
    if not _connected(table > 0).all():
        raise InputError(
            "some systems never won or never lost against the rest", where="Bradley-Terry", hint="compare them on more prompts"
        )
    met, won = table + np.swapaxes(table, -1, -2), table.sum(-1)
    strengths: Floats = np.zeros(wins.shape[:-1])
    for _ in range(STEPS):
        expected = _sigmoid(strengths[..., :, None] - strengths[..., None, :])
        slope = won - (met * expected).sum(-1)
        curve = met * expected * (1 - expected)
        hessian = np.eye(size) * curve.sum(-1)[..., None] - curve + 1 / size
        step = np.asarray(np.linalg.solve(hessian, slope[..., None])[..., 0], dtype=np.float64).clip(-2.0, 2.0)
        strengths += step
        if np.abs(step).max() < 1e-10:
            break
    return strengths - strengths.mean(-1, keepdims=True)


def standings(names: Sequence[str], values: Floats, *, times: Sequence[int] = (), resamples: int = 2000, seed: int = 0) -> list[Standing]:
    """Return every system's strength and rank, the strongest first.

    Args:
        names: [systems].
        values: [prompts, systems, systems]; the score of the row's system against the column's on a
            prompt: 1, 1/2 or 0, or between; NaN where they were not compared. Prompts are resampled.
        times: [prompts]; how many prompts had exactly these values. Empty means one each.
    Raises:
        InputError: no prompt was compared.
    """
    if not len(values) or np.isnan(values).all():
        raise InputError("no prompt was compared", where="Bradley-Terry")
    wins = np.nan_to_num(values, nan=0.0)
    counts = np.asarray(times or [1] * len(values), dtype=np.int64)
    point = bradley_terry(np.tensordot(counts.astype(np.float64), wins, 1), prior=HALF_A_TIE)
    drawn = _drawn(wins, counts, resamples, np.random.default_rng(seed))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    places = 1 + (drawn[:, None, :] > drawn[:, :, None]).sum(-1)
    best, worst = np.quantile(places, [0.025, 0.975], axis=0, method="nearest")
    rank = 1 + (point[None, :] > point[:, None]).sum(-1)
    found = [
        Standing(name, Interval(float(point[i]), float(low[i]), float(high[i])), int(rank[i]), int(best[i]), int(worst[i]))
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda standing: (standing.rank, standing.name))


def telling(wins: Floats) -> Floats:
    """Return how much one more duel of each pair would tell, [systems, systems], as shares of 1; 0 on the diagonal.

    It is the gain in D-optimality: ``log det`` of the information about all strengths after the duel, minus that before. A pair that met
    rarely, or whose outcome is open, tells more.

    Args:
        wins: [systems, systems]; as for ``bradley_terry``. Systems that never met are allowed.
    """
    strengths = bradley_terry(wins, prior=HALF_A_TIE)
    size, met = len(wins), np.where(np.eye(len(wins), dtype=bool), 0.0, wins + wins.T + 2 * HALF_A_TIE)
    chance = _sigmoid(strengths[:, None] - strengths[None, :])
    variance = chance * (1 - chance)
    curve = met * variance
    information = np.diag(curve.sum(-1)) - curve + 1 / size
    inverse = np.linalg.inv(information)
    spread = np.diag(inverse)[:, None] + np.diag(inverse)[None, :] - 2 * inverse
    gain = np.where(np.eye(size, dtype=bool), 0.0, np.log1p(variance * spread))
    return np.asarray(gain / gain.sum(), dtype=np.float64)


def _drawn(wins: Floats, times: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> Floats:
    """Return the strengths on each bootstrap draw of the prompts, [resamples, systems]."""
    (rows_of, size, _), prompts = wins.shape, int(times.sum())
    flat, parts = wins.reshape(rows_of, -1), list[Floats]()
    for start in range(0, resamples, DRAWS):
        rows = min(DRAWS, resamples - start)
        counts = rng.multinomial(prompts, times / prompts, size=rows).astype(np.float64)
        parts.append(bradley_terry((counts @ flat).reshape(rows, size, size), prior=HALF_A_TIE))
    return np.concatenate(parts)


def _connected(beat: Bools) -> Bools:
    """Return whether a chain of wins leads from every system to every other; [..., systems, systems] to [...]."""
    reach = beat | np.eye(beat.shape[-1], dtype=bool)
    for _ in range(max(1, beat.shape[-1].bit_length())):
        reach = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    return np.asarray(reach.all((-1, -2)))


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * x))
