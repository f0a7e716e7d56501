"""`accord prefer`: verdicts that become rankings under the AI's name, ties and unreadable ones, and that nothing is mixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_ai import Scripted, with_responses
from small_project import FLAGS

from accord.commands.train.dpo import dpo
from accord.commands.train.prefer import prefer, prefer_by, ranks_by
from accord.errors import InputError, ModelError, UsageError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Guideline, Message, Ranking
from accord.runtime.project import Project
from accord.settings import PreferConfig


@pytest.fixture
def judged(tmp_path: Path) -> Project:
    """Four prompts with three responses each, nothing ranked."""
    return with_responses(tmp_path / "judged")


def longer(talk: Sequence[Message]) -> str:
    a, b = (talk[0].content.split(f"[Answer {mark}]\n")[1].split("\n\n")[0] for mark in "AB")
    return "A" if len(a) > len(b) else "B"


def test_verdicts_become_rankings_by_a_model(judged: Project) -> None:
    metrics = prefer_by(judged, PreferConfig(), Scripted(longer))
    assert metrics == {"rankings": 4, "all_tied": 0, "pairs": 12, "unreadable": 0, "labeler": "ai-wise-one", "kind": "model"}
    with Store.open(judged.store_url) as store:
        assert {ranking.ranks for ranking in store.rankings()} == {(3, 2, 1)}
    with pytest.raises(InputError, match="no responses that wait"):
        prefer_by(judged, PreferConfig(), Scripted(longer))


def test_a_judge_that_always_says_a_ranks_nothing_above_anything(judged: Project) -> None:
    metrics = prefer_by(judged, PreferConfig(responses=2), Scripted(lambda _: "A"))
    assert metrics["all_tied"] == metrics["rankings"] == 4


def test_unreadable_verdicts_are_counted_and_store_nothing(judged: Project) -> None:
    metrics = prefer_by(judged, PreferConfig(), Scripted(lambda _: "hmm"))
    assert (metrics["rankings"], metrics["unreadable"], metrics["pairs"]) == (0, 12, 12)


def test_ranks_by_shares_of_won_pairs() -> None:
    assert ranks_by(3, {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 0.5}) == (1, 2, 2)
    assert ranks_by(3, {(0, 1): float("nan"), (0, 2): 0.0, (1, 2): 1.0}) == (3, 1, 2)
    assert ranks_by(2, {(0, 1): float("nan")}) is None


def test_no_stage_learns_from_an_ai_unless_it_is_named(judged: Project) -> None:
    prefer_by(judged, PreferConfig(), Scripted(longer))
    (judged.path / "models" / "sft").mkdir()
    with pytest.raises(InputError, match="no rankings by person simulated"):
        dpo(judged, flags=FLAGS)


def test_a_speaker_without_a_name_is_refused(judged: Project) -> None:
    with pytest.raises(UsageError, match="no name"):
        prefer_by(judged, PreferConfig(), Scripted(longer, name=""))


def test_rankings_by_people_stay_theirs(judged: Project) -> None:
    given = Ranking("k", "p0", "ann", ("p0-r0", "p0-r1"), (1, 2), Guideline("training", "1"), "2026-01-01T00:00:00+00:00")
    with Store.open(judged.store_url) as store:
        store.add_rankings([given])
    prefer_by(judged, PreferConfig(), Scripted(longer))
    with Store.open(judged.store_url) as store:
        assert [row.id for row in said_by(store, store.rankings(), "person")] == ["k"]
        assert len(list(said_by(store, store.rankings(), "model"))) == 3


def test_a_model_of_the_project_judges(project: Project, typed: Any) -> None:
    metrics = typed("prefer", project.path, "--model", "sft", "--prompts", 2, "--responses", 2)
    with Store.open(project.store_url) as store:
        made = [row for row in store.rankings() if row.labeler == "ai-sft"]
    assert (metrics["rankings"], metrics["pairs"], metrics["unreadable"]) == (len(made), 2, 2 - len(made))
    assert (metrics["labeler"], metrics["kind"]) == ("ai-sft", "model")


def test_an_ai_that_is_not_there_is_refused(judged: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        prefer(judged, model="nobody")
    with pytest.raises(UsageError):
        prefer(judged, at="ftp://127.0.0.1/v1", model="qwen")
