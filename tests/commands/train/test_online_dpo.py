"""`accord online-dpo` on a small project: what it leaves, that it starts at its reference and learns, resuming, rewards it cannot use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import EVALUATED, FLAGS, RESUME, SAMPLED, SHORT, SMALL, learned, lineage_of, plain_model, written

from accord.commands.train.online_dpo import online_dpo
from accord.errors import InputError, ModelError, RunError, UsageError
from accord.runtime.project import Project
from accord.settings import OnlineDpoConfig

PAIRS: dict[str, Any] = {**SMALL, "group_size": 2, "minibatch_size": 2, "truncation": "terminate"}
"""With ``penalise`` every response of so unread a model would be cut, get the same, and give no pair."""

FAILING = """
import pathlib
LEFT = pathlib.Path(__file__).with_name("left")

def short(prompts, responses):
    if LEFT.exists() and not LEFT.read_text():
        raise OSError("the judge is out")
    if LEFT.exists():
        LEFT.write_text(LEFT.read_text()[1:])
    return [-float(len(response)) for response in responses]
"""
"""Fails once the file `left` is empty; each call takes a letter of it."""


@pytest.mark.parametrize("flags", [[], ["--lora-rank", 2], ["--loss", "ipo", "--group-size", 3, "--minibatch-size", 1]], ids=str)
def test_it_leaves_a_plain_model_that_started_at_its_reference(flags: list[Any], project: Project, typed: Any) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    words = ["online-dpo", project.path, "--rewards", "town_short:short", "--steps", 2, "--dtype", "float32"]
    for name, value in PAIRS.items():
        words += [] if f"--{name.replace('_', '-')}" in flags else [f"--{name.replace('_', '-')}", value]
    summary = typed(*words, *flags)
    assert summary.keys() == SAMPLED
    first, second = map(json.loads, (project.run("online-dpo") / "metrics.jsonl").read_text().splitlines())
    assert first["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert second["kl_k3"] > 1e-6
    assert {"reward.town_short:short", "weight.town_short:short"} <= first.keys()
    plain_model(project.model("online-dpo"))
    learned(project, "online-dpo")
    assert lineage_of(project, "online-dpo", parents=["sft"], snapshots=["prompts"])["stage"] == "online-dpo"
    files = written(project, "online-dpo")
    assert typed(*words, *flags, "--resume") == summary
    assert written(project, "online-dpo") == files


def test_a_reward_model_is_a_parent_and_the_policy_is_evaluated_meanwhile(town: Project) -> None:
    run = online_dpo(town, name="tuned", config=OnlineDpoConfig(**PAIRS, steps=2, evaluate_every=1), flags=FLAGS)
    assert run.summary.keys() == EVALUATED
    assert lineage_of(town, "tuned", parents=["sft", "reward"], snapshots=["prompts"])["name"] == "tuned"


def test_a_run_that_stopped_goes_on_to_the_same_weights(project: Project) -> None:
    (project.path / "town_failing.py").write_text(FAILING)
    config = OnlineDpoConfig(**PAIRS, steps=4, save_every=1, rewards="town_failing:short")
    (project.path / "left").write_text("xxx")
    with pytest.raises(RunError, match="raised OSError: the judge is out"):
        online_dpo(project, name="cut", config=config, flags=FLAGS)
    (project.path / "left").unlink()
    online_dpo(project, name="cut", config=config, flags=RESUME)
    assert "resumed after step" in (project.run("cut") / "log.txt").read_text()
    online_dpo(project, name="whole", config=config, flags=FLAGS)
    cut, whole = (json.loads((project.model(name) / "lineage.json").read_text()) for name in ("cut", "whole"))
    assert cut["digest"] == whole["digest"]


@pytest.mark.parametrize(
    ("rewards", "kind", "part"),
    [
        ("harmless", UsageError, "there is no reward 'harmless'"),
        ("model", ModelError, "no such model"),
        ("exact", InputError, "the store has no demonstrations that end in #### and a number"),
    ],
)
def test_a_reward_that_cannot_be_given_is_refused(rewards: str, kind: Any, part: str, project: Project) -> None:
    with pytest.raises(kind, match=part):
        online_dpo(project, config=OnlineDpoConfig(**PAIRS, rewards=rewards), flags=FLAGS)
    assert not project.run("online-dpo").exists()
    assert not project.model("online-dpo").exists()
