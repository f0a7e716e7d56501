"""Intervals cover what they claim to, and the simple formulas agree with counting."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.statistics import best_of_n_kl, group_means, interval, mean_of, outcomes, rate, win_rate

finite = st.floats(-1e6, 1e6)


def test_a_95_percent_interval_covers_the_truth_in_93_to_97_of_100_studies() -> None:
    rng, truth, studies = np.random.default_rng(7), 0.7, 1500
    hits = 0
    for study in range(studies):
        _, low, high = interval((rng.random(200) < truth).astype(float), resamples=400, seed=study)
        hits += low <= truth <= high
    assert 0.93 <= hits / studies <= 0.97


def test_resampling_pairs_instead_of_prompts_would_claim_too_much() -> None:
    """30 prompts with 15 comparisons that all agree are 30 facts, not 450."""
    prompts = np.random.default_rng(0).random(30)
    keys = [str(row) for row in range(30) for _ in range(15)]
    by_prompt, by_pair = interval(group_means(keys, np.repeat(prompts, 15)), seed=1), interval(np.repeat(prompts, 15), seed=1)
    assert by_prompt.mean == pytest.approx(by_pair.mean)
    assert by_prompt.high - by_prompt.low > 3 * (by_pair.high - by_pair.low)


@given(st.lists(finite, min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_an_interval_repeats_and_stays_within_the_values(values: list[float], seed: int) -> None:
    first = interval(values, resamples=50, seed=seed)
    assert first == interval(values, resamples=50, seed=seed)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= first.low <= first.high <= max(values) + slack


def test_the_chunked_draw_counts_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.evaluation import statistics

    whole = interval(range(50), resamples=999, seed=3)
    monkeypatch.setattr(statistics, "CHUNK", 500)
    assert interval(range(50), resamples=999, seed=3) == whole


def test_an_interval_is_a_json_list() -> None:
    assert json.loads(json.dumps(interval([1.0, 1.0]))) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("count", [3, 29, 30, 500])
def test_values_that_are_all_0_or_all_1_still_have_an_interval(count: int) -> None:
    """Its outer end is where such a sample has a chance of one in forty."""
    none, all_of = rate([0.0] * count), rate([1.0] * count)
    assert (none.mean, none.low) == (0.0, 0.0)
    assert (1 - none.high) ** count == pytest.approx(0.025, rel=1e-6)
    assert (all_of.mean, all_of.high) == (1.0, 1.0)
    assert all_of.low == pytest.approx(1 - none.high)


def test_a_mean_of_shares_has_the_interval_of_a_rate_and_any_other_that_of_a_bootstrap() -> None:
    assert mean_of([0.0, 0.5, 1.0]) == rate([0.0, 0.5, 1.0])
    assert mean_of([0.0, 0.5, 1.5]) == interval([0.0, 0.5, 1.5])
    with pytest.raises(InputError, match="evaluation"):
        mean_of([])


@pytest.mark.parametrize("values", [[], [float("nan"), 1.0], [float("inf")], [[1.0, 2.0]]])
def test_what_has_no_interval_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="evaluation"):
        interval(values)


@given(st.lists(st.tuples(finite, finite), min_size=1))
def test_swapping_the_sides_gives_one_minus_the_win_rate(pairs: list[tuple[float, float]]) -> None:
    assert win_rate([(b, a) for a, b in pairs]) == pytest.approx(1 - win_rate(pairs))


def test_ties_are_worth_half() -> None:
    assert outcomes([1.0, 0.0, 0.5], [0.0, 1.0, 0.5 + 1e-12]).tolist() == [1.0, 0.0, 0.5]
    assert outcomes([0.50, 0.4], [0.52, 0.5], margin=0.05).tolist() == [0.5, 0.0]


def test_best_of_n_kl_is_what_the_enumerated_distribution_says() -> None:
    """Among m equally likely responses without ties, best-of-n takes the i-th worst with probability (i^n - (i-1)^n) / m^n."""
    m, n = 20_000, 8
    i = np.arange(1, m + 1) / m
    p = i**n - (i - 1 / m) ** n
    assert best_of_n_kl(n) == pytest.approx(float((p * np.log(p * m)).sum()), abs=1e-3)
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(log(2) - 0.5)
    with pytest.raises(InputError):
        best_of_n_kl(0)


@given(st.lists(st.lists(finite, min_size=3, max_size=3), max_size=8))
def test_best_of_n_takes_the_first_highest_of_each_prompt(rows: list[list[float]]) -> None:
    chosen = best_of_n([score for row in rows for score in row], 3)
    assert chosen == [3 * number + row.index(max(row)) for number, row in enumerate(rows)]


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0], [1.0, float("nan")]])
def test_best_of_n_refuses_a_broken_table(scores: list[float]) -> None:
    with pytest.raises(InputError, match="best of n"):
        best_of_n(scores, 2)
