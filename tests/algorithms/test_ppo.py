"""PPO's laws on tiny models: truncation rules, the ratio, standing still, early stops, the moving average, the pretraining mix."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import VOCAB, learn, llama, same, weights

from accord.algorithms.ppo import learning_targets
from accord.algorithms.rollouts import Rollout, rollout_metrics
from accord.errors import RunError
from accord.settings import PpoConfig


def rollout() -> Rollout:
    """Two episodes of three and two tokens; the second was cut."""
    keep = torch.tensor([[True, True, True], [True, True, False]])
    return Rollout(
        prompts=[[2, 3], [4]],
        responses=[[5, 6, 1], [7, 8]],
        finished=torch.tensor([True, False]),
        scores=torch.tensor([2.0, 5.0]),
        keep=keep,
        logprobs=torch.full((2, 3), -1.0) * keep,
        reference=torch.full((2, 3), -1.5) * keep,
        values=torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]]),
        after=torch.tensor([9.0, 0.75]),
        entropy=1.0,
        logprob_gap=0.0,
    )


def targets(rule: str, **settings: Any) -> Any:
    config = PpoConfig(truncation=rule, whiten_advantages=False, no_stop_reward=-3.0, **{"lam": 1.0, **settings})  # type: ignore[arg-type]
    return learning_targets(config, rollout(), beta=0.1)


def test_a_finished_row_is_the_same_under_every_rule() -> None:
    for rule in ("penalise", "terminate", "bootstrap", "mask"):
        found = targets(rule)
        assert found.rewards[0].tolist() == pytest.approx([-0.05, -0.05, 1.95]), rule
        assert found.returns[0].tolist() == pytest.approx([1.85, 1.9, 1.95]), rule


def test_penalise_gives_a_cut_row_the_fixed_reward() -> None:
    assert targets("penalise").rewards[1].tolist() == pytest.approx([-0.05, -3.05, 0])
    assert targets("penalise").returns[1].tolist() == pytest.approx([-3.1, -3.05, 0])


def test_terminate_gives_a_cut_row_its_score() -> None:
    assert targets("terminate").returns[1].tolist() == pytest.approx([4.9, 4.95, 0])


def test_bootstrap_gives_a_cut_row_the_value_after_it() -> None:
    found = targets("bootstrap", gamma=0.5)
    assert found.rewards[1].tolist() == pytest.approx([-0.05, -0.05, 0])
    assert found.returns[1].tolist() == pytest.approx([-0.05 + 0.5 * (-0.05 + 0.5 * 0.75), -0.05 + 0.5 * 0.75, 0])


def test_mask_leaves_a_cut_row_out() -> None:
    found = targets("mask")
    assert not found.keep[1].any()
    assert not found.rewards[1].any()
    assert not found.advantages[1].any()
    assert found.keep[0].all()


def test_the_kl_of_cut_rows_is_measured_though_they_are_masked() -> None:
    for rule in ("penalise", "terminate", "bootstrap", "mask"):
        measured = rollout_metrics(rollout(), targets(rule).kl)
        assert measured["kl_k1"] == pytest.approx((3 * 0.5 + 2 * 0.5) / 2), rule
        assert measured["kl_k3"] == pytest.approx((3 + 2) / 2 * (math.exp(-0.5) - 1 + 0.5)), rule


def test_a_batch_of_cut_rows_alone_is_survived(tmp_path: Path) -> None:
    learned = learn(tmp_path, stop=(VOCAB,), truncation="mask", steps=1)
    before = weights(llama(1))
    assert all(torch.allclose(tensor, before[name]) for name, tensor in weights(learned.policy).items())
    assert learned.metrics[0]["finished"] == 0


def test_at_learning_rate_0_nothing_moves_and_the_ratio_stays_1(tmp_path: Path) -> None:
    learned = learn(tmp_path, lr=0.0, value_lr=0.0, epochs=3)
    assert same(weights(learned.policy), weights(llama(1)))
    for row in learned.metrics:
        assert row["ratio"] == pytest.approx(1, abs=1e-4)
        assert row["clip_fraction"] == 0
        assert row["approx_kl"] == pytest.approx(0, abs=1e-6)
        assert row["kl_k1"] == pytest.approx(0, abs=1e-4)


def test_policy_and_value_learn_at_rates_of_their_own(tmp_path: Path) -> None:
    still = learn(tmp_path / "a", lr=0.0, value_lr=1e-2)
    assert same(weights(still.policy), weights(llama(1)))
    moving = learn(tmp_path / "b", lr=1e-2, value_lr=0.0)
    assert same(moving.state["value"]["score.weight"], learn(tmp_path / "c", lr=0.0, value_lr=0.0).state["value"]["score.weight"])
    assert not same(moving.state["policy"], weights(llama(1)))
    assert not same(still.state["value"], moving.state["value"])


def test_kl_stop_ends_a_rollouts_epochs(tmp_path: Path) -> None:
    free = learn(tmp_path / "a", lr=5e-2, epochs=4, steps=1)
    stopped = learn(tmp_path / "b", lr=5e-2, epochs=4, steps=1, kl_stop=1e-6)
    assert free.state["updates"] == 8
    assert 1 < stopped.state["updates"] < 8


def test_the_moving_average_follows_the_policy_and_is_what_comes_back(tmp_path: Path) -> None:
    decay, learned = 0.9, learn(tmp_path, ema=0.9, steps=1, minibatch_size=6, epochs=1, lr=1e-2)
    start, end = weights(llama(1)), learned.state["policy"]
    for name, tensor in learned.policy.named_parameters():
        assert torch.allclose(tensor, decay * start[name] + (1 - decay) * end[name], atol=1e-6)
        assert not torch.allclose(tensor, end[name], atol=1e-6)


def test_the_controller_raises_beta_while_the_kl_is_above_its_target(tmp_path: Path) -> None:
    learned = learn(tmp_path, kl_target=1e-3, kl_horizon=12, lr=5e-2, steps=3)
    betas = [row["kl_coef"] for row in learned.metrics]
    rows = learned.metrics
    assert betas[0] == PpoConfig().kl_coef
    for before, after, row in zip(betas, betas[1:], rows, strict=False):
        error = max(-0.2, min(0.2, row["kl_k1"] / 1e-3 - 1))
        assert after == pytest.approx(before * (1 + error * 6 / 12))


def test_the_pretraining_mix_teaches_raw_text(tmp_path: Path) -> None:
    losses = [row["ptx_loss"] for row in learn(tmp_path / "a", ptx_coef=27.8, lr=1e-2, steps=5).metrics]
    assert losses[-1] < losses[0] - 0.3
    assert learn(tmp_path / "b", ptx_coef=0.0, steps=1).metrics[0]["ptx_loss"] == 0


def test_sampler_and_trainer_that_disagree_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="ppo step 1: sampler and trainer"):
        learn(tmp_path, logprob_gap=1e-12)


def test_what_counts_in_the_loss_is_kept_and_nothing_else() -> None:
    """Garbage behind the kept tokens changes no target."""
    clean = rollout()
    junk = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
    spoilt = replace(clean, logprobs=clean.logprobs + junk, reference=clean.reference - junk, values=clean.values + junk)
    config = PpoConfig(whiten_rewards=True, truncation="terminate")
    one, other = learning_targets(config, clean, 0.1), learning_targets(config, spoilt, 0.1)
    assert torch.equal(one.rewards, other.rewards)
    assert torch.equal(one.advantages, other.advantages)
    assert torch.equal(one.kl, other.kl)
