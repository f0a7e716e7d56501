"""Python functions as rewards: what they are given by their signature, what they may return, and what is said of one that fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from accord.errors import RunError, UsageError
from accord.records import Message
from accord.rewards.functions import FunctionReward, asks
from accord.rewards.rows import ONE, Said, parts_of, total

TALK = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "2 + 2?"))


def said(*responses: str, **extra: Sequence[Any]) -> list[Said]:
    rows: list[Said] = []
    for place, response in enumerate(responses):
        own = {name: values[place] for name, values in extra.items() if values[place] is not None}
        rows.append(Said(TALK, response, own, f"p{place}", (7, place)))
    return rows


def score(function: Any, rows: Sequence[Said], **how: Any) -> Any:
    return FunctionReward("f", function, **how).score(rows)


def test_a_function_gets_whole_conversations_and_the_prompts_columns() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: Any, responses: Any, answer: Any, **columns: Any) -> list[float]:
        seen.update(prompts=prompts, responses=responses, answer=answer, columns=columns)
        return [float(one == other) for one, other in zip(responses, answer, strict=True)]

    rows = said("4", "5", answer=["4", "4"], level=["easy", None])
    assert score(reward, rows) == {ONE: [1.0, 0.0]}
    assert seen["prompts"][0] == [{"role": each.role, "content": each.content} for each in TALK]
    assert seen["responses"] == ["4", "5"]
    assert seen["columns"] == {"level": ["easy", None]}


def test_a_function_of_two_arguments_gets_the_last_turn_and_the_response_as_before() -> None:
    seen: list[Any] = []

    def reward(prompts: Any, responses: Any) -> list[float]:
        seen.extend([prompts, responses])
        return [1.0] * len(responses)

    score(reward, said("4", "5", answer=["4", "4"]))
    assert seen == [["2 + 2?"] * 2, ["4", "5"]]


def test_token_ids_and_prompt_ids_come_when_they_are_asked_for_by_name() -> None:
    def reward(prompts: Any, responses: Any, tokens: Any, ids: Any) -> list[float]:
        return [float(row[1]) + (name == "p1") for row, name in zip(tokens, ids, strict=True)]

    assert score(reward, said("a", "b", "c")) == {ONE: [0.0, 2.0, 2.0]}


def test_a_function_written_for_trl_is_called_as_there() -> None:
    def accuracy(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
        assert "prompts" in kwargs
        return [float(one[0]["content"] == other) for one, other in zip(completions, answer, strict=True)]

    assert score(accuracy, said("4", "5", answer=["4", "4"])) == {ONE: [1.0, 0.0]}


def test_a_column_with_a_default_may_be_missing() -> None:
    def reward(prompts: Any, responses: Any, answer: Any = None) -> list[float | None]:
        return [None] * len(responses) if answer is None else [None if each is None else 1.0 for each in answer]

    assert asks(reward, "f").needed == ()
    assert score(reward, said("a", "b")) == {ONE: [None, None]}
    assert score(reward, said("a", "b", answer=["x", None])) == {ONE: [1.0, None]}


def test_an_async_function_runs_its_calls_at_once_up_to_the_limit() -> None:
    at_once, most = 0, 0

    async def reward(prompts: Any, responses: Any, **columns: Any) -> list[float]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return [float(response) for response in responses]

    rows = said(*map(str, range(12)))
    assert score(reward, rows, batch=1, workers=4) == {ONE: [float(each) for each in range(12)]}
    assert most == 4


def test_a_plain_function_runs_in_batches_in_order() -> None:
    sizes: list[int] = []
    lock = threading.Lock()

    def reward(prompts: Any, responses: Any) -> list[float]:
        with lock:
            sizes.append(len(responses))
        time.sleep(0.01 * (5 - len(responses)))
        return [float(response) for response in responses]

    assert score(reward, said(*map(str, range(10))), batch=4, workers=3) == {ONE: [float(each) for each in range(10)]}
    assert sorted(sizes) == [2, 4, 4]


def test_named_parts_come_as_one_dict_or_as_a_dict_per_response() -> None:
    rows = said("a", "b")
    together = {"format": [1, 0], "right": [None, 0.5]}
    apart = [{"format": 1}, {"format": 0, "right": 0.5}]
    wanted = {"format": [1.0, 0.0], "right": [None, 0.5]}
    assert parts_of(together, rows, "f") == parts_of(apart, rows, "f") == wanted
    assert total(parts_of(together, rows, "f"), 2) == [1.0, 0.5]
    assert total({"a": [None], "b": [None]}, 1) == [None]


def breaks_on_bad(prompts: Any, responses: Any) -> list[float]:
    if "bad" in responses:
        raise ValueError("no such thing")
    return [0.0] * len(responses)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (breaks_on_bad, r"the reward f: raised ValueError: no such thing, for response 5 of the batch \(to prompt p5\)"),
        (lambda p, r: [1.0] * 7 + ["x"], r"no list of numbers: 'x' for response 7"),
        (lambda p, r: {}, "a dict without parts"),
        (lambda p, r: {"a": [1.0]}, "the reward f, part a: returned 1 rewards for 8 responses"),
        (lambda p, r: [{"a": 1.0}] * 7 + [2.0], "returned 2.0 for response 7"),
        (lambda p, r: exit(), "raised SystemExit"),
        (lambda p, r: time.sleep(1), r"did not come back within 0\.1 s"),
    ],
)  # fmt: skip
def test_what_fails_is_named_with_its_row_and_the_way_out(function: Any, what: str) -> None:
    with pytest.raises(RunError, match=what) as caught:
        score(function, said("a", "b", "c", "d", "e", "bad", "g", "h"), seconds=0.1)
    assert caught.value.hint


def test_a_function_that_takes_no_responses_is_refused() -> None:
    with pytest.raises(UsageError, match="not prompts and responses"):
        FunctionReward("f", lambda prompts: [1.0])  # type: ignore[misc]


def test_a_batch_may_lack_a_part_or_say_nothing_at_all() -> None:
    """Batches of one response: named parts, another part, and None alone."""

    def reward(prompts: Any, responses: Any) -> Any:
        return {"a": [{"x": 1.0, "y": 2.0}], "b": [{"x": 3.0}], "c": [None]}[responses[0]]

    assert score(reward, said("c", "a", "b"), batch=1) == {"x": [None, 1.0, 3.0], "y": [None, 2.0, None]}
    assert score(reward, said("c", "c"), batch=1) == {"": [None, None]}

    def mixed(prompts: Any, responses: Any) -> Any:
        return [{"x": 1.0}] if responses[0] == "a" else [1.0]

    with pytest.raises(RunError, match="without a name"):
        score(mixed, said("a", "b"), batch=1)
