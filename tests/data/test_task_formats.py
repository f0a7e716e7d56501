"""Instruction mixtures: weights, fractions that follow the seed, held-out tasks, names that are none."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.task_mixture import mixed, parse_weights, without
from accord.errors import UsageError
from accord.records import Demonstration, Message, Prompt

TASKS = ("chat", "closed_qa", "rewrite")
ROWS = [Demonstration(f"d{i}", Prompt(f"p{i}", (Message("user", f"{i}?"),), TASKS[i % 3]), "x", "ann") for i in range(300)]


def test_weights_are_read() -> None:
    assert parse_weights("chat=2, closed_qa = 0.5,") == {"chat": 2.0, "closed_qa": 0.5}
    assert parse_weights("") == {}


@pytest.mark.parametrize("text", ["chat", "chat=much", "chat=-1", "chat=inf", "chat=nan"])
def test_what_is_no_weight_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tasks"):
        parse_weights(text)


@given(st.integers(0, 3), st.integers(0, 50))
def test_whole_weights_repeat_and_leave_the_others(weight: int, seed: int) -> None:
    found = Counter(row.id for row in mixed(ROWS, {"chat": float(weight)}, seed))
    for row in ROWS:
        assert found[row.id] == (weight if row.prompt.use_case == "chat" else 1)


def test_a_fraction_is_drawn_by_the_seed() -> None:
    one, again, other = (mixed(ROWS, {"chat": 1.5}, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert 120 < sum(row.prompt.use_case == "chat" for row in one) < 180


def test_held_out_tasks_are_kept_apart() -> None:
    shown, strange = without(ROWS, "rewrite, chat")
    assert {row.prompt.use_case for row in shown} == {"closed_qa"}
    assert len(shown) + len(strange) == len(ROWS)
    assert without(ROWS, "") == (ROWS, [])


def test_a_task_that_is_not_there_is_named_with_those_that_are() -> None:
    for call in (lambda: mixed(ROWS, {"poetry": 2.0}, 0), lambda: without(ROWS, "poetry")):
        with pytest.raises(UsageError, match=r"'poetry'.*chat, closed_qa, rewrite"):
            call()
