"""`accord inspect`: the metrics of a look at the texts are a run's summary, and its samples the records that look wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import accord
from accord.commands.app import main
from accord.commands.data.inspect import inspect
from accord.errors import InputError
from accord.records import Demonstration, Labeler, Message, Prompt, Split
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


def test_hints_of_machine_written_text_change_nothing_and_can_be_switched_off(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    said = "As an AI language model, I have no boiler of my own, but I can explain how a boiler is drained before the winter comes."
    asked = Prompt("hinted", (Message("user", "How is a boiler drained?"),), user="u")
    with accord.store(project) as store:
        store.add(prompts=[asked], labelers=[Labeler("ann", "person"), Labeler("bot", "model")])
        store.add(demonstrations=[Demonstration("d-ann", asked, said, "ann"), Demonstration("d-bot", asked, f"{said} ", "bot")])
        before = [each.id for each in store.demonstrations()]
    main(["inspect", str(project.path)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "hints that a model may have written it" in shown
    assert "A hint is no verdict: where it errs most, people wrote about 3 of 10" in shown
    assert "written by rules: recall 21% (19% to 22%), precision 95% (93% to 97%), rough" in shown
    summary = json.loads((project.run("inspect-001") / "summary.json").read_text("utf-8"))
    assert (summary["machine_written"]["demonstrations"]["hints"], summary["machine_written"]["of_ten_by_people"]) == (1, 3)
    samples = [json.loads(line) for line in (project.run("inspect-001") / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["labeler"]) for row in samples if row["kind"] == "machine_written_demonstrations"] == [("d-ann", "ann")]
    with accord.store(project) as store:
        assert [each.id for each in store.demonstrations()] == before
    settings = project.path / "accord.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[classifiers]\nwritten = "off"\n', "utf-8")
    assert "machine_written" not in inspect(Project.open(project.path))
