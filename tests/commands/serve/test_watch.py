"""`accord watch`: the same prompts again, drift of fresh ones, a decline that goes back, and what it cannot use."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, labeled, rankings, with_sft_model

from accord.commands.app import main
from accord.commands.serve.watch import watch
from accord.commands.train.reward import reward
from accord.errors import InputError, ModelError, UsageError
from accord.feedback import deployments
from accord.feedback.store import Store
from accord.feedback.traces import FROM_CHAT
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import RewardConfig, WatchConfig

CONFIG: dict[str, Any] = {"max_tokens": 5, "bootstrap": 100, "prompts": 6}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a base, an SFT and a reward model, and test prompts."""
    project = labeled(with_sft_model(tmp_path_factory.mktemp("watch") / "p"), tmp_path_factory.mktemp("watched") / "p", rankings())
    reward(project, config=RewardConfig(lr=1e-2, warmup_steps=1), flags=FLAGS)
    with Store.open(project.store_url) as store:
        store.add_prompts(
            [Prompt(f"t{i}", (Message("user", f"Where is bread number {i}?"),), user=f"t{i}", split="test") for i in range(8)]
        )
        store.add_prompts([Prompt(f"k{i}", (Message("user", f"Where is bread number {i}?"),), user=f"k{i}") for i in range(20)])
    return project


@pytest.fixture
def project(served: Project, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(served.path, tmp_path / "p")))


def asked_by_users(project: Project, *texts: str) -> None:
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"{FROM_CHAT}{i}", (Message("user", text),), user="u") for i, text in enumerate(texts)])


def better_once(project: Project, name: str, by: float) -> None:
    """Let the first check be that of a model whose every answer scored better."""
    file = project.path / "watch" / f"{name}.jsonl"
    row = json.loads(file.read_text())
    row["scores"] = [score + by for score in row["scores"]]
    file.write_text(json.dumps(row) + "\n")


def test_a_model_that_did_not_change_has_no_change(project: Project) -> None:
    first, second = (watch(project, "sft", config=WatchConfig(**CONFIG)) for _ in range(2))
    assert first["checks"] == 1
    assert "change" not in first
    assert (second["checks"], second["declined"]) == (2, False)
    assert second["change"] == [0, 0, 0]
    assert second["score"] == first["score"] == second["first"]["score"]
    assert second["prompts"] == 6
    lines = (project.path / "watch" / "sft.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "bread" not in lines[0]  # no texts
    assert watch(project, "sft", anew=True, config=WatchConfig(**CONFIG))["checks"] == 1


def test_answers_drawn_by_other_settings_are_no_change(project: Project) -> None:
    for max_tokens in (5, 1, 5):
        found = watch(project, "sft", config=WatchConfig(**CONFIG | {"max_tokens": max_tokens}))
    assert found["checks"] == 2
    assert found["change"] == [0, 0, 0]
    assert "change" not in watch(project, "sft", config=WatchConfig(**CONFIG | {"max_tokens": 2}))


def test_a_decline_is_told_and_goes_back_to_the_model_before(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(project.store_url) as store:
        for model in ("base", "sft"):
            deployments.deploy(store, model, "0", by="tests", now=datetime.now(UTC))
    watch(project, config=WatchConfig(**CONFIG))
    better_once(project, "sft", 3.0)
    assert watch(project, roll_back=True, config=WatchConfig(**CONFIG, margin=5.0))["declined"] is False
    with pytest.raises(SystemExit) as ended:
        main(["watch", str(project.path), "--roll-back", "--max-tokens", "5", "--bootstrap", "100", "--prompts", "6"])
    assert ended.value.code == 1
    assert "declined" in capsys.readouterr().out
    with Store.open(project.store_url) as store:
        now = deployments.deployed(store)
    assert now
    assert (now.model, now.by) == ("base", "watch")
    assert now.why.startswith("declined by 3.000")


def test_fresh_prompts_are_held_against_those_of_training(project: Project) -> None:
    assert watch(project, "sft", config=WatchConfig(**CONFIG))["fresh"] == {"prompts": 0}
    asked_by_users(project, *[f"Where is bread number {i}?" for i in range(12)])
    alike = watch(project, "sft", config=WatchConfig(**CONFIG))
    assert alike["drifted"] is False
    assert alike["fresh"]["prompts"] == 12
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"{FROM_CHAT}x{i}", (Message("user", "请问磨坊什么时候开门？"),), user="v") for i in range(12)])
    other = watch(project, "sft", config=WatchConfig(**CONFIG))
    assert other["drifted"] is True
    assert other["fresh"]["drift"] > alike["fresh"]["drift"]


def test_it_goes_on_for_so_many_checks(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert watch(project, "sft", times=3, config=WatchConfig(**CONFIG, every=0.01))["checks"] == 3
    assert capsys.readouterr().out.count("watch: sft") == 2  # the last is the command's own result


def test_what_cannot_be_watched_is_refused(project: Project, tmp_path: Path) -> None:
    config = WatchConfig(**CONFIG)
    with pytest.raises(UsageError, match="the address does not name a model"):
        watch(project, "http://127.0.0.1:9/v1", config=config)
    with pytest.raises(UsageError, match="nothing to go back to"):
        watch(project, "base", roll_back=True, config=config)
    with pytest.raises(ModelError, match="base2"):
        watch(project, "base2", config=config)
    shutil.rmtree(project.model("reward"))
    with pytest.raises(ModelError, match="no reward model to judge by"):
        watch(project, "sft", config=config)


def test_a_project_without_test_prompts_is_refused(served: Project, tmp_path: Path) -> None:
    bare = Project(Path(shutil.copytree(served.path, tmp_path / "q")))
    (bare.path / "feedback.db").unlink()
    for more in bare.path.glob("feedback.db-*"):
        more.unlink()
    with pytest.raises(InputError, match="no test prompts"):
        watch(bare, "sft", config=WatchConfig(**CONFIG))
