"""Rejection sampling on tiny models: what is chosen, what is learned, how far it went."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import READ_BY_THE_COMMAND, STOPS, by_default, improve, settings
from tiny import FP32, PROMPTS, VOCAB, ByFunction, llama, same, weights

from accord.algorithms.raft import selected
from accord.algorithms.rollouts import Drawn, draw, next_prompts
from accord.engine.local import LocalSampler
from accord.errors import RunError, UsageError
from accord.evaluation.statistics import best_of_n_kl
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Sampling
from accord.runtime.seeds import generator
from accord.settings import RaftConfig


def drawn(scores: list[float], finished: list[bool]) -> Drawn:
    rows = len(scores)
    keep = torch.ones(rows, 1, dtype=torch.bool)
    return Drawn([[2]] * rows, [[3]] * rows, torch.tensor(finished), torch.tensor(scores, dtype=FP32), keep, torch.zeros(rows, 1), {})


def test_the_best_finished_response_of_each_prompt_is_chosen() -> None:
    batch = drawn([1, 3, 9, 2, 2, 5], [True, True, False, True, True, False])
    assert selected(settings("raft", group_size=3), batch) == [1, 3]
    assert selected(settings("raft", group_size=3), drawn([1, 2, 3], [False] * 3)) == []


def test_expert_iteration_takes_all_that_are_good_enough() -> None:
    batch = drawn([1, 0, 1, 1], [True, True, True, False])
    assert selected(settings("raft", select="threshold", threshold=1.0), batch) == [0, 2]


def test_what_is_learned_becomes_likelier(tmp_path: Path) -> None:
    """A response is worth its share of tokens from the upper half of the vocabulary."""
    scorer = ByFunction(lambda row: sum(token >= 30 for token in row) / len(row))
    asked: dict[str, Any] = {"rounds": 8, "batch_size": 16, "group_size": 8, "minibatch_size": 8, "lr": 3e-3}
    rows = improve(tmp_path, "raft", stop=range(45, 60), scorer=scorer, **asked).metrics
    assert sum(row["reward"] for row in rows[-2:]) / 2 > rows[0]["reward"] + 0.1
    assert rows[0]["kl_k1"] == pytest.approx(0, abs=1e-4)
    assert rows[-1]["kl_k3"] > 0.1


def test_its_loss_is_the_cross_entropy_of_what_was_chosen(tmp_path: Path) -> None:
    """One step of plain gradient on the chosen rows, found again by hand."""
    asked: dict[str, Any] = {"rounds": 1, "batch_size": 4, "minibatch_size": 4, "epochs": 1, "lr": 0.0, "group_size": 2}
    learned = improve(tmp_path, "raft", **asked)
    batch = draw(
        next_prompts(PROMPTS, 0, 4, seed=0, stage="raft"),
        n=2,
        sampler=LocalSampler(llama(1), stop=STOPS, dtype=FP32),
        scorer=ByFunction(by_default),
        sampling=Sampling(max_tokens=6),
        generator=generator(0, "raft", "rollout", 1),
    )
    chosen = selected(settings("raft", **asked), batch)
    flat, _ = logprobs(
        llama(1), pack([[*batch.prompts[i], *batch.responses[i]] for i in chosen], [len(batch.responses[i]) for i in chosen]), dtype=FP32
    )
    row = learned.metrics[0]
    assert row["loss"] == pytest.approx(-flat.mean().item(), rel=1e-5)
    assert row["chosen"] == len(chosen) > 0
    assert row["reward_chosen"] == pytest.approx(batch.scores[chosen].mean().item())
    assert same(weights(learned.policy), weights(llama(1)))


def test_kl_by_formula_and_by_estimate_stand_side_by_side(tmp_path: Path) -> None:
    row = improve(tmp_path, "raft", rounds=1, group_size=4).metrics[0]
    assert row["kl_best_of_n_formula"] == pytest.approx(best_of_n_kl(4), abs=1e-6)
    assert 0 < row["kl_best_of_n"] <= row["kl_best_of_n_formula"] + 1e-6


def test_a_restart_forgets_the_weights_but_not_the_samples(tmp_path: Path) -> None:
    asked = {"rounds": 1, "lr": 1e-2}
    once, twice = improve(tmp_path / "1", "raft", restart=True, **asked), improve(tmp_path / "2", "raft", **asked)
    assert same(weights(once.policy), weights(twice.policy)), "the first round starts from the SFT model either way"
    again, on = (improve(tmp_path / f"r{flag}", "raft", restart=flag, rounds=3, lr=1e-2) for flag in (True, False))
    assert again.state["updates"] < on.state["updates"]
    assert not same(weights(again.policy), weights(on.policy))


def test_a_round_with_nothing_to_learn_is_survived(tmp_path: Path) -> None:
    none = improve(tmp_path / "cut", "raft", stop=(VOCAB,), rounds=1)
    assert same(weights(none.policy), weights(llama(1)))
    assert none.metrics[0]["chosen"] == none.metrics[0]["loss"] == 0
    assert none.metrics[0]["reward_chosen"] is None
    poor = improve(tmp_path / "poor", "raft", select="threshold", threshold=99.0, rounds=1)
    assert same(weights(poor.policy), weights(llama(1)))


def test_sampler_and_trainer_that_disagree_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="raft round 1: sampler and trainer"):
        improve(tmp_path, "raft", logprob_gap=1e-12)


def test_the_best_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="raft: group_size is 1; the best of one response is no choice"):
        RaftConfig(group_size=1)
    assert RaftConfig(group_size=1, select="threshold").group_size == 1
    with pytest.raises(UsageError, match="rounds is 0"):
        RaftConfig(rounds=0)


CHANGES: dict[str, Any] = {
    "seed": 1, "rounds": 3, "batch_size": 5, "group_size": 3, "select": "threshold", "restart": True, "epochs": 1, "minibatch_size": 2,
    "lr": 1e-3, "muon_lr": 1e-2, "warmup_steps": 20, "warmup_share": 0.5, "temperature": 0.5, "max_tokens": 3,
    "max_grad_norm": 1e-2, "micro_tokens": 1, "save_every": 2,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
}  # fmt: skip
OF_THE_STAGE = READ_BY_THE_COMMAND | {"threshold"}


def outcome(folder: Path, **asked: Any) -> Any:
    learned = improve(folder, "raft", **{"lr": 2e-2, **asked})
    return [weights(learned.policy), learned.metrics, (learned.run.folder / "samples.jsonl").read_text().count("\n")]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(tmp_path_factory.mktemp("raft"))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, unchanged: Any, tmp_path: Path) -> None:
    assert {field.name for field in fields(RaftConfig)} == CHANGES.keys() | OF_THE_STAGE
    if name == "warmup_share":  # it bounds a warm-up that is longer
        assert not same(*(outcome(tmp_path / str(share), warmup_steps=20, warmup_share=share) for share in (0.0, CHANGES[name])))
    else:
        assert not same(outcome(tmp_path, **{name: CHANGES[name]}), unchanged)


def test_the_threshold_chooses(tmp_path: Path) -> None:
    low, high = (improve(tmp_path / str(t), "raft", select="threshold", threshold=t, rounds=1) for t in (2.0, 5.0))
    assert low.metrics[0]["chosen"] > high.metrics[0]["chosen"]
