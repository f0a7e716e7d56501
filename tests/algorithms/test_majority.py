"""Self-training by majority vote: what most rationales of a problem say is its label, and nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from accord.algorithms.star import MajorityAnswer
from accord.errors import UsageError
from accord.settings import StarConfig

SAID = {1: "so #### 4", 2: "I think #### 4.0", 3: "#### 7", 4: "no idea"}


def text(response: Sequence[int]) -> str:
    return SAID[response[0]]


def scores(*said: int, agreement: float = 0.0) -> list[float]:
    return MajorityAnswer(len(said), agreement, text).score([[9]] * len(said), [[one] for one in said]).tolist()


def test_the_most_frequent_answer_is_the_label() -> None:
    assert scores(1, 2, 3) == [1, 1, 0]  # 4 and 4.0 are one answer
    assert scores(3, 1, 4) == [1, 0, 0]  # of equally frequent ones the first
    assert scores(4, 4, 4) == [0, 0, 0]  # no answer is no label


def test_agreement_counts_all_rationales_those_without_an_answer_too() -> None:
    assert scores(1, 2, 3, 4, agreement=0.5) == [1, 1, 0, 0]
    assert scores(1, 2, 3, 4, agreement=0.6) == [0, 0, 0, 0]


def test_each_problem_has_a_vote_of_its_own_and_known_answers_are_only_counted() -> None:
    majority = MajorityAnswer(2, 0.0, text, {(8,): Decimal(7), (9,): Decimal(7)})
    assert majority.score([[8], [8], [9], [9]], [[3], [3], [1], [2]]).tolist() == [1, 1, 1, 1]
    assert dict(majority.counts) == {"majorities": 2, "known": 2, "right": 1}


def test_settings_that_do_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="agreement and use_case are about majority"):
        StarConfig(agreement=0.5)
    with pytest.raises(UsageError, match="attempts is 1"):
        StarConfig(majority=True, attempts=1)
