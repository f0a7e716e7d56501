"""`accord ppo`: a policy and a critic that plain transformers opens, where it started, resuming, and models it cannot use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, SAMPLED, SHORT, SMALL, copied, learned, lineage_of, plain_model, plain_scores, written
from tiny import chat, llama, scalar, sequences

from accord.commands.train.ppo import ppo
from accord.errors import InputError, ModelError
from accord.feedback.store import Store
from accord.models.folders import save_model
from accord.runtime.project import Project
from accord.settings import PpoConfig

CONFIG = PpoConfig(**SMALL, steps=2, truncation="terminate", ptx_coef=0.5, ptx_tokens=64, value_lr=1e-2)


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_a_policy_and_its_critic_that_started_at_the_sft_and_reward_models(rank: int, town: Project) -> None:
    config = PpoConfig(**SMALL, steps=2, truncation="terminate", ptx_coef=0.5, ptx_tokens=64, value_lr=1e-2, lora_rank=rank)
    run = ppo(town, name="tuned", config=config, flags=FLAGS)
    assert run.summary.keys() == SAMPLED
    first, second = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    assert first["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert second["kl_k3"] > 1e-6
    plain_model(town.model("tuned"))
    learned(town, "tuned")
    rows = sequences([9, 5], vocab=300)
    assert plain_scores(town.model("tuned-value"), rows) != plain_scores(town.model("reward"), rows)
    for model in ("tuned", "tuned-value"):
        lineage = lineage_of(town, model, run="tuned", parents=["sft", "reward"], snapshots=["prompts"])
        assert lineage["stage"] == "ppo"
        assert lineage["settings"]["paths"] == run.paths == {"model": "fused", "critic": "fused", "reward": "fused"}


def test_a_finished_run_is_resumed_by_doing_nothing(town: Project, typed: Any) -> None:
    words = ["ppo", town.path, "--steps", 1, "--batch-size", 6, "--minibatch-size", 3, "--max-tokens", 4, "--ptx-coef", 0]
    words += ["--dtype", "float32"]
    summary, files = typed(*words), written(town, "ppo")
    assert typed(*words, "--resume") == summary
    assert written(town, "ppo") == files


def test_a_reward_model_of_another_tokenizer_rewards_and_the_critic_starts_as_the_sft_model(town: Project, tmp_path: Path) -> None:
    made = copied(town, tmp_path / "with-stranger")
    save_model(made.model("stranger"), scalar(llama(vocab=310)), chat(310).tokenizer)
    run = ppo(made, name="tuned", reward="stranger", config=CONFIG, flags=FLAGS)
    assert "the critic starts as the SFT model" in (run.folder / "log.txt").read_text()
    assert (made.model("tuned-value") / "model.safetensors").exists()
    assert lineage_of(made, "tuned", parents=["sft", "stranger"], snapshots=["prompts"])["stage"] == "ppo"


def test_ppo_runs_on_a_function_alone(project: Project, tmp_path: Path) -> None:
    made = copied(project, tmp_path / "alone")
    (made.path / "town_short.py").write_text(SHORT)
    config = replace(CONFIG, rewards="town_short:short", steps=3)
    run = ppo(made, name="tuned", config=config, flags=FLAGS)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row["reward.town_short:short"] == pytest.approx(row["reward"]) for row in rows)
    plain_model(made.model("tuned"))
    plain_scores(made.model("tuned-value"), sequences([9, 5], vocab=300))
    assert lineage_of(made, "tuned", parents=["sft"], snapshots=["prompts"])["stage"] == "ppo"


def test_a_reward_model_that_is_missing_is_refused(project: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        ppo(project, config=CONFIG, flags=FLAGS)
    assert not project.run("ppo").exists()


def test_a_project_without_training_prompts_is_refused(town: Project) -> None:
    (town.path / "feedback.db").unlink()
    Store.open(town.store_url).__exit__()
    with pytest.raises(InputError, match="the store has no training prompts"):
        ppo(town, config=CONFIG, flags=FLAGS)
    assert not town.run("ppo").exists()
