"""Own conditions: what `[conditions.NAME]` puts around a prompt, and which part of the response is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.errors import UsageError
from accord.evaluation.systems import conversation, final_answer, parse_system
from accord.records import Demonstration, Media, Message, Prompt, composed
from accord.runtime.project import Project
from accord.settings.conditions import Condition

ASKED = (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "Who keeps the mill?"))


def test_all_of_a_condition_stands_in_its_place() -> None:
    own = Condition(
        system="Be kind.",
        prefix="Think first.",
        suffix="Answer last.",
        examples=[{"prompt": "1 + 1?", "response": "One and one are two. Answer: 2"}],
        shots=1,
    )
    shot = Demonstration("d", Prompt("q", (Message("system", "Old."), Message("user", "Where?"))), "There.", "ann")
    assert conversation("x", ASKED, [shot], own) == (
        Message("system", "Be kind."),
        Message("user", "Where?"),
        Message("assistant", "There."),
        Message("user", "1 + 1?"),
        Message("assistant", "One and one are two. Answer: 2"),
        *ASKED[:2],
        Message("user", "Think first.\n\nWho keeps the mill?\n\nAnswer last."),
    )


def test_a_conversation_keeps_its_own_system_prompt() -> None:
    asked = (Message("system", "Mine."), Message("user", "Hi"))
    assert conversation("x", asked, (), Condition(system="Yours.", suffix="Now.")) == (asked[0], Message("user", "Hi\n\nNow."))


def test_chinese_prompts_get_the_chinese_words_where_there_are_some() -> None:
    own = Condition(prefix="Please.", prefix_zh="请回答。", suffix="Thanks.")
    assert conversation("x", (Message("user", "磨坊在哪里？"),), (), own)[0].content == "请回答。\n\n磨坊在哪里？\n\nThanks."


def test_the_judged_answer_begins_behind_its_mark() -> None:
    own = Condition(suffix="Think.", answer_after="Answer:")
    assert final_answer("x", "Two. Answer: 3? No. Answer: 4", own) == "4"
    assert final_answer("x", "No mark", own) == "No mark"
    assert final_answer("x", "Answer: 4", Condition(suffix="Think.")) == "Answer: 4"


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ({"kind": {"prefx": "x"}}, r"\[conditions.kind\] has no key 'prefx'.*'prefix'"),
        ({"kind": {}}, "it changes nothing"),
        ({"honest": {"prefix": "x"}}, "'honest' is a built-in condition"),
        ({"Kind": {"prefix": "x"}}, "'Kind' cannot name a condition"),
        ({"kind": {"examples": [{"prompt": "x"}]}}, "each is a table with the texts prompt and response"),
        ({"kind": {"examples": "x"}}, "not a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(written: dict[str, object], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=part):
        Project.create(tmp_path / "p", settings={"conditions": written})


def test_a_condition_is_known_by_its_name_alone_where_the_project_has_it() -> None:
    own = {"kind": Condition(prefix="Please.")}
    assert parse_system("sft+kind", own).own == own["kind"]
    with pytest.raises(UsageError, match="no prompting condition called 'kind'"):
        parse_system("sft+kind")


def test_words_around_a_prompt_leave_its_pictures() -> None:
    shown = Media("image", "ab" * 32)
    asked = (composed("user", [shown, "What is it?"]),)
    for said in (
        *(conversation(each, asked) for each in ("concise", "honest", "quote")),
        conversation("own", asked, (), Condition(suffix="Be brief.")),
    ):
        assert said[-1].media == (shown,)
        assert said[-1].content != asked[0].content
