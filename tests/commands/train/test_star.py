"""`accord star`: a model that learned from problems of the world, the hint, resuming, and a project without problems."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from small_project import ASKED, FLAGS, HELD_OUT, PLANNED, lineage_of, plain_model, written

from accord.commands.data.problems import problems
from accord.commands.train.star import star, with_hint
from accord.errors import InputError
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import ProblemsConfig, StarConfig

PROBLEMS = ProblemsConfig(count=40, solved=4, most=5, steps=1)


def test_it_learns_from_problems_of_the_world(project: Project) -> None:
    problems(project, config=PROBLEMS)
    summary = star(project, config=StarConfig(rounds=1, batch_size=8, attempts=2, max_tokens=6), flags=FLAGS).summary
    assert summary.keys() == PLANNED | ASKED | HELD_OUT | {"problems"}
    assert 0 <= summary["held_out_reward"] <= 1
    assert (project.run("star") / "validation-answers.jsonl").exists()
    assert summary["problems"] == 24
    plain_model(project.model("star"))
    assert lineage_of(project, "star", parents=["sft"], snapshots=["answers"])["stage"] == "star"


def test_a_finished_run_is_resumed_by_doing_nothing(project: Project, typed: Any) -> None:
    problems(project, config=PROBLEMS)
    words = ["star", project.path, "--name", "taught", "--rounds", 1, "--batch-size", 8, "--attempts", 2, "--max-tokens", 6]
    words += ["--lora-rank", 2, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "taught")
    assert typed(*words, "--resume") == summary
    assert written(project, "taught") == files


def test_by_majority_no_answer_is_needed(project: Project) -> None:
    config = StarConfig(rounds=1, batch_size=8, attempts=3, max_tokens=6, majority=True)
    summary = star(project, config=config, flags=FLAGS).summary
    assert summary.keys() == PLANNED | ASKED | {"problems", "majorities"}
    assert summary["problems"] > 0
    assert not (project.run("star") / "answers.jsonl").exists()
    plain_model(project.model("star"))
    assert lineage_of(project, "star", parents=["sft"], snapshots=["prompts"])["stage"] == "star"
    with pytest.raises(InputError, match="no training prompts of use case poem"):
        star(project, name="none", config=StarConfig(majority=True, use_case="poem"), flags=FLAGS)


def test_a_project_without_problems_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match="no problems with an answer by person simulated") as error:
        star(project, flags=FLAGS)
    assert "accord problems" in error.value.hint
    assert not project.run("star").exists()
    assert not project.model("star").exists()


def test_the_hint_stands_behind_the_last_question() -> None:
    talk = (Message("user", "2 + 2?"), Message("assistant", "4"), Message("user", "And 3 + 3?"))
    assert with_hint(Prompt("p", talk), Decimal(6)) == (*talk[:2], Message("user", "And 3 + 3? (The answer is 6.)"))
