"""Active learning: the choice of prompts whose labels would teach the most.

Each prompt gets a number in nats: a mean over its pairs of responses, or the information in ranking all K. ``choose`` takes the highest;
the same numbers serve as task priorities. Predictions of a reward model or an ensemble come in as plain numbers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from accord.errors import InputError
from accord.feedback.intervals import Floats


def choose(gains: Mapping[str, float], count: int) -> list[str]:
    """Return the ``count`` prompts with the highest gain, highest first; ties are broken by id."""
    return sorted(gains, key=lambda prompt: (-gains[prompt], prompt))[:count]


def random_gains(prompts: Sequence[str], *, seed: int = 0) -> dict[str, float]:
    """Return random gains, the baseline that keeps every metric unbiased. Each prompt's number follows only from the seed and its id."""
    return {prompt: random.Random(f"choose {seed} {prompt}").random() for prompt in prompts}


def uncertainty(rewards: Sequence[float]) -> float:
    """Return a reward model's uncertainty on a prompt: the entropy of sigmoid(r_i - r_j), averaged over pairs.

    It ranges from 0 (sure of every pair) to ln 2 (all rewards equal). It does not distinguish responses that are equally good, where
    people would toss a coin too, from responses that the model knows nothing about; ``ensemble_gain`` does.

    Args:
        rewards: [K] of one prompt, with K of at least 2.
    """
    return float(_entropy(_preferences(np.asarray(rewards, dtype=np.float64)[None])[0]).mean())


def ensemble_gain(rewards: Sequence[Sequence[float]]) -> float:
    """Return the information that a comparison would give about which member of an ensemble is right, averaged over pairs.

    It is the entropy of the members' mean preference minus the mean of their entropies (BALD, Houlsby et al. 2011). It is 0 when all
    members predict the same, sure or not.

    Args:
        rewards: [members, K], with at least two members and two responses.

    Raises:
        InputError: there are fewer than two members, so none can disagree.
    """
    table = np.asarray(rewards, dtype=np.float64)
    if len(table) < 2:
        hint = "use the uncertainty of the one reward model"
        raise InputError("an ensemble needs at least two members", where="choosing", hint=hint)
    preferred = _preferences(table)
    return float((_entropy(preferred.mean(0)) - _entropy(preferred).mean(0)).mean())


def pair_information(gap: float, variance: float) -> float:
    """Return the information in nats of one comparison about a strength difference distributed as Normal(gap, variance): ln(1 + p(1 - p)
    variance) / 2.

    It is Bradley-Terry's Fisher information at the mean, in Laplace's approximation: largest for close pairs with high variance.
    """
    p = 1 / (1 + np.exp(-gap))
    return float(np.log1p(p * (1 - p) * variance) / 2)


def ranking_information(mean: Sequence[float], covariance: Floats) -> float:
    """Return the information in nats of a full ranking about the strengths of K responses: ln det(I + covariance F) / 2.

    F is the Fisher information of all pairs as if each were compared independently. The result is an upper bound, since the pairs of a
    ranking are not independent.

    Args:
        mean: [K] strengths under Bradley-Terry.
        covariance: [K, K] of the strengths; large for an unknown response.
    """
    strengths = np.asarray(mean, dtype=np.float64)
    p = 1 / (1 + np.exp(-np.subtract.outer(strengths, strengths)))
    weights = p * (1 - p) * (1 - np.eye(len(strengths)))
    fisher = np.diag(weights.sum(1)) - weights
    return float(np.linalg.slogdet(np.eye(len(strengths)) + covariance @ fisher)[1] / 2)


def _preferences(rewards: Floats) -> Floats:
    """Return the probability that the first of each pair is preferred: [members, K] to [members, pairs].

    Raises:
        InputError: there are fewer than two responses.
    """
    if rewards.shape[-1] < 2:
        raise InputError(f"{rewards.shape[-1]} responses make no pair", where="choosing")
    one, other = np.triu_indices(rewards.shape[-1], 1)
    return 1 / (1 + np.exp(-np.clip(rewards[:, one] - rewards[:, other], -700, 700)))


def _entropy(p: Floats) -> Floats:
    """Return the entropy of a coin in nats; 0 at 0 and 1."""
    both = np.stack([p, 1 - p])
    return -(both * np.log(np.where(both > 0, both, 1.0))).sum(0)
