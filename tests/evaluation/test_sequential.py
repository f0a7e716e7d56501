"""The trial's test holds its error rate under peeking, finds what is there, and agrees with its interval."""

from __future__ import annotations

from math import comb, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.evaluation.sequential import confidence_interval, log_evidence, standing

TRIALS, VOTES = 2000, 1000


def paths(share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    wins = np.cumsum(np.random.default_rng(seed).random((TRIALS, VOTES)) < share, axis=1).astype(float)
    return wins, np.arange(1, VOTES + 1) - wins


def test_evidence_is_the_mixture_likelihood_ratio() -> None:
    for wins, losses in ((0, 0), (3, 1), (10, 10), (40, 5)):
        grid = (np.arange(200_000) + 0.5) / 200_000
        mixed = np.mean(grid**wins * (1 - grid) ** losses)
        assert log_evidence(np.array([float(wins)]), np.array([float(losses)]))[0] == pytest.approx(
            log(mixed) - (wins + losses) * log(0.5), abs=1e-6
        )


def test_evidence_has_mean_one_under_equality() -> None:
    """A martingale from 1: its mean over all sequences of n fair votes is 1."""
    for n in (1, 5, 12):
        values = np.exp(log_evidence(np.arange(n + 1.0), n - np.arange(n + 1.0)))
        assert sum(comb(n, w) / 2**n * values[w] for w in range(n + 1)) == pytest.approx(1.0)


def test_equal_models_are_rarely_called_different_however_often_one_looks() -> None:
    wins, losses = paths(0.5, 1)
    ever = np.mean([(log_evidence(w, lo) >= log(20)).any() for w, lo in zip(wins, losses, strict=True)])
    n = np.arange(1, VOTES + 1)
    peeked = np.mean((np.abs(wins - n / 2) > 1.96 * np.sqrt(n) / 2)[:, 19:].any(axis=1))
    assert ever <= 0.05
    assert peeked > 0.3, "what a test for one look does when it is looked at after every vote"


def test_a_better_model_is_found() -> None:
    wins, losses = paths(0.6, 2)
    first = [np.flatnonzero(log_evidence(w, lo) >= log(20)) for w, lo in zip(wins, losses, strict=True)]
    assert np.mean([len(found) > 0 for found in first]) > 0.99
    assert np.median([found[0] for found in first if len(found)]) < 350


def test_the_interval_covers_the_truth_at_every_look() -> None:
    wins, losses = paths(0.63, 3)
    covered = np.mean([(log_evidence(w, lo, 0.63) < log(20)).all() for w, lo in zip(wins, losses, strict=True)])
    assert covered >= 0.95


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_intervals_ends_are_where_the_evidence_is_enough(wins: int, losses: int, alpha: float) -> None:
    low, high = confidence_interval(wins, losses, alpha)
    share = wins / (wins + losses) if wins + losses else 0.5
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            value = log_evidence(np.array([float(wins)]), np.array([float(losses)]), end)[0]
            assert value == pytest.approx(-log(alpha), abs=1e-3)


def test_exchanging_the_models_turns_the_verdict_round() -> None:
    votes = ["new"] * 30 + ["old"] * 5 + ["tie"] * 9
    turned = [{"new": "old", "old": "new", "tie": "tie"}[vote] for vote in votes]
    one, other = standing(votes), standing(turned)
    assert (one.verdict, other.verdict) == ("better", "worse")
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, 9)
    assert one.low == pytest.approx(1 - other.high)
    assert one.p == pytest.approx(other.p)
    assert one.low > 0.5


def test_few_votes_decide_nothing_and_a_verdict_stays() -> None:
    assert standing([]).verdict == "undecided"
    assert (standing([]).low, standing([]).high, standing([]).p) == (0.0, 1.0, 1.0)
    assert standing(["new"] * 19).verdict == "undecided"
    assert standing(["new"] * 20).verdict == "better"
    assert standing(["new"] * 20 + ["old"] * 40).verdict == "better"
    with pytest.raises(InputError):
        standing([], alpha=0)
