"""Drafts by a model: queued for writing and correcting, changed by a labeler, stored with what was kept, never for rankings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accord.commands.feedback.queue import queue
from accord.errors import InputError, UsageError
from accord.feedback import answers, tasks
from accord.feedback.data_card import asked, markdown, rows_of
from accord.feedback.payloads import kept
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Response
from accord.runtime.project import Project

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "p")
    said = [("r0", "p0", "Bad.", "old", True), ("z-draft", "p0", "Rye keeps long.", "sft", True), ("r1", "p1", "Rye, be", "sft", False)]
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"p{n}", (Message("user", f"Which bread, {n}?"),), split="train") for n in range(2)])
        store.add_responses([Response(id, prompt, text, model, finished=ended) for id, prompt, text, model, ended in said])
        store.add_labelers([Labeler("ann", "person")])
    return project


def answer(store: Store, payload: dict[str, Any]) -> tasks.Leased:
    leased = tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
    assert leased
    rest: dict[str, Any] = {"key": leased.task.id, "revision": 0, "seconds": 1, "guideline": Guideline("training", "v"), "now": NOW}
    answers.submit(store, "ann", leased.task.id, payload, **rest)
    return leased


def test_a_demonstration_is_stored_with_the_draft_and_the_share_of_it_that_stayed(project: Project) -> None:
    assert queue(project, kind="demonstrate", draft="sft") == {"tasks": 1, "new": 1}, "a draft that breaks off is none"
    with Store.open(project.store_url) as store:
        leased = answer(store, {"text": "Rye keeps ten days.", "draft": {"kept": 1.0}})
        assert (leased.order, leased.task.draft and leased.task.draft.id) == ((), "z-draft")
        assert [d.text for d in store.demonstrations()] == ["Rye keeps ten days."]
        (said,) = answers.every(store)
        assert said.payload == {"text": "Rye keeps ten days.", "draft": {"response_id": "z-draft", "kept": 0.6}}
        assert not list(store.rankings()), "a draft that was changed is not thereby worse"
        file = project.path / "demonstrations.jsonl"
        write_snapshot(store.demonstrations(), file)
        card = markdown(asked(store, list(rows_of("demonstrations", file))))
    assert "| sft | 1 | 0 | 0.60 |" in card


def test_a_correction_is_of_the_response_and_not_of_its_draft(project: Project) -> None:
    assert queue(project, kind="correct", draft="sft") == {"tasks": 1, "new": 1}
    with Store.open(project.store_url) as store:
        leased = answer(store, {"text": "Rye keeps long."})
        assert leased.order == ("r0",)
        (ranking,) = store.rankings()
        texts = {response.id: response.text for response in store.responses()}
        assert [texts[id] for id in ranking.response_ids] == ["Bad.", "Rye keeps long."]
        (said,) = answers.every(store)
        assert said.payload["draft"] == {"response_id": "z-draft", "kept": 1.0}


def test_drafts_are_for_writing_alone(project: Project) -> None:
    with pytest.raises(UsageError, match="a rank task begins with no draft"):
        queue(project, kind="rank", draft="sft")
    with pytest.raises(InputError, match="'ppo' has answered none"):
        queue(project, kind="demonstrate", draft="ppo")
    assert queue(project, kind="demonstrate")["tasks"] == 2, "without a draft, as before"


@pytest.mark.parametrize(
    ("draft", "text", "share"),
    [("a b c", "a b c", 1.0), ("a b c", "c b a", 1.0), ("a b", "a b c d", 0.5), ("黑麦好", "黑麦坏", 2 / 3), ("", "", 0.0), ("a", "", 0.0)],
)
def test_the_share_kept_counts_words_and_chinese_characters(draft: str, text: str, share: float) -> None:
    assert kept(draft, text) == pytest.approx(share)
