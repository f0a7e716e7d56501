"""A judge as a reward: how its answers are read, what is cached, what is asked again, and what stops the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from accord.commands.train.text_rewards import _both_orders  # pyright: ignore[reportPrivateUsage]
from accord.errors import RunError
from accord.records import Message, Sampling
from accord.rewards.judge import Agreement, JudgeReward, agreement, grade
from accord.rewards.rows import ONE, Said


class Scripted:
    """A Speaker that answers by a function of the question and the number of the try."""

    name = "scripted"

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self.write = answer
        self.asked: list[str] = []

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        self.asked += [talk[-1].content for talk in conversations]
        return [[self.write(talk[-1].content, seed)] for talk in conversations]


def said(*responses: str, **extra: Any) -> list[Said]:
    return [Said((Message("user", "Where is the {answer}?"),), text, dict(extra), f"p{place}") for place, text in enumerate(responses)]


def judge(speaker: Scripted, keep: Path, **how: Any) -> JudgeReward:
    return JudgeReward("judge(rubric.md)", lambda: speaker, "me", keep, **({"rubric": "Be short."} | how))


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("It is short.\nScore: 7", 0.7), ("Score: 2 at first, then **Score: 10/10**", 1.0), ("8", 0.8), ("7.5 / 10.", 0.75),
        ("Score: 0", 0.0), ("Score: 11", math.nan), ("Score: -1", math.nan),
        ("It deserves 9 of 10 points", math.nan), ("", math.nan), ("good", math.nan),
    ],
)  # fmt: skip
def test_a_grade_is_read_where_the_answer_says_it(text: str, worth: float) -> None:
    assert grade(text) == pytest.approx(worth, nan_ok=True)


def test_only_readable_answers_are_cached_and_alike_questions_asked_once(tmp_path: Path) -> None:
    speaker = Scripted(lambda question, seed: "hm" if "bad" in question else "Score: 5")
    assert judge(speaker, tmp_path).score(said("a", "a", "bad", "c")) == {ONE: [0.5, 0.5, None, 0.5]}
    assert len(speaker.asked) == 4, "a, bad, c, and bad once more"
    assert all("Where is the {answer}?" in question for question in speaker.asked)
    again = judge(speaker, tmp_path)
    assert again.score(said("a", "c", "d", "bad")) == {ONE: [0.5, 0.5, 0.5, None]}
    assert len(speaker.asked) == 7
    assert again.counts == {"unreadable": 1}


def test_an_answer_that_could_not_be_read_is_asked_for_once_more(tmp_path: Path) -> None:
    assert judge(Scripted(lambda _, seed: "Score: 9" if seed else "hm"), tmp_path).score(said("a")) == {ONE: [0.9]}


def test_a_judge_that_answers_nonsense_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="4 of 4 answers of the judge could not be read, for example 'la la'") as caught:
        judge(Scripted(lambda *_: "la la"), tmp_path).score(said("a", "b", "c", "d"))
    assert "--resume" in caught.value.hint


def test_each_prompt_may_have_a_rubric_of_its_own_or_none(tmp_path: Path) -> None:
    speaker = Scripted(lambda question, _: "Score: 3" if "No names." in question else "Score: 6")
    rows = [*said("a", rubric="No names."), *said("a")]
    assert judge(speaker, tmp_path, rubric="", column="rubric").score(rows) == {ONE: [0.3, None]}


def test_a_comparison_is_asked_in_both_orders_so_that_a_place_wins_nothing(tmp_path: Path) -> None:
    first = Scripted(lambda *_: "A")
    part = judge(first, tmp_path / "a", against="reference", pair=_both_orders)
    assert part.score(said("mine", reference="theirs")) == {ONE: [0.5]}
    assert len(first.asked) == 2
    fair = Scripted(lambda question, _: "A" if question.index("mine") < question.index("theirs") else "B")
    part = judge(fair, tmp_path / "b", against="reference", pair=_both_orders)
    assert part.score(said("mine", reference="theirs") + said("mine")) == {ONE: [1.0, None]}


def test_agreement_counts_ties_half_and_has_an_interval() -> None:
    found = agreement([1, 0.5, 0, None, 1], [0, 0.5, 1, 1, 0.2])
    assert found is not None
    assert (found.pairs, found.share) == (4, 0.625)
    assert found.low < 0.625 < found.high
    assert str(Agreement(10, 0.8, 0.49, 0.94)) == "agrees with people on 80% of 10 pairs (95% interval 49% to 94%)"
    assert agreement([None], [1.0]) is None


def among(*responses: str) -> list[Said]:
    return [Said((Message("user", "Where?"),), text, {}, "p") for text in responses]


def longer(question: str, _: int) -> str:
    """Prefer the longer of the two answers in a question."""
    a, b = question.split("[Answer A]")[1].split("[Answer B]")
    return "A" if len(a) > len(b.split("[Your task again]")[0]) else "B"


def test_responses_to_one_prompt_are_compared_with_each_other_in_both_orders(tmp_path: Path) -> None:
    speaker = Scripted(longer)
    part = judge(speaker, tmp_path, against="others", pair=_both_orders)
    rows = [*among("short", "a longer one", "the longest one of all"), Said((Message("user", "Who?"),), "alone", {}, "q")]
    assert part.score(rows) == {ONE: [0.0, 0.5, 1.0, None]}
    assert len(speaker.asked) == 6, "three pairs, two orders"
    assert part.score(among("the longest one of all", "a longer one", "short")) == {ONE: [1.0, 0.5, 0.0]}
    assert len(speaker.asked) == 6, "a pair that is drawn the other way round is the same question"


def test_a_place_wins_nothing_and_equal_texts_tie_without_a_question(tmp_path: Path) -> None:
    speaker = Scripted(lambda *_: "A")
    part = judge(speaker, tmp_path, against="others", pair=_both_orders)
    assert part.score(among("one", "two")) == {ONE: [0.5, 0.5]}
    assert part.score(among("three", "three")) == {ONE: [0.5, 0.5]}
    assert len(speaker.asked) == 2


def test_a_pair_whose_verdict_cannot_be_read_counts_for_neither(tmp_path: Path) -> None:
    part = judge(Scripted(lambda question, _: "hm" if "two" in question else "TIE"), tmp_path, against="others", pair=_both_orders)
    found = part.score(among("one", "three", "four", "five", "six", "two"))
    assert found == {ONE: [0.5] * 5 + [None]}
