"""`accord forget`: a person's rows go, the copies in runs as well, and the models that learned from them are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asked import MAIL, prompts_of

from accord.commands.app import main
from accord.commands.data.forget import forget
from accord.errors import StoreError
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.runtime import lineage
from accord.runtime.project import Project


@pytest.fixture
def run(project: Project) -> Path:
    """A run with a ranking of Bob's prompt, and four models: one learned from it, two descend from that one, and one does neither."""
    folder = project.run("reward-a")
    folder.mkdir(parents=True)
    with Store.open(project.store_url) as store:
        digest = write_snapshot(store.ranked_prompts(), folder / "rankings.jsonl")
    models = {"rm": ({}, {"rankings": digest}), "ppo": ({"rm": "0"}, {}), "ppo-2": ({"ppo": "0"}, {}), "base": ({}, {})}
    for name, (parents, data) in models.items():
        project.model(name).mkdir(parents=True)
        (project.model(name) / "config.json").write_text("{}")
        lineage.write(project.model(name), stage="reward", parents=parents, data=data, settings={}, metrics={})
    return folder


def test_a_person_is_forgotten_and_the_models_are_named(project: Project, run: Path) -> None:
    metrics = forget(project, user="bob", why="asked")
    assert metrics["models"] == {"rm": "learned from it", "ppo": "descends from rm", "ppo-2": "descends from ppo"}
    assert (metrics["prompts"], metrics["rows_removed_from_runs"], metrics["files"]) == (2, 1, {"reward-a/rankings.jsonl": 1})
    assert (run / "rankings.jsonl").read_text() == ""
    assert prompts_of(project) == ["a", "b", "e"]
    with pytest.raises(StoreError, match="has no user"):
        forget(project, user="bob")


def test_copies_in_runs_can_be_kept(project: Project, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["forget", str(project.path), "--user", "bob", "--keep-copies", "--json"])
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["rows_in_runs"], metrics["rows_removed_from_runs"]) == (1, 0)
    assert (run / "rankings.jsonl").read_text()


def test_a_model_that_bears_its_runs_name_is_named_whatever_its_lineage(project: Project, run: Path) -> None:
    project.model("reward-a").mkdir()
    assert forget(project, user="bob")["models"]["reward-a"] == "learned from it"


def test_the_terminal_says_what_to_do_with_the_weights(project: Project, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["forget", str(project.path), "--user", "bob"])
    shown = capsys.readouterr().out
    assert "models: ppo" in shown
    assert "train them again" in shown


def test_rollouts_advice_rejects_and_undone_imports_lose_what_is_theirs(project: Project, run: Path) -> None:
    theirs, others = MAIL, "Which of the seven rivers runs dry?"
    written = {
        "runs/reward-a/rollouts/000001.safetensors": "tokens",
        "runs/reward-a/rollouts/index.jsonl": "{}\n",
        "runs/episodes/rollouts/000001.safetensors": json.dumps([{"messages": [["user", theirs]]}]),
        "runs/another/rollouts/000001.safetensors": json.dumps([{"messages": [["user", others]]}]),
        "advice/critique.jsonl": json.dumps({"prompt": "c", "first": "x"}) + "\n" + json.dumps({"prompt": "a", "first": "x"}) + "\n",
        "advice/judged/1.json": json.dumps({"worth": 1, "said": f"It says: {theirs}"}),
        "advice/judged/2.json": json.dumps({"worth": 1, "said": "fine"}),
        "rejects/asked.jsonl": json.dumps({"why": "no id", "row": {"user": "bob"}}) + "\n" + json.dumps({"row": {"user": "ann"}}) + "\n",
        "undone/1-raw.txt": f"First.\n{theirs}\n",
        "undone/2-raw.txt": "Second.\n",
    }
    for name, text in written.items():
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_text(text, "utf-8")
    metrics = forget(project, user="bob")
    assert metrics["copies"] == [
        "advice/critique.jsonl",
        "advice/judged/1.json",
        "rejects/asked.jsonl",
        "runs/episodes/rollouts",
        "runs/reward-a/rollouts",
        "undone/1-raw.txt",
    ]
    left = {name: (project.path / name).read_text() for name in written if (project.path / name).is_file()}
    assert left == {
        "runs/another/rollouts/000001.safetensors": written["runs/another/rollouts/000001.safetensors"],
        "advice/critique.jsonl": json.dumps({"prompt": "a", "first": "x"}) + "\n",
        "advice/judged/2.json": written["advice/judged/2.json"],
        "rejects/asked.jsonl": json.dumps({"row": {"user": "ann"}}) + "\n",
        "undone/2-raw.txt": "Second.\n",
    }
