"""Commands that evaluate their policy on validation prompts while it learns: what they log, save, refuse and say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import FLAGS, SHORT, SMALL

from accord.commands.train.grpo import grpo
from accord.commands.train.ppo import ppo
from accord.commands.train.raft import raft
from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, PpoConfig, RaftConfig

GROUPS: dict[str, Any] = {**SMALL, "group_size": 3, "truncation": "terminate", "rewards": "town_short:short"}
SEEN = """
import pathlib
SEEN = pathlib.Path(__file__).with_name("seen")

def note(prompts, responses):
    with SEEN.open("a") as file:
        file.writelines(prompt + "\\n" for prompt in prompts)
    return [float(len(response)) for response in responses]
"""
FALLING = """
import pathlib
CALLS = pathlib.Path(__file__).with_name("calls")

def falling(prompts, responses):
    CALLS.write_text(CALLS.read_text() + "x" if CALLS.exists() else "x")
    return [-float(len(CALLS.read_text()))] * len(responses)
"""


def rows(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def rewarding(project: Project) -> Project:
    (project.path / "town_short.py").write_text(SHORT)
    return project


def test_validation_prompts_alone_are_evaluated_and_never_learned_from(project: Project) -> None:
    """A reward that only evaluates sees the two validation prompts, twice each, and no other."""
    for name, text in (("town_short", SHORT), ("town_seen", SEEN)):
        (project.path / f"{name}.py").write_text(text)
    run = grpo(project, config=GrpoConfig(**GROUPS, steps=2, evaluate_every=1, evaluate_by="town_seen:note"), flags=FLAGS)
    seen = (project.path / "seen").read_text().splitlines()[2:]  # every reward is tried once on two copies of the first prompt
    with Store.open(project.store_url) as store:
        held_out = {prompt.messages[-1].content for prompt in store.prompts(split="validation")}
    assert set(seen) == held_out
    assert len(seen) == 3 * 2 * len(held_out)
    assert all("held_out_reward" in row for row in rows(run))
    lineage = json.loads((project.model("grpo") / "lineage.json").read_text())
    assert lineage["metrics"]["held_out_reward"] == pytest.approx(rows(run)[-1]["held_out_reward"])
    assert lineage["settings"]["evaluate_by"] == "town_seen:note"


def test_the_bound_on_prompts_takes_the_same_ones_each_time(rewarding: Project) -> None:
    for name in ("one", "two"):
        grpo(rewarding, name=name, config=GrpoConfig(**GROUPS, steps=1, evaluate_every=1, evaluate_prompts=1), flags=FLAGS)
    one, two = ((rewarding.run(name) / "validation-prompts.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    assert len(one.splitlines()) == 1


def test_patience_saves_the_model_that_training_started_from_where_nothing_was_better(project: Project) -> None:
    for name, text in (("town_short", SHORT), ("town_falling", FALLING)):
        (project.path / f"{name}.py").write_text(text)
    config = GrpoConfig(**GROUPS, steps=9, evaluate_every=1, patience=2, evaluate_by="town_falling:falling")
    run = grpo(project, config=config, flags=FLAGS)
    assert [row["step"] for row in rows(run)] == [1, 2]
    weights = [(project.model(name) / "model.safetensors").read_bytes() for name in ("sft", "grpo")]
    assert weights[0] == weights[1]
    assert "ends at step 2: held-out reward has not grown in 2 evaluations" in (run.folder / "log.txt").read_text()
    summary = json.loads((project.model("grpo") / "lineage.json").read_text())["metrics"]
    assert summary["held_out_best_step"] == 0


def test_a_project_without_validation_prompts_trains_and_says_that_it_is_not_evaluated(
    rewarding: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    config = GrpoConfig(**GROUPS, steps=1, evaluate_every=1, evaluate_by="exact")  # no demonstration of theirs has an answer
    run = grpo(rewarding, config=config, flags=FLAGS)
    assert "is not evaluated while it learns" in capsys.readouterr().err
    assert "held_out_reward" not in rows(run)[0]
    with pytest.raises(InputError, match="of split validation"):
        grpo(rewarding, name="other", config=GrpoConfig(**GROUPS, steps=1, evaluate_every=1, evaluate_by="exact", patience=1), flags=FLAGS)
    again = GrpoConfig(**GROUPS, steps=1, evaluate_every=1, patience=1)
    assert "held_out_reward" in rows(grpo(rewarding, name="other", config=again, flags=FLAGS))[0]


def test_a_replay_cannot_choose_a_policy(rewarding: Project) -> None:
    grpo(rewarding, name="drawn", config=GrpoConfig(**GROUPS, steps=1, record_rollouts="all"), flags=FLAGS)
    with pytest.raises(UsageError, match="a replay draws nothing"):
        grpo(rewarding, name="again", config=GrpoConfig(**GROUPS, steps=1, replay="drawn", patience=1), flags=FLAGS)


@pytest.mark.parametrize("method", ["ppo", "raft"])
def test_other_methods_are_evaluated_too(method: str, town: Project) -> None:
    if method == "ppo":
        run = ppo(town, config=PpoConfig(**SMALL, steps=1, evaluate_every=1, value_lr=1e-3, ptx_coef=0.0), flags=FLAGS)
    else:
        run = raft(town, config=RaftConfig(**SMALL, rounds=1, group_size=2), flags=FLAGS)
    assert 0 <= rows(run)[-1]["held_out_win_rate"] <= 1
    assert rows(run)[-1]["held_out_length"] > 0


def test_a_run_shorter_than_the_interval_is_not_evaluated(rewarding: Project) -> None:
    run = grpo(rewarding, config=GrpoConfig(**GROUPS, steps=2), flags=FLAGS)
    assert "held_out_reward" not in rows(run)[-1]
