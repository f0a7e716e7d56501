"""From the weights back to the feedback, and what was changed in between is seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from accord.errors import InputError
from accord.runtime import lineage
from accord.runtime.project import Project


def make(project: Project, name: str, *parents: str, **data: str) -> Path:
    folder = project.model(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(name.encode())
    digests = {parent: lineage.digest_folder(project.model(parent)) for parent in parents}
    lineage.write(folder, stage="sft", parents=digests, data=data, settings={"lr": 0.1}, metrics={"loss": 2.0})
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    make(made, "base", corpus="c0")
    make(made, "sft", "base", demonstrations="d1")
    make(made, "reward", "sft", rankings="r2")
    make(made, "ppo", "sft", "reward", prompts="p3")
    return made


def test_the_walk_reaches_every_ancestor_and_its_data(project: Project) -> None:
    found = lineage.walk(project, "ppo")
    assert [(one.name, one.depth, one.state) for one in found] == [
        ("ppo", 0, "same"),
        ("sft", 1, "same"),
        ("reward", 1, "same"),
        ("base", 2, "same"),
    ]
    assert {key for one in found for key in one.record["data"]} == {"prompts", "demonstrations", "rankings", "corpus"}


def test_a_parent_that_was_changed_or_removed_is_said_so(project: Project) -> None:
    (project.model("sft") / "model.safetensors").write_bytes(b"other")
    for path in project.model("reward").iterdir():
        path.unlink()
    project.model("reward").rmdir()
    states = {one.name: one.state for one in lineage.walk(project, "ppo")}
    assert states == {"ppo": "same", "sft": "changed", "reward": "missing", "base": "same"}


def test_a_model_that_is_not_there(project: Project) -> None:
    with pytest.raises(InputError, match="no model 'dpo'") as caught:
        lineage.walk(project, "dpo")
    assert "base, ppo, reward, sft" in caught.value.hint


def test_the_digest_sees_content_and_names_and_not_the_card(project: Project) -> None:
    folder = project.model("sft")
    before = lineage.digest_folder(folder)
    (folder / "README.md").write_text("mine")
    (folder / ".hidden.json").write_text("{}")
    assert lineage.digest_folder(folder) == before
    (folder / "chat_template.jinja").write_text("x")
    with_template = lineage.digest_folder(folder)
    (folder / "chat_template.jinja").rename(folder / "other.jinja")
    assert len({before, with_template, lineage.digest_folder(folder)}) == 3


def test_an_empty_folder_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        lineage.digest_folder(tmp_path)


def test_rows_digest_by_content_and_order_not_by_the_order_of_keys() -> None:
    @dataclass
    class Row:
        b: int
        a: str

    rows: list[object] = [{"b": 1, "a": "é"}, {"b": 2, "a": ""}]
    assert (
        lineage.digest_rows(rows)
        == lineage.digest_rows([{"a": "é", "b": 1}, {"a": "", "b": 2}])
        == lineage.digest_rows([Row(1, "é"), Row(2, "")])
    )
    assert lineage.digest_rows(rows) != lineage.digest_rows(rows[::-1])
    assert lineage.digest_rows(["ab"]) != lineage.digest_rows(["a", "b"])


def test_the_card_tells_what_it_was_made_of(project: Project) -> None:
    card = (project.model("ppo") / "README.md").read_text()
    for words in ("# ppo", "sft, reward", "| prompts | p3 |", "| loss | 2.0 |", "| lr | 0.1 |"):
        assert words in card
