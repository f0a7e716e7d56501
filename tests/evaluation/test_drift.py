"""Drift is nothing between like prompts and plain between unlike ones."""

from __future__ import annotations

from collections import Counter

import pytest

from accord.errors import InputError
from accord.evaluation.drift import Likeness, divergence, drift, topics, unlike, words

BREAD = [
    f"Which {kind} bread is baked {day}?" for kind in ("rye", "wheat", "dark") for day in ("today", "on Monday", "at noon", "at night")
]
CODE = [f"Write a function that sorts {what} in Python" for what in ("lists", "words", "numbers", "rows")]


def test_divergence_goes_from_alike_to_disjoint() -> None:
    one, other = Counter("aab"), Counter("ccd")
    assert divergence(one, one) == pytest.approx(0)
    assert divergence(one, other) == pytest.approx(1)
    assert divergence(one, Counter("abc")) == pytest.approx(divergence(Counter("abc"), one))
    with pytest.raises(InputError):
        divergence(one, Counter())


def test_what_was_known_has_not_drifted_and_code_has() -> None:
    alike, unalike = drift(BREAD[::2], BREAD, seed=1), drift(CODE, BREAD, seed=1)
    assert alike.p > 0.05
    assert unalike.p < 0.01
    assert unalike.bits > 0.8 > alike.bits


def test_strangers_are_unlike_and_neighbours_are_not() -> None:
    assert unlike(CODE, BREAD) == 1
    assert unlike(BREAD, BREAD) == 0
    assert Likeness(BREAD).to(BREAD[3]).argmax() == 3
    assert Likeness(BREAD).to(BREAD[3]).max() == pytest.approx(1)


def test_a_topic_is_that_of_the_nearest() -> None:
    labels = ["food"] * len(BREAD) + ["code"] * len(CODE)
    assert topics(["rye bread", "sort a list in Python", "???"], BREAD + CODE, labels) == ["food", "code", "other"]


def test_chinese_is_read_by_characters() -> None:
    assert words("面包Bread 2个") == ["面", "包", "bread", "2", "个"]
