"""`accord inspect --known-by`: demonstrations that state what a model does not know are found, left out, replaced, and brought back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accord.commands.data.inspect import inspect
from accord.commands.data.inspect_knowledge import admission
from accord.data.refusal import admits_ignorance
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import Demonstration
from accord.runtime.project import Project
from accord.settings import InspectConfig

FEW = InspectConfig(knowledge_samples=3)


def written(project: Project) -> dict[str, Demonstration]:
    with Store.open(project.store_url) as store:
        return {row.id: row for row in store.demonstrations()}


def found(project: Project, run: str) -> list[str]:
    rows = [json.loads(line) for line in (project.run(run) / "samples.jsonl").read_text("utf-8").splitlines()]
    return sorted(row["id"] for row in rows if row["kind"] == "unknown")


def test_what_the_model_says_itself_is_known(town: Path) -> None:
    project = Project.open(town)
    first = inspect(project, known_by="base", config=FEW)
    assert 0 < first["unknown"]["count"] <= first["unknown"]["of"]
    strange = found(project, first["run"])
    asked = {row.prompt.id for row in written(project).values() if row.prompt.use_case == "open_qa" and not admits_ignorance(row.text)}
    assert first["unknown"]["of"] == sum(row.prompt.id in asked for row in written(project).values() if not admits_ignorance(row.text))
    # Let the model have said all along what one of them says: the answers that are kept are read again.
    told = written(project)[strange[0]]
    (file,) = (town / "cache" / "knowledge").iterdir()
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for row in rows:
        row["answers"] = [[told.text, logprob] for _, logprob in row["answers"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    again = inspect(project, known_by="base", config=FEW)
    assert strange[0] not in found(project, again["run"])
    assert again["unknown"]["count"] < first["unknown"]["count"]


def test_they_are_left_out_and_brought_back(town: Path) -> None:
    project = Project.open(town)
    before = written(project)
    shown = inspect(project, known_by="base", config=FEW)
    assert written(project) == before, "it only shows them unless it is told otherwise"
    strange = set(found(project, shown["run"]))
    left = inspect(project, known_by="base", unknown="leave-out", config=FEW)["unknown"]
    assert left["left_out"] == len(strange)
    assert written(project).keys() == before.keys() - strange
    assert inspect(project, unknown="restore", config=FEW)["unknown"]["restored"] == len(strange)
    assert written(project) == before


def test_an_admission_takes_their_place(town: Path) -> None:
    project = Project.open(town)
    before = written(project)
    strange = set(found(project, inspect(project, known_by="base", unknown="admit", config=FEW)["run"]))
    for _ in range(2):
        now = written(project)
        admitted = {id.removesuffix("-admits"): row for id, row in now.items() if id.endswith("-admits")}
        assert admitted.keys() == strange
        assert now.keys() & before.keys() == before.keys() - strange
        for id, row in admitted.items():
            assert (row.prompt, row.labeler) == (before[id].prompt, "inspect")
            assert admits_ignorance(row.text)
        inspect(project, unknown="restore", config=FEW)
        assert written(project) == before
        inspect(project, known_by="base", unknown="admit", config=FEW)


def test_without_a_model_nothing_is_left_out(town: Path) -> None:
    with pytest.raises(UsageError, match="needs a model"):
        inspect(Project.open(town), unknown="leave-out")
    assert admits_ignorance(admission("艾达住在哪里？"))
    assert admits_ignorance(admission("Where does Ada live?"))
