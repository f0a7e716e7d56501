"""`accord inspect`: the metrics of a look at the texts are a run's summary, and its samples the records that look wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import accord
from accord.commands.app import main
from accord.commands.data.inspect import inspect
from accord.errors import InputError
from accord.records import Message, Prompt, Split
from accord.runtime.project import Project
from accord.settings import InspectConfig


def test_texts_are_profiled_and_the_metrics_are_a_runs_summary(project: Project) -> None:
    metrics = inspect(project)
    assert (metrics["run"], metrics["prompts"]["texts"], metrics["answer_nothing"]["why"]) == ("inspect-001", 5, {"a placeholder": 1})
    assert metrics["contradictions"]["pairs"] == 1
    summary = json.loads((project.run("inspect-001") / "summary.json").read_text("utf-8"))
    assert summary["responses"]["texts"] == 2
    (sample,) = [json.loads(line) for line in (project.run("inspect-001") / "samples.jsonl").read_text("utf-8").splitlines()]
    assert (sample["kind"], sample["id"]) == ("answer_nothing", "d2")


def test_the_terminal_shows_a_column_for_each_kind_of_text(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(project)
    main(["inspect", str(project.path), "--sample", "2"])
    shown = capsys.readouterr().out
    assert "inspect-002" in shown
    (texts,) = [line for line in shown.splitlines() if " texts " in line]
    assert texts.count(" 2 ") == 3, "prompts, demonstrations, responses"
    assert "near_duplicates" in shown
    assert "answer_nothing: why: a placeholder" in shown


def test_a_sample_is_drawn_by_seed(project: Project) -> None:
    drawn = [inspect(project, config=InspectConfig(sample=2, seed=seed))["prompts"]["words"] for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert any(other != drawn[0] for other in drawn[2:])


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to look at"):
        inspect(Project.create(tmp_path / "empty"))


def test_contamination_between_splits_is_found_exact_and_near(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "leaky")
    long = "Write a short letter to the landlord about the broken heating in the kitchen, and ask when somebody will come to repair"
    texts: dict[str, tuple[str, Split]] = {
        "a": ("Hi?", "train"),
        "b": ("Hi?", "test"),
        "c": (f"{long} it.", "validation"),
        "d": (f"{long} it!!", "train"),
        "e": ("No?", "train"),
    }
    with accord.store(project) as store:
        store.add_prompts(Prompt(id, (Message("user", text),), user=id, split=split) for id, (text, split) in texts.items())
    metrics = inspect(project)
    assert metrics["contamination"] == {"exact": 1, "near": 1}
    samples = [json.loads(line) for line in (project.run(metrics["run"]) / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [(row["kind"], row.get("prompts") or (row["id"], row["like"])) for row in samples] == [
        ("contamination", ["b", "a"]),
        ("near_contamination", ("d", "c")),
    ]
