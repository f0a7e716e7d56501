"""`accord lineage`: from a model back to its ancestors and the chat turns that they learned from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.project.lineage import lineage
from accord.errors import InputError
from accord.feedback.snapshot import write_snapshot
from accord.records import Demonstration, Message, Prompt
from accord.runtime import lineage as written
from accord.runtime.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A base model, and an SFT model that learned from a demonstration of the chat and from another."""
    made = Project.create(tmp_path / "p")
    chat = Prompt("chat-p-1", (Message("user", "Hi"),), source="chat c1 t1")
    other = Prompt("p2", (Message("user", "Why?"),), source="rows.jsonl")
    digest = write_snapshot(
        [Demonstration("d1", chat, "Hello.", "ann"), Demonstration("d2", other, "So.", "ann")], made.run("sft") / "demonstrations.jsonl"
    )
    for name, parents, data in (("base", (), {}), ("sft", ("base",), {"demonstrations": digest})):
        made.model(name).mkdir()
        (made.model(name) / "config.json").write_text(f'{{"name": "{name}"}}')
        digests = {parent: written.digest_folder(made.model(parent)) for parent in parents}
        written.write(made.model(name), stage=name, parents=digests, data=data, settings={}, metrics={})
    return made


def test_ancestors_come_with_their_state_and_turns_with_their_ids(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    traced = lineage(project, "sft")
    assert [(each["name"], each["depth"], each["state"]) for each in traced["lineage"]] == [("sft", 0, "same"), ("base", 1, "same")]
    assert traced["chat_turns"] == [{"turn": "t1", "conversation": "c1", "model": "sft", "what": "demonstrations"}]
    main(["lineage", str(project.path), "sft", "--json"])
    assert json.loads(capsys.readouterr().out) == traced


def test_a_changed_parent_and_a_changed_snapshot_are_not_trusted(project: Project) -> None:
    (project.model("base") / "config.json").write_text("{}")
    snapshot = project.run("sft") / "demonstrations.jsonl"
    snapshot.write_text(snapshot.read_text("utf-8").replace("c1 t1", "c1 t9"), "utf-8")
    traced = lineage(project, "sft")
    assert [each["state"] for each in traced["lineage"]] == ["same", "changed"]
    assert traced["chat_turns"] == []


def test_the_terminal_indents_parents_under_their_children(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["lineage", str(project.path), "sft"])
    shown = capsys.readouterr().out
    assert "lineage of sft" in shown
    assert "│ sft " in shown
    assert "│   base " in shown
    assert "chat turns it learned from" in shown
    main(["lineage", str(project.path), "base"])
    assert "chat turns" not in capsys.readouterr().out


def test_there_is_no_such_model(project: Project) -> None:
    with pytest.raises(InputError, match="base, sft"):
        lineage(project, "ppo")
