"""Reward-model accuracy is the share of untied pairs in the right order, prompts weighing the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.evaluation.reward_accuracy import gold_accuracy, group_accuracy, labeler_accuracy, pair_accuracy, prompt_accuracy
from accord.records import Message, Prompt, RankedPrompt, Response


def ranking(prompt: str, ranks: tuple[int, ...], group: str = "a") -> RankedPrompt:
    responses = tuple(Response(f"{prompt}-{k}", prompt, "text", "sft") for k in range(len(ranks)))
    return RankedPrompt(Prompt(prompt, (Message("user", "?"),)), responses, ranks, "labeler", group)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=9).filter(lambda ranks: len(set(ranks)) > 1))
def test_scores_that_mirror_the_ranks_are_always_right(ranks: list[int]) -> None:
    assert prompt_accuracy([-r for r in ranks], ranks) == 1.0
    assert prompt_accuracy(ranks, ranks) == 0.0
    assert prompt_accuracy([0.0] * len(ranks), ranks) == 0.5


def test_tied_pairs_do_not_count() -> None:
    assert prompt_accuracy([5.0, -5.0, 0.0], [1, 1, 2]) == 0.5
    assert prompt_accuracy([1.0, 2.0], [1, 1]) is None


def test_the_order_of_the_responses_does_not_matter() -> None:
    assert prompt_accuracy([3.0, 1.0, 2.0], [1, 2, 3]) == prompt_accuracy([2.0, 1.0, 3.0], [3, 2, 1]) == pytest.approx(2 / 3)


def test_a_prompt_with_many_pairs_weighs_no_more_than_one_with_few() -> None:
    nine, two = list(range(9)), [1, 2]
    assert pair_accuracy([[-r for r in nine], [1.0, 2.0]], [nine, two]).mean == 0.5


def test_labelers_of_one_prompt_are_one_prompt() -> None:
    rows = [ranking("p", (1, 2)), ranking("p", (1, 2)), ranking("q", (2, 1))]
    assert labeler_accuracy([[1.0, 0.0]] * 3, rows).mean == 0.5


def test_a_held_out_group_is_reported_apart() -> None:
    rows = [ranking("p", (1, 2), "kept"), ranking("q", (2, 1), "held out")]
    groups = group_accuracy([[1.0, 0.0]] * 2, rows)
    assert {name: value.mean for name, value in groups.items()} == {"kept": 1.0, "held out": 0.0}


def test_against_gold_higher_utility_should_score_higher() -> None:
    assert gold_accuracy([[0.1, 0.9], [3.0, 2.0]], [[0.0, 1.0], [0.2, 0.8]]).mean == 0.5


def test_misfitting_tables_are_refused() -> None:
    with pytest.raises(InputError, match="2 scores but 3 ranks"):
        prompt_accuracy([1.0, 2.0], [1, 2, 3])
    with pytest.raises(InputError, match="different rank"):
        pair_accuracy([[1.0, 2.0]], [[1, 1]])
