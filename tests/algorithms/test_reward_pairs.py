"""The accuracy and the margin of a reward model's step are over people's pairs: a stranger's response is an easy one."""

from __future__ import annotations

import pytest
from tiny import FP32, llama, scalar, sequences

from accord.algorithms import reward
from accord.algorithms.reward import RankedRows, score_rows
from accord.settings import RewardConfig


@pytest.mark.parametrize("ranks", [[1, 2], [2, 1]])
def test_a_strangers_response_counts_in_the_loss_and_not_in_the_accuracy(ranks: list[int]) -> None:
    model = scalar(llama(), 3)
    rows = sequences([7, 9, 5], seed=4)
    first, second, _ = score_rows(model, rows, dtype=FP32).tolist()
    labeled = RankedRows(rows[:2], ranks)
    mixed = RankedRows(rows, [*ranks, max(ranks)], strangers=1)
    (alone_loss,), alone_scores = reward._accumulate(model, [labeled], None, 10_000, FP32)
    (mixed_loss,), mixed_scores = reward._accumulate(model, [mixed], None, 10_000, FP32)
    alone, found = reward._summary([labeled], alone_scores[0]), reward._summary([mixed], mixed_scores[0])
    margin = first - second if ranks == [1, 2] else second - first
    assert found["accuracy"] == alone["accuracy"] == float(margin > 0)
    assert found["margin"] == pytest.approx(margin, abs=1e-5)
    assert mixed_loss.item() != pytest.approx(alone_loss.item(), abs=1e-4)
    assert (alone["pairs"], found["pairs"]) == (1, 2)


def test_peoples_pairs_alone_are_learned_from_unless_one_asks_for_strangers() -> None:
    assert RewardConfig().mismatched == 0
