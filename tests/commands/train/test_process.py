"""`accord process`: a model of marked errors that plain transformers opens, what it counts, resuming, and marks it cannot use."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from small_project import FLAGS, PLANNED, PROMPTS, RESUME, SMALL, WINDOW, lineage_of, plain_scores, written
from tiny import SENTENCES

from accord.commands.models import load_model
from accord.commands.train.grpo import grpo
from accord.commands.train.process import process
from accord.data.spans import Span
from accord.errors import InputError, RunError
from accord.runtime.project import Project
from accord.settings import GrpoConfig, ProcessConfig

CONFIG = ProcessConfig(lr=1e-2, warmup_steps=1)


def mark(project: Project, spans: list[Span]) -> None:
    folder = project.path / "annotations"
    folder.mkdir(exist_ok=True)
    (folder / "marks.jsonl").write_text("".join(json.dumps(dataclasses.asdict(span)) + "\n" for span in spans))


@pytest.fixture
def project(project: Project) -> Project:
    """Ann marked the first word of each prompt's first response, and read the second without marking anything."""
    end = SENTENCES[0].index(" ")
    wrong = [Span(f"{prompt.id}-0", 0, end, "Irrelevant", "ann") for prompt in PROMPTS]
    mark(project, wrong + [Span(f"{prompt.id}-1", 0, 0, "", "ann") for prompt in PROMPTS])
    return project


def test_it_leaves_a_token_model_that_other_methods_are_rewarded_by(project: Project) -> None:
    summary = process(project, config=CONFIG, flags=FLAGS).summary
    assert summary.keys() == PLANNED | WINDOW | {"responses", "marked", "validation_auc"}
    assert (summary["responses"], summary["marked"]) == (14, 7)
    chat, asked = load_model(project, "sft").format, PROMPTS[0].messages
    tokens = [*chat.prompt(asked), *chat.response(asked, SENTENCES[0])]
    plain_scores(project.model("process"), [tokens[:end] for end in range(len(chat.prompt(asked)) + 1, len(tokens) + 1)])
    lineage = json.loads((project.model("process") / "lineage.json").read_text())
    started = json.loads((project.run("process") / "config.json").read_text())
    assert lineage["data"] == {"spans": started["inputs"]["spans"]}
    assert lineage["parents"] == {"sft": started["inputs"]["sft"]}
    grpo(project, config=GrpoConfig(**SMALL, group_size=3, steps=1, rewards="length, process(process)"), flags=FLAGS)
    assert lineage_of(project, "grpo", parents=["sft", "process"], snapshots=["prompts"])


def test_a_finished_run_is_resumed_by_doing_nothing_while_the_marks_are_the_same(project: Project, typed: Any) -> None:
    words = ["process", project.path, "--errors", "Irrelevant, Unverifiable", "--name", "relevance", "--dtype", "float32"]
    summary, files = typed(*words), written(project, "relevance")
    assert typed(*words, "--resume") == summary
    assert written(project, "relevance") == files
    mark(project, [Span(f"{prompt.id}-0", 0, 3, "Irrelevant", "ann") for prompt in PROMPTS])
    with pytest.raises(RunError, match="spans was"):
        process(project, name="relevance", config=ProcessConfig(errors="Irrelevant, Unverifiable"), flags=RESUME)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (ProcessConfig(errors="Unverifiable"), "14 marked responses to train on, none with an error of Unverifiable"),
        (ProcessConfig(kinds="model"), "0 marked responses to train on, none with an error of any kind by model"),
    ],
)
def test_marks_that_it_cannot_use_are_refused(config: ProcessConfig, part: str, project: Project) -> None:
    with pytest.raises(InputError, match=part) as error:
        process(project, config=config, flags=FLAGS)
    assert error.value.hint
    assert not project.run("process").exists()
    assert not project.model("process").exists()
