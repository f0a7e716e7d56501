"""Bradley-Terry against a published table, rank ranges against simulation, and the sample sizes of a win rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from accord.errors import InputError
from accord.evaluation.bradley_terry import HALF_A_TIE, bradley_terry, standings, telling
from accord.evaluation.power import more_prompts, prompts_needed
from accord.evaluation.statistics import Interval, interval

JOURNALS = np.array([[714, 730, 498, 221], [33, 425, 68, 17], [320, 813, 1072, 142], [284, 276, 325, 188]], dtype=float)
"""Citations between Biometrika, Comm. Statist., JASA and JRSS-B, 1987-88 (Stigler 1994; Agresti, Categorical Data Analysis, 10.10)."""
PUBLISHED = (0.0, -2.94907, -0.47957, 0.26895)
"""Strengths against Biometrika's, as R's BradleyTerry2 (Turner and Firth 2012, section 2) gives them."""


def test_strengths_are_those_of_the_published_table() -> None:
    found = bradley_terry(JOURNALS)
    assert found - found[0] == pytest.approx(PUBLISHED, abs=5e-6)
    assert found.sum() == pytest.approx(0)


def test_strengths_are_those_of_the_arenas_logistic_regression() -> None:
    """Chatbot Arena's ratings (Chiang et al. 2024, section 4): a row a battle, +1 and -1 for its sides; a tie is half a battle each way.

    Fitted here by another solver, without a penalty; on the Arena's scale a strength s is 1000 + 400 s / ln 10.
    """
    rng = np.random.default_rng(3)
    truth, battles = np.array([0.9, 0.2, 0.0, -0.4, -0.7]), 4000
    sides = np.array([rng.choice(5, 2, replace=False) for _ in range(battles)])
    outcome = np.where(rng.random(battles) < 0.2, 0.5, rng.random(battles) < 1 / (1 + np.exp(truth[sides[:, 1]] - truth[sides[:, 0]])))
    rows = np.zeros((battles, 5))
    rows[np.arange(battles), sides[:, 0]], rows[np.arange(battles), sides[:, 1]] = 1, -1

    def loss(s: np.ndarray) -> float:
        return float((outcome * np.logaddexp(0, -rows @ s) + (1 - outcome) * np.logaddexp(0, rows @ s)).sum() + s.sum() ** 2)

    wins = np.zeros((5, 5))
    np.add.at(wins, (sides[:, 0], sides[:, 1]), outcome)
    np.add.at(wins, (sides[:, 1], sides[:, 0]), 1 - outcome)
    theirs = 1000 + 400 / np.log(10) * minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-6}).x
    assert 1000 + 400 / np.log(10) * bradley_terry(wins) == pytest.approx(theirs, abs=0.01)


def test_two_systems_have_the_log_odds_of_their_win_rate() -> None:
    one, other = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert one - other == pytest.approx(np.log(3))


def test_many_tables_at_once_are_as_each_alone() -> None:
    tables = np.random.default_rng(1).integers(1, 40, (7, 5, 5)).astype(float)
    together = bradley_terry(tables)
    assert together == pytest.approx(np.stack([bradley_terry(table) for table in tables]), abs=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_expected_wins_give_their_strengths_back(truth: list[float]) -> None:
    s = np.array(truth)
    expected = 1 / (1 + np.exp(s[None, :] - s[:, None])) * 50
    assert bradley_terry(expected) == pytest.approx(s - s.mean(), abs=1e-6)


def test_what_the_table_cannot_tell_is_refused() -> None:
    never = np.array([[0.0, 5.0, 5.0], [0.0, 0.0, 3.0], [0.0, 4.0, 0.0]])
    with pytest.raises(InputError, match="never won or never lost"):
        bradley_terry(never)
    assert bradley_terry(never, prior=0.25)[0] > 2
    with pytest.raises(InputError, match="square"):
        bradley_terry(np.ones((2, 3)))


def drawn(truth: np.ndarray, prompts: int, seed: int) -> np.ndarray:
    """One verdict a prompt and pair."""
    rng, size = np.random.default_rng(seed), len(truth)
    values = np.full((prompts, size, size), np.nan)
    for i in range(size):
        for j in range(i + 1, size):
            values[:, i, j] = rng.random(prompts) < 1 / (1 + np.exp(truth[j] - truth[i]))
            values[:, j, i] = 1 - values[:, i, j]
    return values


def test_intervals_of_strengths_cover_the_truth_and_ranges_hold_the_rank() -> None:
    truth, studies = np.array([0.4, 0.0, -0.4]), 400
    covered, held = 0, 0
    for study in range(studies):
        found = {each.name: each for each in standings("abc", drawn(truth, 120, study), resamples=200, seed=study)}
        covered += sum(found[name].strength.low <= s <= found[name].strength.high for name, s in zip("abc", truth, strict=True))
        held += sum(found[name].best <= rank <= found[name].worst for name, rank in zip("abc", (1, 2, 3), strict=True))
    assert 0.93 <= covered / (3 * studies) <= 0.97
    assert held / (3 * studies) >= 0.95


def test_systems_that_are_alike_share_the_ranks_and_a_champion_does_not() -> None:
    values = drawn(np.array([3.0, 0.0, 0.0]), 200, 5)
    values[:, 1, 2] = np.tile([1.0, 0.0], 100)
    values[:, 0, 1:], values[:, 2, 1], values[:, 1:, 0] = 0.9, 1 - values[:, 1, 2], 0.1
    champion, *others = standings("xyz", values, resamples=300)
    assert (champion.name, champion.rank, champion.best, champion.worst) == ("x", 1, 1, 1)
    assert all((each.best, each.worst) == (2, 3) for each in others)


def test_pairs_that_were_not_compared_are_left_out() -> None:
    values = drawn(np.array([1.0, 0.0, -1.0]), 300, 2)
    values[:, 0, 2] = values[:, 2, 0] = np.nan
    assert [each.name for each in standings("abc", values, resamples=50)] == ["a", "b", "c"]
    with pytest.raises(InputError, match="no prompt was compared"):
        standings("ab", np.full((4, 2, 2), np.nan))


@pytest.mark.parametrize(("rate", "needed"), [(0.52, 4903), (0.55, 783), (0.6, 194), (0.7, 47)])
def test_prompts_needed_are_those_of_the_tables(rate: float, needed: int) -> None:
    """For 80% power at 5%, as any table of sample sizes for a share against one half has them."""
    assert prompts_needed(rate) == pytest.approx(needed, abs=1)
    assert prompts_needed(1 - rate) == prompts_needed(rate)


def test_ties_save_prompts_only_beside_the_difference_they_leave() -> None:
    assert (prompts_needed(0.6, ties=0.5) or 0) < (prompts_needed(0.6) or 0)
    assert prompts_needed(0.5) is None
    with pytest.raises(InputError, match="cannot have"):
        prompts_needed(0.9, ties=0.5)


def test_that_many_prompts_find_the_difference_in_four_of_five_studies() -> None:
    needed = prompts_needed(0.6)
    assert needed
    rng = np.random.default_rng(0)
    found = [(rng.random(needed) < 0.6).mean() for _ in range(3000)]
    z = [(share - 0.5) / np.sqrt(share * (1 - share) / needed) for share in found]
    assert 0.77 < np.mean(np.array(z) > 1.96) < 0.84


def test_a_settled_duel_needs_no_more_and_a_hopeless_one_no_number() -> None:
    won = np.repeat([1.0, 0.0], [80, 20])
    assert more_prompts(won, interval(won)) == 0
    close = np.repeat([1.0, 0.0], [55, 45])
    assert more_prompts(close, interval(close)) == pytest.approx(683, abs=2)
    even = np.repeat([1.0, 0.0], 50)
    assert more_prompts(even, Interval(0.5, 0.4, 0.6)) is None


def test_equal_prompts_may_be_counted_instead_of_listed() -> None:
    rng = np.random.default_rng(5)
    outcomes, times = ((0, 1, 1.0), (0, 1, 0.0), (1, 2, 1.0), (1, 2, 0.5), (0, 2, 1.0), (2, 0, 1.0)), [40, 10, 35, 20, 60, 5]
    rows = np.full((6, 3, 3), np.nan)
    for row, (i, j, score) in zip(rows, outcomes, strict=True):
        row[i, j], row[j, i] = score, 1 - score
    names = ["a", "b", "c"]
    counted = standings(names, rows, times=times, resamples=4000)
    listed = standings(names, rows[rng.permutation(np.repeat(np.arange(6), times))], resamples=4000)
    for one, other in zip(counted, listed, strict=True):
        assert (one.name, one.rank, one.best, one.worst) == (other.name, other.rank, other.best, other.worst)
        assert one.strength.mean == pytest.approx(other.strength.mean)
        assert (one.strength.low, one.strength.high) == pytest.approx((other.strength.low, other.strength.high), abs=0.1)


def test_what_a_duel_would_tell_is_the_growth_of_the_information() -> None:
    """Determinants of the information with and without one more duel, computed whole, in the space of strengths that sum to 0."""
    wins = np.random.default_rng(2).integers(0, 12, (4, 4)).astype(float)
    strengths, found = bradley_terry(wins, prior=HALF_A_TIE), telling(wins)
    basis = np.linalg.svd(np.ones((1, 4)))[2][1:]

    def information(extra: tuple[int, int] | None) -> float:
        total = np.zeros((4, 4))
        for i in range(4):
            for j in range(i):
                p = 1 / (1 + np.exp(strengths[j] - strengths[i]))
                duels = wins[i, j] + wins[j, i] + 2 * HALF_A_TIE + ({i, j} == {*(extra or ())})
                difference = np.eye(4)[i] - np.eye(4)[j]
                total += duels * p * (1 - p) * np.outer(difference, difference)
        return float(np.linalg.slogdet(basis @ total @ basis.T)[1])

    gains = np.array([[information((i, j)) - information(None) if i != j else 0.0 for j in range(4)] for i in range(4)])
    assert found == pytest.approx(gains / gains.sum())
    assert found.sum() == pytest.approx(1)


def test_a_system_that_nobody_met_tells_most() -> None:
    wins = np.zeros((3, 3))
    wins[0, 1] = wins[1, 0] = 50
    found = telling(wins)
    assert found[0, 2] + found[2, 0] + found[1, 2] + found[2, 1] > 0.95
    wins[2, 0] = wins[0, 2] = wins[2, 1] = wins[1, 2] = 50
    assert telling(wins) == pytest.approx(np.where(np.eye(3, dtype=bool), 0, 1 / 6))
