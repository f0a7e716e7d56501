"""What to label next: known values, and whether choosing pays."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.feedback.acquisition import choose, ensemble_gain, pair_information, random_gains, ranking_information, uncertainty
from accord.feedback.consensus import noisy_bradley_terry
from accord.records import Guideline, Ranking

rewards = st.lists(st.floats(-50, 50), min_size=2, max_size=6)


def test_the_highest_first_and_ties_by_id() -> None:
    assert choose({"b": 1.0, "a": 1.0, "c": 2.0, "d": 0.5}, 3) == ["c", "a", "b"]
    assert choose({"a": 1.0}, 5) == ["a"]


def test_random_order_follows_from_seed_and_id() -> None:
    prompts = [f"p{i}" for i in range(200)]
    one = random_gains(prompts)
    assert one == random_gains(prompts[::-1])
    assert random_gains(prompts[:3]) == {p: one[p] for p in prompts[:3]}
    assert choose(one, 200) not in (prompts, choose(random_gains(prompts, seed=1), 200))


@given(rewards, st.floats(-5, 5))
def test_uncertainty_is_an_entropy_of_differences(values: list[float], shift: float) -> None:
    assert 0 <= uncertainty(values) <= math.log(2) + 1e-12
    assert uncertainty([v + shift for v in values]) == pytest.approx(uncertainty(values), abs=1e-9)
    assert uncertainty([values[0]] * 3) == pytest.approx(math.log(2))


def test_uncertainty_of_extremes() -> None:
    assert uncertainty([1e6, -1e6]) == 0
    p = 1 / (1 + math.exp(-1))
    assert uncertainty([1, 0]) == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p))


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20)), min_size=2, max_size=5))
def test_ensemble_gain_is_information(members: list[tuple[float, ...]]) -> None:
    assert -1e-12 <= ensemble_gain(members) <= math.log(2) + 1e-12
    assert ensemble_gain([members[0]] * 4) == pytest.approx(0, abs=1e-12)


def test_equally_good_is_not_unknown() -> None:
    """All members say even: people would toss coins. Members that contradict each other: a label settles it."""
    assert uncertainty([0, 0]) == pytest.approx(math.log(2))
    assert ensemble_gain([[0, 0], [0, 0]]) == 0
    assert ensemble_gain([[50, 0], [0, 50]]) == pytest.approx(math.log(2))


def test_a_pairs_information_is_the_rankings_of_two() -> None:
    for gap, variance in ((0.0, 2.0), (1.5, 2.0), (3.0, 0.5)):
        covariance = np.eye(2) * variance / 2
        assert ranking_information([gap, 0], covariance) == pytest.approx(pair_information(gap, variance))
    assert pair_information(0, 4) == pytest.approx(math.log(2) / 2)


def test_information_approaches_the_true_drop_of_entropy() -> None:
    """For a little-known gap: exact mutual information by numerical integration."""
    for gap, variance in ((0.0, 0.3), (1.0, 0.3), (2.0, 0.1)):
        at = np.linspace(-12, 12, 20001)
        density = np.exp(-((at - gap) ** 2) / (2 * variance))
        density /= density.sum()
        p = 1 / (1 + np.exp(-at))
        mean = float((density * p).sum())
        coin = lambda q: -q * np.log(q) - (1 - q) * np.log(1 - q)  # noqa: E731
        exact = float(coin(mean) - (density * coin(p)).sum())
        assert pair_information(gap, variance) == pytest.approx(exact, rel=0.1)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5), st.floats(0.1, 5))
def test_more_to_know_tells_more_and_far_apart_tells_less(mean: list[float], variance: float) -> None:
    covariance = np.eye(len(mean)) * variance
    told = ranking_information(mean, covariance)
    assert 0 < told < ranking_information(mean, 2 * covariance)
    assert ranking_information([10 * m for m in mean], covariance) <= told + 1e-9


def test_choosing_by_information_beats_chance() -> None:
    """Twelve responses of one prompt, pairs labeled one at a time under Bradley-Terry: how well is their order known in the end?"""
    assert np.mean([found("information", seed) for seed in range(12)]) > np.mean([found("random", seed) for seed in range(12)]) + 0.02


def found(method: str, seed: int) -> float:
    rng, ids = random.Random(seed), [f"r{i:02d}" for i in range(12)]
    truth = {id: rng.gauss(0, 3) for id in ids}
    pairs, rows = [(a, b) for a in ids for b in ids if a < b], list[Ranking]()
    for turn in range(10):
        for a, b in _next(method, rows, pairs, rng):
            first = rng.random() < 1 / (1 + math.exp(truth[b] - truth[a]))
            rows.append(Ranking(f"{turn}{a}{b}", "p", "ann", (a, b), (1, 2) if first else (2, 1), Guideline("training", "v"), ""))
    beats = noisy_bradley_terry(rows, spread=3).beats
    return float(np.mean([(beats.get(("p", a, b), 0.5) >= 0.5) == (truth[a] > truth[b]) for a, b in pairs]))


def _next(method: str, rows: list[Ranking], pairs: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    if method == "random" or not rows:
        return rng.sample(pairs, 6)
    known = noisy_bradley_terry(rows, spread=3)
    gains = {f"{a} {b}": _gain(known.strength, known.spread, a, b) for a, b in pairs}
    return [(a, b) for a, b in (key.split() for key in choose(gains, 6))]


def _gain(strength: dict[str, float], spread: dict[str, float], a: str, b: str) -> float:
    return pair_information(strength.get(a, 0) - strength.get(b, 0), spread.get(a, 3) ** 2 + spread.get(b, 3) ** 2)


def test_what_cannot_be_chosen_from_is_refused() -> None:
    with pytest.raises(InputError, match="no pair"):
        uncertainty([1.0])
    with pytest.raises(InputError, match="two members"):
        ensemble_gain([[1.0, 2.0]])
