"""Rewards besides the reward model: what each gives, how they are mixed, and what is said of one that fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ByFunction

from accord.algorithms.rewards import (
    Ended,
    ExactAnswer,
    Length,
    Mixture,
    Repetition,
    Rows,
    Term,
    TextPart,
    parse_rewards,
)
from accord.errors import RunError, UsageError
from accord.records import Episode, Message, Prompt, PromptTokens, final_answer
from accord.rewards.functions import FunctionReward, load_function


def test_terms_are_read_with_their_weights() -> None:
    found = parse_rewards("model, exact=0..2, length = -0.01, my_rewards:polite=.5")
    assert found == [Term("model", 1, 1), Term("exact", 0, 2), Term("length", -0.01, -0.01), Term("my_rewards:polite", 0.5, 0.5)]


@pytest.mark.parametrize("text", ["", " , ", "model=0", "model=much", "model=1..", "model, model=2", "=1", "model=nan", "model=inf"])
def test_terms_that_say_nothing_are_refused(text: str) -> None:
    if text == "model=1..":
        assert parse_rewards(text) == [Term("model")]
        return
    with pytest.raises(UsageError, match="rewards"):
        parse_rewards(text)


def test_weights_move_linearly_over_the_run() -> None:
    mixture = Mixture([Term("long", 1, 0), Term("first", 0, 2)], {"long": Length(), "first": ByFunction(lambda row: float(row[0]))})
    assert [mixture.at(step, 5).weights["long"] for step in range(1, 6)] == [1, 0.75, 0.5, 0.25, 0]
    middle = mixture.at(3, 5)
    assert middle.score([[1], [1]], [[7, 8], [9]]).tolist() == [0.5 * 2 + 7, 0.5 + 9]
    assert middle.metrics() == {"reward.long": 1.5, "reward.first": 8.0, "weight.long": 0.5, "weight.first": 1.0}
    assert mixture.at(1, 1).weights == {"long": 1, "first": 0}


def test_each_scene_is_rewarded_by_its_own_weights() -> None:
    """The same response in three scenes: weights of its own, weights that move, and those of all others."""
    asked: list[list[int]] = []

    def first(row: Sequence[int]) -> float:
        asked.append(list(row))
        return float(row[0])

    scenes = {"poem": [Term("first", 2, 2)], "desk": [Term("long", 0, -1), Term("first", 1, 1)]}
    names = {1: "poem", 2: "desk", 3: "", 4: "hall"}
    parts = {"long": Length(), "first": ByFunction(first)}
    mixture = Mixture([Term("long")], parts, scenes=scenes, scene_of=lambda prompt: names[prompt[0]])
    prompts, responses = [[1], [2], [3], [4]], [[5, 6], [7, 8], [9], [9, 9, 9]]
    end = mixture.at(3, 3)
    assert end.score(prompts, responses).tolist() == [10, 7 - 2, 1, 3]
    assert asked == [[5, 6], [7, 8]]  # a part is not asked about what it has no weight for
    found = end.metrics()
    assert {name: found[f"reward.in.{name}"] for name in ("poem", "desk", "hall", "none")} == {"poem": 10, "desk": 5, "hall": 3, "none": 1}
    assert found["reward.first"] == 6
    assert mixture.at(1, 3).score(prompts, responses).tolist() == [10, 7, 1, 3]
    assert mixture.settled().score(prompts, responses).tolist() == [10, 5, 1, 3]


def test_token_rewards_are_weighted_by_scene() -> None:
    class Tokens:
        def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
            return self.score_tokens(prompts, responses).sum(1)

        def score_tokens(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
            width = max(len(response) for response in responses)
            return torch.tensor([[float(token) for token in row] + [0.0] * (width - len(row)) for row in responses])

    scenes = {"poem": [Term("tokens", 2, 2)]}
    mixture = Mixture([Term("long")], {"long": Length(), "tokens": Tokens()}, scenes=scenes, scene_of=lambda row: "poem" if row[0] else "")
    weighted = mixture.at(1, 1, dense=True)
    assert weighted.score([[0], [1]], [[1, 2, 3], [4, 5]]).tolist() == [3, 0]
    spread = weighted.token_rewards()
    assert spread is not None
    assert spread.tolist() == [[0, 0, 0], [8, 10, 0]]


def test_length_repetition_and_the_stop_token() -> None:
    rows = [[5, 6, 7, 8], [5, 5, 5, 5, 5], [5, 2], [5]]
    prompts = [[1]] * 4
    assert Length().score(prompts, rows).tolist() == [4, 5, 2, 1]
    assert Repetition().score(prompts, rows).tolist() == pytest.approx([0, 2 / 3, 0, 0])
    assert Ended((2, 8)).score(prompts, rows).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 and 2 make 4.\n#### 4", "4"), ("#### 1,234.", "1234"), ("#### $18.50 each", "18.5"), ("#### -3", "-3"), ("#### 7 #### 8", "8"),
        ("so 42", None), ("####", None), ("#### many", None), ("", None), ("#### NaN", None), ("#### Infinity", None),
    ],
)  # fmt: skip
def test_final_answers_are_read_as_gsm8k_writes_them(text: str, answer: str | None) -> None:
    assert final_answer(text) == (None if answer is None else Decimal(answer))


@given(st.integers(-(10**12), 10**12))
def test_any_whole_number_is_read_back_with_and_without_commas(number: int) -> None:
    assert final_answer(f"so\n#### {number}") == final_answer(f"#### {number:,}") == number


def text_of(tokens: Sequence[int]) -> str:
    return "#### " + "".join(map(str, tokens))


def test_an_exact_answer_is_worth_1() -> None:
    scorer = ExactAnswer({(1,): Decimal(42), (2,): Decimal("42.0")}, text_of)
    assert scorer.score([[1], [2], [1]], [[4, 2], [4, 2], [4, 3]]).tolist() == [1, 1, 0]
    with pytest.raises(RunError, match="without a known answer"):
        scorer.score([[3]], [[4]])


def rows(*texts: str) -> Rows:
    """Prompts whose token ids are as many as their letters."""
    prompts = [Prompt(f"p{place}", (Message("user", text),)) for place, text in enumerate(texts)]
    return Rows(prompts, [list(range(1, len(text) + 1)) for text in texts], lambda ids: "r" * len(ids))


def test_a_python_function_sees_texts(tmp_path: Path) -> None:
    (tmp_path / "town_rewards.py").write_text(
        "def short(prompts, responses):\n    return [-len(p + r) for p, r in zip(prompts, responses)]\n"
    )
    function = load_function("town_rewards:short", tmp_path)
    scores = TextPart(FunctionReward("short", function), rows("p", "pp")).score([[1], [1, 2]], [[3], [3, 4]])
    assert scores.dtype is torch.float32
    assert scores.tolist() == [-2, -4]


@pytest.mark.parametrize(
    ("address", "source"),
    [("no_such_town:f", ""), ("town_a:g", "f = 1"), ("town_b:f", "f = 1"), ("town_c:f", "import nothing_here"), ("town_d:f", "f(")],
)
def test_a_function_that_is_not_there_is_a_usage_error(address: str, source: str, tmp_path: Path) -> None:
    if source:
        (tmp_path / f"{address.partition(':')[0]}.py").write_text(source)
    with pytest.raises(UsageError, match=f"rewards, {address}"):
        load_function(address, tmp_path)


def failing(*_: Any) -> list[float]:
    raise KeyError("politeness")


def sleeping(*_: Any) -> list[float]:
    time.sleep(0.5)
    return []


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (failing, "raised KeyError: 'politeness'"),
        (sleeping, r"did not come back within 0\.05 s"),
        (lambda *_: None, "no list of numbers: None"),
        (lambda *_: ["good", "bad"], "no list of numbers"),
        (lambda *_: [1.0], "the reward f: returned 1 rewards for 2 responses"),
        (lambda *_: 1.0, r"no list of numbers: 1\.0"),
        (lambda *_: "ab", "no list of numbers: 'ab'"),
        (lambda *_: [0.0, float("nan")], r"the reward f: returned nan for response 1 of the batch \(to prompt p0\)"),
        (lambda *_: [float("inf"), 0.0], "the reward f: returned inf for response 0"),
    ],
)
def test_a_function_that_fails_is_named(function: Any, said: str) -> None:
    mixture = Mixture([Term("f")], {"f": TextPart(FunctionReward("f", function, seconds=0.05), rows("p"))})
    with pytest.raises(RunError, match=said):
        mixture.at(1, 1).score([[1], [1]], [[2], [3]])


def test_of_an_episode_a_reward_of_texts_sees_the_last_answer_behind_the_whole_conversation() -> None:
    talk = (Message("user", "Hi"), Message("assistant", "Which one?"), Message("user", "The second."), Message("assistant", "Then b."))
    seen: list[Any] = []

    def reward(prompts: Any, responses: Any, **columns: Any) -> list[float]:
        seen.extend([prompts, responses])
        return [1.0]

    prompt = Prompt("p", talk[:1], extra={"answer": "b"})
    part = TextPart(FunctionReward("f", reward), Rows([], [], str))
    mixture = Mixture([Term("f")], {"f": part}).at(1, 1)
    mixture.hear([Episode(opening=[1], own=[True], rewards=[0.0], end="done", messages=(*talk, Message("user", "Thanks.")))])
    assert mixture.score([PromptTokens([1], prompt)], [[2]]).tolist() == [1.0]
    assert seen == [[[{"role": each.role, "content": each.content} for each in talk[:3]]], ["Then b."]]
    mixture.score([PromptTokens([1], prompt)], [[2]])
    assert seen[3] == ["[2]"], "without a new episode it is a response again"
