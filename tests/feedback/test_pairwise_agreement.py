"""Agreement against tables worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from accord.errors import InputError
from accord.feedback.agreement import majority_accuracy, pairwise_agreement, single_label_accuracy
from accord.records import Guideline, GuidelineSet, Ranking


def ranking(prompt: str, labeler: str, ids: str, *ranks: int, under: GuidelineSet = "training") -> Ranking:
    return Ranking(f"{prompt}-{labeler}-{under}", prompt, labeler, tuple(ids), ranks, Guideline(under, "v"), "")


def test_three_rules_for_ties() -> None:
    """Whom each prefers.

    pair  ann  bob
    ab    a    a    same
    ac    a    a    same
    ad    a    d    other
    bc    b    tie  one-sided
    bd    b    d    other
    cd    tie  d    one-sided
    """
    found = pairwise_agreement([ranking("p", "ann", "abcd", 1, 2, 3, 3), ranking("p", "bob", "abcd", 2, 3, 3, 1)], resamples=10)
    assert found.pairs == 6
    assert found.untied_pairs == 4
    assert found.dropped.mean == pytest.approx(2 / 4)
    assert found.disagreement.mean == pytest.approx(2 / 6)
    assert found.half.mean == pytest.approx((2 + 0.5 + 0.5) / 6)


def test_a_tie_agrees_with_a_tie() -> None:
    found = pairwise_agreement([ranking("p", "ann", "abc", 1, 1, 2), ranking("p", "bob", "abc", 3, 3, 4)], resamples=10)
    assert (found.dropped.mean, found.disagreement.mean, found.half.mean) == (1.0, 1.0, 1.0)
    assert (found.pairs, found.untied_pairs) == (3, 2)


def test_several_prompts_count_by_their_pairs() -> None:
    rows = [
        ranking("p", "ann", "abc", 1, 2, 3),
        ranking("p", "bob", "cba", 3, 2, 1),  # the same order, shown in another
        ranking("q", "ann", "xy", 1, 2),
        ranking("q", "bob", "xy", 2, 1),
    ]
    assert pairwise_agreement(rows, resamples=10).dropped.mean == pytest.approx(3 / 4)


def test_three_labelers_make_three_comparisons_of_a_pair() -> None:
    rows = [ranking("p", "ann", "ab", 1, 2), ranking("p", "bob", "ab", 1, 2), ranking("p", "eve", "ab", 2, 1)]
    found = pairwise_agreement(rows, resamples=10)
    assert found.pairs == 3
    assert found.dropped.mean == pytest.approx(1 / 3)


def test_only_what_both_saw_counts() -> None:
    rows = [ranking("p", "ann", "abc", 1, 2, 3), ranking("p", "bob", "bcd", 1, 2, 3)]
    assert pairwise_agreement(rows, resamples=10).pairs == 1


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ranking("p", "ann", "ab", 1, 2)],
        [ranking("p", "ann", "ab", 1, 2), ranking("q", "bob", "ab", 1, 2)],
        [ranking("p", "ann", "ab", 1, 2), ranking("p", "ann", "ab", 1, 2)],
        [ranking("p", "ann", "ab", 1, 2), ranking("p", "bob", "cd", 1, 2)],
        [ranking("p", "ann", "ab", 1, 2), ranking("p", "bob", "ab", 1, 2, under="evaluation")],
    ],
    ids=["nothing", "one labeler", "other prompts", "the same labeler twice", "other responses", "other guideline sets"],
)
def test_without_an_overlap_there_is_no_figure(rows: list[Ranking]) -> None:
    with pytest.raises(InputError, match="no two labelers"):
        pairwise_agreement(rows)


def test_all_tied_leaves_the_first_rule_without_a_figure() -> None:
    found = pairwise_agreement([ranking("p", "ann", "ab", 1, 1), ranking("p", "bob", "ab", 1, 2)], resamples=10)
    assert all(math.isnan(figure) for figure in found.dropped)
    assert (found.disagreement.mean, found.half.mean, found.untied_pairs) == (0.0, 0.5, 0)


def noisy(prompts: int, right: float) -> list[Ranking]:
    """Two labelers whose words are right with a known probability each."""
    rng = random.Random(3)
    words = [(1, 2) if rng.random() < right else (2, 1) for _ in range(2 * prompts)]
    return [ranking(f"p{i // 2}", "ab"[i % 2], "xy", *word) for i, word in enumerate(words)]


def test_the_ceiling_is_the_noise_that_made_the_agreement() -> None:
    found = pairwise_agreement(noisy(4000, right=0.836), resamples=200).dropped
    assert found.low < 0.726 < found.high
    assert single_label_accuracy(found.mean) == pytest.approx(0.836, abs=0.015)


def test_the_interval_is_that_of_a_binomial_where_prompts_have_one_pair() -> None:
    found = pairwise_agreement(noisy(1000, right=0.836), resamples=2000).dropped
    error = 1.96 * math.sqrt(found.mean * (1 - found.mean) / 1000)
    assert found.mean - found.low == pytest.approx(error, rel=0.15)
    assert found.high - found.mean == pytest.approx(error, rel=0.15)


def test_pairs_of_a_prompt_are_resampled_together() -> None:
    """A prompt whose six pairs agree or disagree as one says no more than one pair does."""
    rng = random.Random(5)
    rows = []
    for i in range(200):
        order = (1, 2, 3, 4) if rng.random() < 0.7 else (4, 3, 2, 1)
        rows += [ranking(f"p{i}", "ann", "wxyz", 1, 2, 3, 4), ranking(f"p{i}", "bob", "wxyz", *order)]
    found = pairwise_agreement(rows, resamples=1000).dropped
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.7 * 0.3 / 200), rel=0.2)


def test_the_same_rankings_in_any_order_give_the_same_interval() -> None:
    rows = noisy(50, right=0.8)
    assert pairwise_agreement(rows, resamples=50) == pairwise_agreement(rows[::-1], resamples=50)


def test_what_instructgpts_agreement_says_of_a_label() -> None:
    assert single_label_accuracy(0.726) == pytest.approx(0.836, abs=5e-4)
    assert majority_accuracy(0.726) == pytest.approx(0.928, abs=5e-4)
    assert (single_label_accuracy(1.0), single_label_accuracy(0.5), single_label_accuracy(0.3)) == (1.0, 0.5, 0.5)


@pytest.mark.parametrize("p", [0.5, 0.7, 0.836, 1.0])
def test_accuracy_inverts_agreement(p: float) -> None:
    assert single_label_accuracy(p**2 + (1 - p) ** 2) == pytest.approx(p)
