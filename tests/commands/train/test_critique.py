"""`accord critique`: what the AI is asked, what is stored under its name, how a stopped command goes on, principles and models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_ai import Scripted, with_responses

from accord.commands.train.critique import critique, critique_by
from accord.commands.train.principles import PRINCIPLES, read_principles
from accord.errors import InputError, ModelError, UsageError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Message
from accord.runtime.project import Project
from accord.settings import CritiqueConfig


def of_the_turn(talk: Sequence[Message]) -> str:
    return {1: "first", 3: "it breaks it", 5: f"revised {talk[0].content[9]}"}[len(talk)]


@pytest.fixture
def judged(tmp_path: Path) -> Project:
    """Four prompts with three responses each, nothing ranked."""
    return with_responses(tmp_path / "judged")


def test_a_revision_becomes_a_demonstration_by_a_model(judged: Project) -> None:
    speaker: Speaker = Scripted(of_the_turn)
    metrics = critique_by(judged, CritiqueConfig(use_case="harmful"), speaker, name="critique")
    assert metrics == {"prompts": 2, "demonstrations": 2, "changed": 2, "labeler": "ai-wise-one", "kind": "model"}
    with Store.open(judged.store_url) as store:
        assert {(d.prompt.id, d.text, d.labeler) for d in store.demonstrations()} == {
            (f"p{i}", f"revised {i}", "ai-wise-one") for i in (0, 1)
        }
        assert [person.kind for person in store.labelers() if person.id == "ai-wise-one"] == ["model"]
        assert not list(said_by(store, store.demonstrations(), "person simulated"))
        assert len(list(said_by(store, store.demonstrations(), "model"))) == 2
    rows = [json.loads(line) for line in (judged.path / "advice" / "critique.jsonl").read_text().splitlines()]
    assert {(row["first"], *row["critiques"], row["last"][:7]) for row in rows} == {("first", "it breaks it", "revised")}


def test_the_ai_reads_its_answer_a_principle_and_its_critique(judged: Project) -> None:
    speaker = Scripted(of_the_turn)
    critique_by(judged, CritiqueConfig(use_case="harmful", principles=""), speaker, name="c")
    critiques, revisions = ([talk for talk in speaker.asked if len(talk) == n] for n in (3, 5))
    assert all(talk[1].content == "first" and any(p in talk[2].content for p in PRINCIPLES) for talk in critiques)
    assert all(talk[3] == Message("assistant", "it breaks it") for talk in revisions)


def test_several_revisions_go_by_other_principles(judged: Project) -> None:
    speaker = Scripted(lambda talk: f"words {len(talk)}")
    critique_by(judged, CritiqueConfig(prompts=1, revisions=3), speaker, name="c")
    used = [p for talk in speaker.asked if len(talk) == 3 for p in PRINCIPLES if p in talk[2].content]
    assert len(used) == len(set(used)) == 3


def test_a_stopped_critique_goes_on_with_what_is_left(judged: Project) -> None:
    critique_by(judged, CritiqueConfig(prompts=3), Scripted(lambda _: "x"), name="c")
    assert critique_by(judged, CritiqueConfig(), Scripted(lambda _: "x"), name="c")["prompts"] == 1
    with pytest.raises(InputError, match="no training prompt waits for ai-wise-one"):
        critique_by(judged, CritiqueConfig(), Scripted(lambda _: "x"), name="c")


def test_an_empty_revision_is_not_stored(judged: Project) -> None:
    assert critique_by(judged, CritiqueConfig(), Scripted(lambda _: "  "), name="c")["demonstrations"] == 0


def test_principles_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("# ours\nBe short.\n\nBe kind.\n")
    assert read_principles(str(tmp_path / "rules.txt")) == ("Be short.", "Be kind.")
    (tmp_path / "none.txt").write_text("# nothing\n")
    for name in ("none.txt", "missing.txt"):
        with pytest.raises(InputError, match=name):
            read_principles(str(tmp_path / name))


def test_a_model_of_the_project_criticises_itself(project: Project, tmp_path: Path, typed: Any) -> None:
    (tmp_path / "rules.txt").write_text("Be short.\n")
    rules = ["--principles", tmp_path / "rules.txt", "--temperature", 2, "--max-tokens", 4]
    metrics = typed("critique", project.path, "--model", "sft", "--prompts", 2, *rules)
    with Store.open(project.store_url) as store:
        made = [row for row in store.demonstrations() if row.labeler == "ai-sft"]
    assert metrics == {"prompts": 2, "demonstrations": len(made), "changed": metrics["changed"], "labeler": "ai-sft", "kind": "model"}
    assert len((project.path / "advice" / "critique.jsonl").read_text().splitlines()) == 2


def test_an_ai_that_is_not_there_is_refused(judged: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        critique(judged, model="nobody")
    with pytest.raises(UsageError):
        critique(judged, at="ftp://127.0.0.1/v1", model="qwen")
    with pytest.raises(UsageError, match="no name"):
        critique_by(judged, CritiqueConfig(), Scripted(lambda _: "x", name=" "), name="c")
