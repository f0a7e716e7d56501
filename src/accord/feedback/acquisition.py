"""What to label next: the prompts whose answers would teach most.

Everything is in nats, a number a prompt: the mean over its pairs of responses, or what ranking all K would tell. ``choose`` takes the
highest; the same numbers serve as priorities of tasks. What a reward model or an ensemble says comes in as plain numbers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from accord.errors import InputError
from accord.feedback.intervals import Floats


def choose(gains: Mapping[str, float], count: int) -> list[str]:
    """The ``count`` prompts of the highest gain, the highest first; equal gains go by id."""
    return sorted(gains, key=lambda prompt: (-gains[prompt], prompt))[:count]


def random_gains(prompts: Sequence[str], *, seed: int = 0) -> dict[str, float]:
    """A random order, the one that keeps every figure unbiased: each prompt's number follows from the seed and its id alone."""
    return {prompt: random.Random(f"choose {seed} {prompt}").random() for prompt in prompts}


def uncertainty(rewards: Sequence[float]) -> float:
    """How unsure a reward model is of a prompt's responses: the entropy of sigmoid(r_i - r_j), a mean over pairs.

    From 0 (sure of every pair) to ln 2 (all rewards equal). It cannot tell responses that are equally good, where people would be
    tossing coins too, from responses it knows nothing about; ``ensemble_gain`` can.

    Args:
        rewards: [K] of one prompt, K at least 2.
    """
    return float(_entropy(_preferences(np.asarray(rewards, dtype=np.float64)[None])[0]).mean())


def ensemble_gain(rewards: Sequence[Sequence[float]]) -> float:
    """What a comparison of a prompt's responses would tell about which member of an ensemble is right, a mean over pairs.

    The entropy of the members' mean preference minus the mean of their entropies (BALD, Houlsby et al. 2011): 0 when all members say
    the same, sure or not.

    Args:
        rewards: [members, K], two members and two responses at least.

    Raises:
        InputError: fewer than two members: nothing can disagree.
    """
    table = np.asarray(rewards, dtype=np.float64)
    if len(table) < 2:
        raise InputError("an ensemble has at least two members", where="choosing", hint="use the uncertainty of the one reward model")
    preferred = _preferences(table)
    return float((_entropy(preferred.mean(0)) - _entropy(preferred).mean(0)).mean())


def pair_information(gap: float, variance: float) -> float:
    """What one comparison tells about a difference of strengths that is Normal(gap, variance), in nats: ln(1 + p(1 - p) variance) / 2.

    Bradley-Terry's Fisher information at the mean, in Laplace's approximation: most for pairs that are close and little known.
    """
    p = 1 / (1 + np.exp(-gap))
    return float(np.log1p(p * (1 - p) * variance) / 2)


def ranking_information(mean: Sequence[float], covariance: Floats) -> float:
    """What ranking all K responses tells about their strengths, in nats: ln det(I + covariance F) / 2.

    F is the Fisher information of all pairs, as if each were compared on its own: an upper bound, since a ranking's pairs hang together.

    Args:
        mean: [K] strengths under Bradley-Terry.
        covariance: [K, K] of them. What is not known at all has a large one.
    """
    strengths = np.asarray(mean, dtype=np.float64)
    p = 1 / (1 + np.exp(-np.subtract.outer(strengths, strengths)))
    weights = p * (1 - p) * (1 - np.eye(len(strengths)))
    fisher = np.diag(weights.sum(1)) - weights
    return float(np.linalg.slogdet(np.eye(len(strengths)) + covariance @ fisher)[1] / 2)


def _preferences(rewards: Floats) -> Floats:
    """[members, K] to [members, pairs]: the probability that the first of each pair is preferred.

    Raises:
        InputError: there are fewer than two responses.
    """
    if rewards.shape[-1] < 2:
        raise InputError(f"{rewards.shape[-1]} responses make no pair", where="choosing")
    one, other = np.triu_indices(rewards.shape[-1], 1)
    return 1 / (1 + np.exp(-np.clip(rewards[:, one] - rewards[:, other], -700, 700)))


def _entropy(p: Floats) -> Floats:
    """Of a coin, in nats; 0 at 0 and 1."""
    both = np.stack([p, 1 - p])
    return -(both * np.log(np.where(both > 0, both, 1.0))).sum(0)
