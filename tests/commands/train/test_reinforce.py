"""`accord reinforce`: a policy that plain transformers opens, where it started, resuming, and rewards it cannot be given."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import FLAGS, SAMPLED, SHORT, SMALL, learned, lineage_of, plain_model, written

from accord.commands.train.reinforce import reinforce
from accord.errors import InputError, ModelError
from accord.runtime.project import Project
from accord.settings import ReinforceConfig


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_a_policy_that_started_at_the_sft_model(rank: int, town: Project) -> None:
    config = ReinforceConfig(**SMALL, steps=2, truncation="terminate", lora_rank=rank)
    run = reinforce(town, config=config, flags=FLAGS)
    assert run.summary.keys() == SAMPLED
    first, second = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    assert first["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert second["kl_k3"] > 1e-6
    plain_model(town.model("reinforce"))
    learned(town, "reinforce")
    assert lineage_of(town, "reinforce", parents=["sft", "reward"], snapshots=["prompts"])["stage"] == "reinforce"


def test_a_python_reward_needs_no_reward_model_and_a_finished_run_is_resumed_by_doing_nothing(project: Project, typed: Any) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    words = ["reinforce", project.path, "--rewards", "town_short:short", "--steps", 1, "--batch-size", 6, "--minibatch-size", 3]
    words += ["--max-tokens", 4, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "reinforce")
    assert list(lineage_of(project, "reinforce", parents=["sft"], snapshots=["prompts"])["parents"]) == ["sft"]
    assert typed(*words, "--resume") == summary
    assert written(project, "reinforce") == files


@pytest.mark.parametrize(
    ("rewards", "kind", "part"), [("model", ModelError, "no such model"), ("ratings", InputError, "the store has no rated responses")]
)
def test_a_reward_that_cannot_be_given_is_refused(rewards: str, kind: Any, part: str, project: Project) -> None:
    with pytest.raises(kind, match=part):
        reinforce(project, config=ReinforceConfig(**SMALL, rewards=rewards), flags=FLAGS)
    assert not project.run("reinforce").exists()
    assert not project.model("reinforce").exists()
