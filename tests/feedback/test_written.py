"""Prompts that labelers write: queued by kind, kept with their provenance, and the briefs never taken for prompts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accord.commands.feedback.queue import queue
from accord.errors import InputError, UsageError
from accord.feedback import answers, privacy, tasks, written
from accord.feedback.provenance import papers
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, split_of
from accord.runtime.project import Project

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Guideline("training", "v")


def write(store: Store, who: str, text: str, **more: Any) -> answers.Saved:
    leased = tasks.next_task(store, who, now=NOW, lease_seconds=60)
    assert leased
    rest: dict[str, Any] = {"key": text[:40], "revision": 0, "seconds": 1, "guideline": RULES, "now": NOW} | more
    return answers.submit(store, who, leased.task.id, {"text": text}, **rest)


def test_each_kind_is_queued_and_the_briefs_are_no_prompts(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    (tmp_path / "intents.txt").write_text("\ufeffplan a meal\nplan a meal\n\n写一封信\n", "utf-8")
    assert queue(project, kind="prompt", count=3) == {"tasks": 3, "new": 3}
    assert queue(project, kind="prompt", count=2) == {"tasks": 2, "new": 2}, "more of them, not the same again"
    assert queue(project, kind="prompt", ask="few-shot", count=1)["new"] == 1
    assert queue(project, kind="prompt", ask="user-based", intents=tmp_path / "intents.txt") == {"tasks": 2, "new": 2}
    assert queue(project, kind="prompt", ask="user-based", intents=tmp_path / "intents.txt") == {"tasks": 2, "new": 0}
    with Store.open(project.store_url) as store:
        assert list(store.prompts()) == []
        store.add_labelers([Labeler("ann", "person")])
        seen = list[tuple[str, str]]()
        for number in range(8):
            leased = tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
            assert leased
            seen.append(written.asked_of(leased.task))
            write(store, "ann", f"Prompt {number}?")
        assert seen == [("plain", "")] * 5 + [("few-shot", ""), ("user-based", "plan a meal"), ("user-based", "写一封信")]
        made = {prompt.id: prompt for prompt in store.prompts()}
        assert {prompt.messages for prompt in made.values()} == {(Message("user", f"Prompt {n}?"),) for n in range(8)}
        assert {(p.user, p.split, p.source) for p in made.values()} == {("ann", split_of("ann"), "labeler")}
        kinds = [(paper.kind, paper.consent) for paper in papers(store) if paper.prompt_id in made]
        assert sorted(kinds) == sorted([("plain", "given")] * 5 + [("few-shot", "given")] + [("user-based", "given")] * 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "how many prompts should be written"),
        ({"ask": "user-based"}, "written for a user's intent"),
        ({"ask": "few-shot", "count": 1, "intents": Path("x")}, "intents are for user-based prompts"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(UsageError, match=words):
        queue(project, kind="prompt", **given)
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    for file in ("empty.txt", "none.txt"):
        with pytest.raises(InputError):
            queue(project, kind="prompt", ask="user-based", intents=tmp_path / file)


def test_a_correction_replaces_the_prompt_and_one_that_is_there_is_refused(store: Store) -> None:
    store.add_labelers([Labeler(name, "person") for name in ("ann", "bob")])
    written.queue_all(store, list(written.tasks_for(store, "plain", count=2, intents=(), overlap=2, priority=0.0)), now=NOW)
    saved = write(store, "ann", "Why is bread brown?")
    with pytest.raises(Refused) as caught:
        write(store, "bob", "Why is bread brown?")
    assert (caught.value.key, caught.value.status) == ("prompt_known", 422)
    with pytest.raises(Refused) as caught:
        write(store, "bob", " \n")
    assert caught.value.key == "prompt_missing"
    task_id = next(answer.task_id for answer in answers.every(store))
    rest: dict[str, Any] = {"key": "2", "revision": 1, "seconds": 1, "guideline": RULES, "now": NOW}
    again = answers.submit(store, "ann", task_id, {"text": "Why is rye bread brown?"}, **rest)
    assert [prompt.messages[0].content for prompt in store.prompts()] == ["Why is rye bread brown?"]
    assert (saved.revision, again.revision) == (1, 2)
    write(store, "bob", "Why is bread brown?")
    assert len(list(store.prompts())) == 2, "it was withdrawn, so that another may write it"
    privacy.erase_labeler(store, "bob", by="lea", why="asked", now=NOW, answers=True)
    assert [prompt.user for prompt in store.prompts()] == ["ann"]
