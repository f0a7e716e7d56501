"""An AI's critiques, revisions and rankings, with a scripted speaker: what it is asked, what is stored, and that nothing is mixed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from accord.stages.advising import PRINCIPLES, critique_stage, prefer_stage, principles_of, ranks_by

from accord.commands.app import RunFlags
from accord.commands.train.dpo import dpo
from accord.errors import InputError, UsageError
from accord.feedback.labeler_kinds import kinds_of, said_by
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Sampling
from accord.runtime.project import Project
from accord.settings import CritiqueConfig, DpoConfig, PreferConfig

PROMPTS = [Prompt(f"p{i}", (Message("user", f"Question {i}?"),), "harmful" if i < 2 else "chat", f"u{i}") for i in range(4)]


@dataclass
class Scripted:
    """Answers by a function of the conversation, and remembers what it was asked."""

    reply: Callable[[Sequence[Message]], str]
    name: str = "wise/one"
    asked: list[Sequence[Message]] = field(default_factory=list[Sequence[Message]])

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        self.asked += conversations
        return [[self.reply(talk)] * n for talk in conversations]


def of_the_turn(talk: Sequence[Message]) -> str:
    return {1: "first", 3: "it breaks it", 5: f"revised {talk[0].content[9]}"}[len(talk)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    with Store.open(made.store_url) as store:
        texts = ("bad", "good thing", "best good thing of all")
        responses = [Response(f"{p.id}-r{k}", p.id, texts[k], "sft") for p in PROMPTS for k in range(3)]
        store.add(prompts=PROMPTS, labelers=[Labeler("ann", "person")], responses=responses)
    return made


def test_a_revision_becomes_a_demonstration_by_a_model(project: Project) -> None:
    speaker: Speaker = Scripted(of_the_turn)
    figures = critique_stage(project, CritiqueConfig(use_case="harmful"), speaker, name="critique")
    assert figures == {"prompts": 2, "demonstrations": 2, "changed": 2, "labeler": "ai-wise-one", "kind": "model"}
    with Store.open(project.store_url) as store:
        assert {(d.prompt.id, d.text, d.labeler) for d in store.demonstrations()} == {
            (f"p{i}", f"revised {i}", "ai-wise-one") for i in (0, 1)
        }
        assert [person.kind for person in store.labelers() if person.id == "ai-wise-one"] == ["model"]
        assert not list(said_by(store, store.demonstrations(), "person simulated"))
        assert len(list(said_by(store, store.demonstrations(), "model"))) == 2
    rows = [json.loads(line) for line in (project.path / "advice" / "critique.jsonl").read_text().splitlines()]
    assert {(row["first"], *row["critiques"], row["last"][:7]) for row in rows} == {("first", "it breaks it", "revised")}


def test_the_ai_reads_its_answer_a_principle_and_its_critique(project: Project) -> None:
    speaker = Scripted(of_the_turn)
    critique_stage(project, CritiqueConfig(use_case="harmful", principles=""), speaker, name="c")
    critiques, revisions = ([talk for talk in speaker.asked if len(talk) == n] for n in (3, 5))
    assert all(talk[1].content == "first" and any(p in talk[2].content for p in PRINCIPLES) for talk in critiques)
    assert all(talk[3] == Message("assistant", "it breaks it") for talk in revisions)


def test_several_revisions_go_by_other_principles(project: Project) -> None:
    speaker = Scripted(lambda talk: f"words {len(talk)}")
    critique_stage(project, CritiqueConfig(prompts=1, revisions=3), speaker, name="c")
    used = [p for talk in speaker.asked if len(talk) == 3 for p in PRINCIPLES if p in talk[2].content]
    assert len(used) == len(set(used)) == 3


def test_a_stopped_critique_goes_on_with_what_is_left(project: Project) -> None:
    critique_stage(project, CritiqueConfig(prompts=3), Scripted(lambda _: "x"), name="c")
    assert critique_stage(project, CritiqueConfig(), Scripted(lambda _: "x"), name="c")["prompts"] == 1
    with pytest.raises(InputError, match="no training prompt waits for ai-wise-one"):
        critique_stage(project, CritiqueConfig(), Scripted(lambda _: "x"), name="c")


def test_an_empty_revision_is_not_stored(project: Project) -> None:
    assert critique_stage(project, CritiqueConfig(), Scripted(lambda _: "  "), name="c")["demonstrations"] == 0


def longer(talk: Sequence[Message]) -> str:
    a, b = (talk[0].content.split(f"[Answer {mark}]\n")[1].split("\n\n")[0] for mark in "AB")
    return "A" if len(a) > len(b) else "B"


def test_verdicts_become_rankings_by_a_model(project: Project) -> None:
    figures = prefer_stage(project, PreferConfig(), Scripted(longer), name="prefer")
    assert figures == {"rankings": 4, "all_tied": 0, "pairs": 12, "unreadable": 0, "labeler": "ai-wise-one", "kind": "model"}
    with Store.open(project.store_url) as store:
        assert {ranking.ranks for ranking in store.rankings()} == {(3, 2, 1)}
    with pytest.raises(InputError, match="no responses that wait"):
        prefer_stage(project, PreferConfig(), Scripted(longer), name="prefer")


def test_a_judge_that_always_says_a_ranks_nothing_above_anything(project: Project) -> None:
    figures = prefer_stage(project, PreferConfig(responses=2), Scripted(lambda _: "A"), name="prefer")
    assert figures["all_tied"] == figures["rankings"] == 4


def test_unreadable_verdicts_are_counted_and_store_nothing(project: Project) -> None:
    figures = prefer_stage(project, PreferConfig(), Scripted(lambda _: "hmm"), name="prefer")
    assert (figures["rankings"], figures["unreadable"], figures["pairs"]) == (0, 12, 12)


def test_ranks_by_shares_of_won_pairs() -> None:
    assert ranks_by(3, {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 0.5}) == (1, 2, 2)
    assert ranks_by(3, {(0, 1): float("nan"), (0, 2): 0.0, (1, 2): 1.0}) == (3, 1, 2)
    assert ranks_by(2, {(0, 1): float("nan")}) is None


def test_no_stage_learns_from_an_ai_unless_it_is_named(project: Project) -> None:
    prefer_stage(project, PreferConfig(), Scripted(longer), name="prefer")
    (project.path / "models" / "sft").mkdir()
    with pytest.raises(InputError, match="no rankings by person simulated"):
        dpo(project, config=DpoConfig(), sft="sft", name="dpo", flags=RunFlags(dtype="float32"))


@pytest.mark.parametrize("text", ["", "people", "person robot"])
def test_unknown_kinds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="kinds is"):
        kinds_of(text)


def test_kinds_choose_rows_by_their_labeler(project: Project) -> None:
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("bot", "model"), Labeler("sim", "simulated")])
        said: list[Any] = [Demonstration(name, PROMPTS[0], "x", name) for name in ("ann", "bot", "sim")]
        assert [row.id for row in said_by(store, said, "person, model")] == ["ann", "bot"]
        assert [row.id for row in said_by(store, said, "simulated")] == ["sim"]


def test_principles_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("# ours\nBe short.\n\nBe kind.\n")
    assert principles_of(str(tmp_path / "rules.txt")) == ("Be short.", "Be kind.")
    (tmp_path / "none.txt").write_text("# nothing\n")
    for name in ("none.txt", "missing.txt"):
        with pytest.raises(InputError, match=name):
            principles_of(str(tmp_path / name))


def test_a_speaker_without_a_name_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="no name"):
        prefer_stage(project, PreferConfig(), Scripted(longer, name=""), name="prefer")


def test_rankings_by_people_stay_theirs(project: Project) -> None:
    given = Ranking("k", "p0", "ann", ("p0-r0", "p0-r1"), (1, 2), Guideline("training", "1"), "2026-01-01T00:00:00+00:00")
    with Store.open(project.store_url) as store:
        store.add_rankings([given])
    prefer_stage(project, PreferConfig(), Scripted(longer), name="prefer")
    with Store.open(project.store_url) as store:
        assert [row.id for row in said_by(store, store.rankings(), "person")] == ["k"]
        assert len(list(said_by(store, store.rankings(), "model"))) == 3
