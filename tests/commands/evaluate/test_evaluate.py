"""`accord evaluate` on trained models: summary.json, answers side by side, and the prompts that it shares with every other command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluated import Answered, Typed, samples

from accord.commands.app import Compute
from accord.commands.data.problems import problems
from accord.commands.evaluate.algorithms_ground import open_ground
from accord.commands.evaluate.compare import compare
from accord.commands.evaluate.evaluate import evaluate
from accord.commands.evaluate.held_out import held_out_prompts, held_out_prompts_by_id
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import AlgorithmsConfig, CompareConfig, EvaluateConfig, ProblemsConfig

FEW = ("--best-of", "4", "--draws", "2", "--max-tokens", "12", "--bootstrap", "50", "--dtype", "float32")


def test_the_summary_has_every_metric_under_its_fixed_name(answered: Answered, town: Path) -> None:
    found = answered("evaluate", town, *FEW)
    assert found == json.loads((town / "summary.json").read_text("utf-8"))
    assert set(found["win_rate"]) == set(found["ties"]) == {"sft_vs_base", "ppo_vs_sft", "bon_vs_sft", "ppo_vs_bon"}
    assert all(0 <= low <= mean <= high <= 1 for mean, low, high in found["win_rate"].values())
    assert set(found["kl"]) == {"ppo", "best_of_n"}
    assert found["kl"]["best_of_n"] == pytest.approx(np.log(4) - 3 / 4, abs=1e-3)
    assert set(found["alignment_tax"]) == {"sft", "ppo_ptx"}
    assert set(found["criteria"]) == {"base", "sft", "ppo", "best-of-n"}
    assert {"accuracy_gold", "accuracy_labelers", "accuracy_heldout_group", "noise_ceiling"} == set(found["reward_model"])
    assert {"base", "sft", "ppo", "evaluate", "total"} <= set(found["seconds"])
    with Store.open(Project.open(town).store_url) as store:
        everybody = ["\n".join(turn.content for turn in prompt.messages) for prompt in store.prompts(split="test")]
    rows = samples(town, "evaluate")
    assert [row["prompt"] for row in rows] == everybody, "in the order of ids, which batches follow"
    utility = np.mean([row["utilities"]["ppo"] for row in rows])
    assert utility == pytest.approx(found["criteria"]["ppo"]["utility"], abs=1e-3)


def test_as_many_prompts_are_the_same_prompts_for_every_command(town: Path) -> None:
    project, n = Project.open(town), 10
    sampled = {"best_of": 4, "draws": 1, "max_tokens": 16, "bootstrap": 10}
    evaluate(project, config=EvaluateConfig(prompts=n, **sampled), flags=Compute("float32"))
    compare(project, "sft", "ppo", config=CompareConfig(prompts=n, max_tokens=16, bootstrap=10), flags=Compute("float32"))
    ground = open_ground(project, AlgorithmsConfig(prompts=n, max_tokens=16), "base", "sft", "float32")
    by_algorithms = {"\n".join(turn.content for turn in prompt.messages) for prompt in ground.prompts}
    by_evaluate, by_compare = ({row["prompt"] for row in samples(town, name)} for name in ("evaluate", "compare"))
    assert by_evaluate == by_compare == by_algorithms
    assert len(by_compare) == n


def test_more_prompts_are_the_same_and_others(trained: Path) -> None:
    project = Project.open(trained)
    everybody = held_out_prompts(project)
    assert held_out_prompts(project, 10) == everybody[:10]
    assert held_out_prompts_by_id(project, 10) == sorted(everybody[:10], key=lambda prompt: prompt.id) != everybody[:10]
    assert {prompt.split for prompt in everybody} == {"test"}
    assert {prompt.user for prompt in everybody[:10]} != {everybody[0].user}


def test_prompts_that_the_gold_judge_does_not_know_are_left_to_other_judges(town: Path) -> None:
    project, small = Project.open(town), {"max_tokens": 4, "bootstrap": 10}
    before = {prompt.id for prompt in held_out_prompts(project)}
    problems(project, config=ProblemsConfig(count=40, solved=10))
    added = {prompt.id for prompt in held_out_prompts(project)} - before
    assert added, "arithmetic comes with held-out prompts of its own"
    config, flags = CompareConfig(prompts=0, **small), Compute("float32")
    by_gold = compare(project, "base", "sft", name="by-gold", config=config, flags=flags)
    assert by_gold["prompts"] == len(before)
    by_reward = compare(project, "base", "sft", by="reward", name="by-reward", config=config, flags=flags)
    assert by_reward["prompts"] == len(before | added)
    evaluate(project, config=EvaluateConfig(prompts=0, best_of=2, draws=1, **small), flags=Compute("float32"))


def test_tables_are_printed_and_a_second_run_of_the_name_is_refused(typed: Typed, town: Path) -> None:
    code, out, err = typed("evaluate", town, "--prompts", "8", *FEW)
    assert code == 0, err
    assert "who is preferred, by the gold judge" in out
    assert "KL to SFT: ppo" in out
    code, _, complaint = typed("evaluate", town, "--prompts", "8", *FEW)
    assert code == 1
    assert "--name" in complaint


def test_without_a_world_there_is_no_gold_judge(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no built-in world"):
        evaluate(Project.create(tmp_path / "bakery"))
