"""`accord grpo` on a small project: what it leaves, adapters in four bits, resuming, and rewards that it cannot use."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from small_project import FLAGS, RESUME, SAMPLED, SHORT, SMALL, learned, lineage_of, plain_model, written
from sqlalchemy import update

from accord.commands.train.grpo import grpo
from accord.errors import InputError, ModelError, RunError, UsageError
from accord.feedback import schema
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import GrpoConfig

GROUPS: dict[str, Any] = {**SMALL, "group_size": 3}
ENDED: dict[str, Any] = {"truncation": "terminate"}
"""Without it every response of so unread a model is cut, gets the same, and teaches nothing."""
FAILING = """
import pathlib
CALLS = pathlib.Path(__file__).with_name("calls")

def short(prompts, responses):
    CALLS.write_text(CALLS.read_text() + "x" if CALLS.exists() else "x")
    if len(CALLS.read_text()) > 3:
        raise OSError("the judge is out")
    return [-float(len(response)) for response in responses]
"""


@pytest.mark.parametrize(
    "flags", [[], ["--lora-rank", 2], ["--lora-rank", 2, "--lora-bits", 4, "--recompute"]], ids=["all", "lora", "qlora"]
)
def test_it_leaves_a_plain_model_that_started_at_its_reference(flags: list[Any], project: Project, typed: Any) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    words = ["grpo", project.path, "--rewards", "town_short:short", "--steps", 2, *flags, "--dtype", "float32"]
    for name, value in (GROUPS | ENDED).items():
        words += [f"--{name.replace('_', '-')}", value]
    summary = typed(*words)
    assert summary.keys() == SAMPLED
    first, second = map(json.loads, (project.run("grpo") / "metrics.jsonl").read_text().splitlines())
    assert first["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert second["kl_k3"] > 1e-6
    assert {"reward.town_short:short", "weight.town_short:short"} <= first.keys()
    plain_model(project.model("grpo"))
    learned(project, "grpo")
    assert lineage_of(project, "grpo", parents=["sft"], snapshots=["prompts"])["stage"] == "grpo"
    files = written(project, "grpo")
    assert typed(*words, "--resume") == summary
    assert written(project, "grpo") == files


def test_a_run_is_replayed_from_its_recorded_rollouts_to_the_same_weights(project: Project) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    settings: dict[str, Any] = {**GROUPS, **ENDED, "steps": 2, "rewards": "town_short:short"}
    grpo(project, name="drawn", config=GrpoConfig(**settings, record_rollouts="all"), flags=FLAGS)
    grpo(project, name="again", config=GrpoConfig(**settings, replay="drawn"), flags=FLAGS)
    drawn, again = (json.loads((project.model(name) / "lineage.json").read_text()) for name in ("drawn", "again"))
    assert drawn["digest"] == again["digest"]
    assert drawn["data"]["rollouts"] == again["data"]["rollouts"]
    index = [json.loads(line) for line in (project.run("drawn") / "rollouts" / "index.jsonl").read_text().splitlines()]
    assert [(line["step"], line["policy_step"]) for line in index] == [(1, 0), (2, 1)]
    with pytest.raises(UsageError, match="the project has no run 'nobody'"):
        grpo(project, name="third", config=GrpoConfig(**settings, replay="nobody"), flags=FLAGS)
    assert not project.run("third").exists()


def test_a_reward_model_is_a_parent(town: Project) -> None:
    grpo(town, name="tuned", config=GrpoConfig(**GROUPS, **ENDED, steps=1), flags=FLAGS)
    assert lineage_of(town, "tuned", parents=["sft", "reward"], snapshots=["prompts"])["name"] == "tuned"


def test_a_reward_that_fails_on_the_way_stops_a_run_that_goes_on_when_it_is_mended(project: Project) -> None:
    (project.path / "town_failing.py").write_text(FAILING)
    config = GrpoConfig(**GROUPS, steps=4, save_every=1, rewards="town_failing:short")
    with pytest.raises(RunError, match=r"town_failing:short: raised OSError: the judge is out"):
        grpo(project, name="new", config=config, flags=FLAGS)
    assert not project.model("new").exists()
    (project.path / "calls").unlink()
    run = grpo(project, name="new", config=config, flags=RESUME)
    assert "resumed after step" in (run.folder / "log.txt").read_text()
    assert project.model("new").exists()


@pytest.mark.parametrize(
    ("config", "kind", "part"),
    [
        (GrpoConfig(**GROUPS), ModelError, "no such model"),
        (GrpoConfig(**GROUPS, rewards="exact"), InputError, "end in ####"),
        (GrpoConfig(**GROUPS, rewards="ratings"), InputError, "rated responses"),
        (GrpoConfig(**GROUPS, rewards="town_nowhere:f"), UsageError, "cannot be imported"),
        (GrpoConfig(**GROUPS, rewards="town_bad:nan"), RunError, "nan"),
        (GrpoConfig(**GROUPS, rewards="town_bad:one"), RunError, "rewards for 2 responses"),
        (GrpoConfig(**GROUPS, rewards="town_bad:hang", reward_seconds=1), RunError, "did not come back"),
    ],
)
def test_a_reward_that_it_cannot_use_is_refused_before_its_first_step(config: GrpoConfig, kind: Any, part: str, project: Project) -> None:
    (project.path / "town_bad.py").write_text(
        "import time\n"
        "def nan(prompts, responses): return [float('nan')] * len(responses)\n"
        "def one(prompts, responses): return [1.0]\n"
        "def hang(prompts, responses): time.sleep(5)\n"
    )
    with pytest.raises(kind, match=part):
        grpo(project, name="new", config=config, flags=FLAGS)
    assert not project.model("new").exists()
    assert not (project.run("new") / "metrics.jsonl").exists()


def test_a_model_of_the_project_plays_the_user(project: Project) -> None:
    with Store.open(project.store_url) as store, store.write() as connection:
        connection.execute(update(schema.prompts).values(extra='{"goal":"warm bread"}'))
    asked: dict[str, Any] = {**GROUPS, **ENDED, "max_tokens": 24, "steps": 2, "max_turns": 2, "rewards": "length=-1", "evaluate_every": 0}
    config = GrpoConfig(**asked, environment="user:sft")
    run = grpo(project, name="played", config=config, flags=FLAGS).folder
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert not any(row.get("ended.crashed", 0) for row in rows), (run / "log.txt").read_text()
    assert rows[0]["others_tokens"] > 0, "somebody spoke between the turns"
    with pytest.raises(ModelError, match="nobody"):
        grpo(project, name="other", config=replace(config, environment="user:nobody"), flags=FLAGS)
