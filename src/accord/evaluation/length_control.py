"""Length-controlled win rates: which answer would be preferred if both were equally long?

Follows Dubois et al. 2024 (arXiv 2404.04475, AlpacaEval 2): a logistic regression of the preferences,

    logit P(first is preferred) = theta + phi tanh((length of second - length of first) / sd) + psi difficulty

evaluated at a length difference of 0 and averaged over the prompts. Lengths are in characters, sd is that of
the differences. Except: a small ridge on every coefficient takes the place of their cross-validated L1 and of
their two gamed baselines, which belong to their 805 prompts; the difficulty of a prompt is optional, since
estimating it takes many models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import Floats, Interval

RIDGE = 0.01
"""1 / C in their logistic regression without cross-validation."""
STEPS = 60
DRAWS = 100
"""Bootstrap draws that are fitted at once."""


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate with the effect of length removed."""

    win_rate: Interval
    theta: float
    """Log-odds of the first at equal lengths and difficulty 0."""
    phi: float
    """Effect of length; below zero, longer answers are preferred."""
    psi: float
    """Effect of difficulty; 0 where none is given."""


def length_controlled(
    preferences: Sequence[float] | Floats,
    first_lengths: Sequence[float] | Floats,
    second_lengths: Sequence[float] | Floats,
    *,
    difficulty: Sequence[float] | Floats | None = None,
    ridge: float = RIDGE,
    resamples: int = 500,
    seed: int = 0,
) -> LengthControlled:
    """Fit the regression; the interval fits it again on resampled prompts.

    Args:
        preferences: [prompts], 1 where the first is preferred, 0 where the second is, between for ties and probabilities.
        first_lengths, second_lengths: [prompts], characters.
        difficulty: [prompts], any scale.
    Raises:
        InputError: the lists differ in length, or are empty.
    """
    y = np.asarray(preferences, dtype=np.float64)
    longer = np.asarray(second_lengths, dtype=np.float64) - np.asarray(first_lengths, dtype=np.float64)
    hard = np.zeros(len(y)) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    if not len(y) == len(longer) == len(hard) or not len(y):
        raise InputError(
            f"{len(y)} preferences, {len(longer)} lengths and {len(hard)} difficulties; there must be equally many, at least one",
            where="length control",
        )
    spread = float(longer.std(ddof=1)) if len(y) > 1 else 0.0
    features = np.stack([np.ones(len(y)), np.tanh(longer / spread) if spread else np.zeros(len(y)), hard], axis=1)
    whole = np.ones((1, len(y)))
    coefficients = logistic(features, y, whole, ridge)
    rate = _at_equal_length(coefficients, hard, whole)[0]
    low, high = np.quantile(_resampled(features, y, hard, ridge, resamples, seed), [0.025, 0.975])
    theta, phi, psi = (float(value) for value in coefficients[0])
    return LengthControlled(Interval(float(rate), float(low), float(high)), theta, phi, psi)


def read_at_equal_length(theta: float, psi: float, difficulty: Sequence[float] | Floats) -> Floats:
    """Return P(first is preferred) at equal lengths, one per prompt, from a model's published coefficients for
    each instruction."""
    return _sigmoid(theta + psi * np.asarray(difficulty, dtype=np.float64))


def logistic(features: Floats, y: Floats, weights: Floats, ridge: float) -> Floats:
    """Fit weighted ridge logistic regressions on targets in [0, 1] by Newton's method, several weightings at once.

    Args:
        features: [rows, columns]. y: [rows]. weights: [fits, rows].
        ridge: half its multiple of the squared coefficients is added to the summed loss.
    Returns:
        [fits, columns].
    """
    columns = features.shape[1]
    found: Floats = np.zeros((len(weights), columns))
    for _ in range(STEPS):
        p = _sigmoid(found @ features.T)
        slope = (weights * (y - p)) @ features - ridge * found
        spread: Floats = np.einsum("fr,ri,rj->fij", weights * p * (1 - p), features, features, optimize=True)
        curve = spread + ridge * np.eye(columns)
        step = np.asarray(np.clip(np.linalg.solve(curve, slope[..., None])[..., 0], -4.0, 4.0), dtype=np.float64)
        found += step
        if np.abs(step).max() < 1e-9:
            break
    return found


def _resampled(features: Floats, y: Floats, hard: Floats, ridge: float, resamples: int, seed: int) -> Floats:
    rng, n, parts = np.random.default_rng(seed), len(y), list[Floats]()
    for start in range(0, resamples, DRAWS):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(DRAWS, resamples - start)).astype(np.float64)
        parts.append(_at_equal_length(logistic(features, y, weights, ridge), hard, weights))
    return np.concatenate(parts)


def _at_equal_length(coefficients: Floats, hard: Floats, weights: Floats) -> Floats:
    """Return the mean over (weighted) prompts, [fits]."""
    p = _sigmoid(coefficients[:, :1] + coefficients[:, 2:] * hard)
    return (p * weights).sum(1) / weights.sum(1)


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * x))
