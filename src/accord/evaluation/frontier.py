"""Reward against KL: the frontier of a run's policies and of best-of-n, with the fits of Gao et al. and where the gold reward peaks.

Follows Gao et al. 2022 (arXiv 2210.10760, section 3): with d the square root of the KL to the first policy, rewards counted from
that policy's,

    best-of-n   R(d) = d (alpha - beta d)          peaks at d = alpha / (2 beta)
    RL          R(d) = d (alpha - beta log d)      peaks at d = exp(alpha / beta - 1)

Both are linear in alpha and beta, so the fit is a weighted least squares; points are weighted by their standard errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, exp, log, sqrt
from typing import Literal

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import Floats, Interval, interval

Kind = Literal["rl", "best_of_n"]


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients of one curve."""

    kind: Kind
    alpha: float
    beta: float
    r2: float
    """Share of the points' variance that the curve explains."""

    def at(self, kl: float) -> float:
        """Return the reward above the first policy's at a KL in nats."""
        d = sqrt(max(kl, 0.0))
        if d == 0:
            return 0.0
        return d * (self.alpha - self.beta * (log(d) if self.kind == "rl" else d))

    @property
    def peak(self) -> float | None:
        """KL at which the curve is highest; None if it never turns down."""
        if self.beta <= 0 or (self.alpha <= 0 and self.kind == "best_of_n"):
            return None
        d = exp(min(self.alpha / self.beta - 1, 50.0)) if self.kind == "rl" else self.alpha / (2 * self.beta)
        return d * d


def fit(kind: Kind, kl: Sequence[float], reward: Sequence[float], weights: Sequence[float] | None = None) -> Fit:
    """Fit a curve through the origin.

    Args:
        kl: [points] nats, not negative; points at 0 are allowed and have no effect.
        reward: [points], counted from the first policy's.
        weights: [points], e.g. 1 / variance; equal when not given.
    Raises:
        InputError: fewer than two different points away from 0.
    """
    d = np.sqrt(np.maximum(np.asarray(kl, dtype=np.float64), 0.0))
    y, w = np.asarray(reward, dtype=np.float64), np.ones(len(d)) if weights is None else np.asarray(weights, dtype=np.float64)
    far = d > 1e-6
    if len(set(np.round(d[far], 9).tolist())) < 2:
        raise InputError("a curve needs two points of different KL", where="frontier", hint="keep more policies, or use a larger n")
    d, y, w = d[far], y[far], w[far]
    columns = np.stack([d, -d * (np.log(d) if kind == "rl" else d)], axis=1)
    root = np.sqrt(w)[:, None]
    alpha, beta = np.linalg.lstsq(columns * root, y * root[:, 0], rcond=None)[0].tolist()
    left = float((w * (y - columns @ np.array([alpha, beta])) ** 2).sum())
    spread = float((w * (y - np.average(y, weights=w)) ** 2).sum())
    return Fit(kind, alpha, beta, 1 - left / spread if spread else 1.0)


def best_of_n_values(proxy: Floats, values: Floats, n: int) -> Floats:
    """Return the expected value of the best of n by proxy, one per prompt, unbiased, from N >= n responses each.

    The response of rank k by proxy among N (1 is lowest) is the best of n drawn without replacement with probability
    C(k - 1, n - 1) / C(N, n) (Nakano et al. 2021, appendix I). Responses of equal proxy share their ranks evenly.

    Args:
        proxy, values: [prompts, N]; ``values`` may be the proxy itself.
    Raises:
        InputError: n is not between 1 and N.
    """
    of = proxy.shape[1]
    if not 1 <= n <= of:
        raise InputError(
            f"best of {n} cannot be computed from {of} responses",
            where="frontier",
            hint="sample more responses per prompt, or use a smaller n",
        )
    chances = np.array([comb(k - 1, n - 1) / comb(of, n) for k in range(1, of + 1)])
    order = np.argsort(proxy, axis=1, kind="stable")
    ranked, worth = np.take_along_axis(proxy, order, 1), np.take_along_axis(values, order, 1)
    return np.array([float((_shared(row, chances) * value).sum()) for row, value in zip(ranked, worth, strict=True)])


def _shared(ranked: Floats, chances: Floats) -> Floats:
    """Return the probabilities of sorted responses, averaged over those of equal proxy."""
    _, groups = np.unique(ranked, return_inverse=True)
    means = np.bincount(groups, weights=chances) / np.bincount(groups)
    return means[groups]


def resampled(rows: Floats, figure: Callable[[Floats], float | None], *, resamples: int, seed: int) -> Interval | None:
    """Return a statistic of the means over prompts, with its interval over resampled prompts.

    Args:
        rows: [prompts, ...]; the statistic is given their mean, with the axes that are left.
    Returns:
        None where the statistic is not defined on the data, or on more than half of the draws.
    """
    point = figure(rows.mean(0))
    if point is None:
        return None
    rng, found = np.random.default_rng(seed), list[float]()
    for _ in range(resamples):
        value = figure(rows[rng.integers(0, len(rows), len(rows))].mean(0))
        if value is not None:
            found.append(value)
    if len(found) < resamples / 2:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(point, float(low), float(high))


def stop_at(kl: Sequence[float], gold: Floats, *, resamples: int = 1000, seed: int = 0) -> int:
    """Return the index of the policy to stop at: the one of least KL that the best policy does not significantly
    beat on the same prompts.

    Past it the gold reward no longer rises measurably, while the KL and the risk do.

    Args:
        kl: [policies]. gold: [policies, prompts].
    """
    best = int(gold.mean(1).argmax())
    near = [i for i in range(len(gold)) if kl[i] <= kl[best] and interval(gold[best] - gold[i], resamples=resamples, seed=seed).low <= 0]
    return min(near, key=lambda i: kl[i])
