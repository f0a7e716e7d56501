"""Sequential comparison of two models: a test and an interval that stay valid however often you look. NumPy alone.

Votes for the new model among decided ones are coin tosses with share theta. The evidence against a share p is
the likelihood ratio of theta mixed over a uniform prior, M(p) = B(1 + w, 1 + l) / (p^w (1 - p)^l) (Robbins
1970; as a test that allows peeking: Johari et al. 2022). Under p it is a martingale from 1, so P(M(p) >= 1 /
alpha at any time) <= alpha (Ville 1939).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError

Floats = NDArray[np.float64]
Outcome = Literal["new", "old", "tie"]
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a trial after some votes."""

    wins: int
    losses: int
    ties: int
    share: float
    """The new model's share of the decided votes; 1/2 when there is none."""
    low: float
    high: float
    """Upper end of the confidence sequence of ``share``. It covers the truth at every look at once, with
    probability 1 - alpha."""
    p: float
    """Smallest 1 / M(1/2) so far, at most 1: a p-value at every look."""
    verdict: Verdict
    """The first verdict reached; it is final."""


def log_evidence(wins: Floats, losses: Floats, share: float = 0.5) -> Floats:
    """Return log M(share) after each pair of counts, [looks]."""
    most = int(max(np.max(wins + losses, initial=0), 0)) + 1
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    w, n = wins.astype(np.int64), (wins + losses).astype(np.int64)
    log_beta = factorials[w] + factorials[n - w] - factorials[n + 1]
    return np.asarray(log_beta - wins * log(share) - losses * log(1 - share), dtype=np.float64)


def confidence_interval(wins: int, losses: int, alpha: float) -> tuple[float, float]:
    """Return the two ends of the interval of shares p with M(p) < 1 / alpha after these votes."""
    _hold(alpha)
    middle = wins / (wins + losses) if wins + losses else 0.5
    inside = min(max(middle, 1e-12), 1 - 1e-12)

    def outside(p: float) -> bool:
        value = float(log_evidence(np.array([float(wins)]), np.array([float(losses)]), p)[0])
        return not isfinite(value) or value >= -log(alpha)

    return (_edge(outside, 1e-12, inside), 1 - _edge(lambda q: outside(1 - q), 1e-12, 1 - inside))


def standing(votes: Sequence[Outcome], *, alpha: float = 0.05, least: int = 20) -> Standing:
    """Return the state of a trial after these votes, in the order in which they came.

    Args:
        alpha: probability that two equal models are ever called different.
        least: number of decided votes before any verdict.

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    _hold(alpha)
    decided = np.array([vote == "new" for vote in votes if vote != "tie"], dtype=np.float64)
    wins = np.cumsum(decided)
    losses = np.arange(1, len(decided) + 1) - wins
    evidence = log_evidence(wins, losses)
    w, n = int(decided.sum()), len(decided)
    low, high = confidence_interval(w, n - w, alpha)
    p = exp(-max(0.0, float(np.max(evidence, initial=0.0))))
    return Standing(w, n - w, len(votes) - n, w / n if n else 0.5, low, high, p, _verdict(wins, losses, evidence, alpha, least))


def _verdict(wins: Floats, losses: Floats, evidence: Floats, alpha: float, least: int) -> Verdict:
    looks = np.arange(1, len(evidence) + 1)
    crossed = np.flatnonzero((evidence >= -log(alpha)) & (looks >= least))
    if not len(crossed):
        return "undecided"
    return "better" if wins[crossed[0]] > losses[crossed[0]] else "worse"


def _edge(outside: Callable[[float], bool], low: float, high: float) -> float:
    """Return the point between ``low`` and ``high`` where a condition stops holding; ``low`` when it does not hold there."""
    if not outside(low):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if outside(middle) else (low, middle)
    return high


def _hold(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; it must lie between 0 and 1", where="evaluation")
