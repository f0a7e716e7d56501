"""`accord ppo`: a policy and a critic that plain transformers opens, where it started, resuming, and models it cannot use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import FLAGS, SAMPLED, SMALL, learned, lineage_of, plain_model, plain_scores, written
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


def test_a_reward_model_of_another_tokenizer_is_refused(town: Project) -> None:
    save_model(town.model("stranger"), scalar(llama(vocab=310)), chat(310).tokenizer)
    with pytest.raises(ModelError, match=r"its tokenizer \(310 entries\) is not that of sft \(300\)"):
        ppo(town, reward="stranger", config=CONFIG, flags=FLAGS)
    assert not town.run("ppo").exists()
    assert not town.model("ppo").exists()


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
