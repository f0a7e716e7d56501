"""Fairness in the reward model's loss, by numbers that are counted by hand: weights of groups, the worst group, and the limit on swaps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import FP32, llama, metrics, same, scalar, sequences, weights

from accord.algorithms import reward
from accord.algorithms.objectives import group_weights, lagrange_multiplier
from accord.algorithms.reward import Fairness, RankedRows, score_rows
from accord.runtime.runs import Run
from accord.settings import RewardConfig


def test_a_group_gains_weight_by_the_exponential_of_its_loss() -> None:
    moved = group_weights(torch.tensor([0.5, 0.5]), torch.tensor([math.log(2), 0.0]), 1.0)
    assert moved.tolist() == pytest.approx([2 / 3, 1 / 3])
    absent = group_weights(torch.tensor([0.25, 0.75]), torch.tensor([math.nan, math.log(3)]), 1.0)
    assert absent.tolist() == pytest.approx([0.1, 0.9])
    assert group_weights(torch.tensor([0.2, 0.8]), torch.tensor([5.0, 1.0]), 0.0).tolist() == pytest.approx([0.2, 0.8])


def test_a_multiplier_rises_with_the_excess_and_stays_above_0() -> None:
    assert lagrange_multiplier(0.0, 0.3, 0.1, 0.5) == pytest.approx(0.1)
    assert lagrange_multiplier(0.1, 0.05, 0.1, 0.5) == pytest.approx(0.075)
    assert lagrange_multiplier(0.01, 0.0, 0.1, 0.5) == 0.0


def gradients(model: object) -> list[torch.Tensor]:
    parameters: list[torch.nn.Parameter] = list(model.parameters())  # type: ignore[attr-defined]
    found = [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in parameters]
    for each in parameters:
        each.grad = None
    return found


def test_a_ranking_of_weight_2_counts_twice_and_one_of_0_not_at_all() -> None:
    model = scalar(llama(), 3)
    rows = sequences([7, 9, 5, 6], seed=4)
    first, second = RankedRows(rows[:2], [1, 2]), RankedRows(rows[2:], [2, 1])
    reward._accumulate(model, [first, first, second], None, 10_000, FP32)
    thrice = gradients(model)
    reward._accumulate(model, [RankedRows(rows[:2], [1, 2], weight=2.0), second], None, 10_000, FP32)
    for one, other in zip(thrice, gradients(model), strict=True):
        assert torch.allclose(3 * one, 2 * other, atol=1e-5)
    reward._accumulate(model, [first], None, 10_000, FP32)
    alone = gradients(model)
    reward._accumulate(model, [first, RankedRows(rows[2:], [2, 1], weight=0.0)], None, 10_000, FP32)
    for one, other in zip(alone, gradients(model), strict=True):
        assert torch.allclose(one, 2 * other, atol=1e-5)


@pytest.mark.parametrize("micro_tokens", [10_000, 16])
def test_the_loss_is_that_of_the_ranking_and_the_gap_of_its_twin_one_to_the_multiplier(micro_tokens: int) -> None:
    model = scalar(llama(), 3)
    rows = sequences([7, 9, 8, 6, 5], seed=4)
    twin = RankedRows(rows[:2], [1, 2], swapped=((1, rows[2]),))
    other = RankedRows(rows[3:], [1, 2])
    a, b, c, d, e = score_rows(model, rows, dtype=FP32).tolist()
    fairness = Fairness(limit=0.1, rate=0.5, multiplier=3.0)
    losses, _ = reward._accumulate(model, [twin, other], None, micro_tokens, FP32, fairness)
    ranked = (math.log1p(math.exp(b - a)) + math.log1p(math.exp(e - d))) / 2
    assert float(sum(losses)) == pytest.approx((ranked + 3 * abs(b - c)) / 4, abs=1e-5)
    assert fairness.gaps == pytest.approx([abs(b - c)], abs=1e-5)
    moved = fairness.step([twin, other], torch.tensor([a, b, d, e]), torch.tensor(fairness.gaps))
    assert moved == {"swap_gap": pytest.approx(abs(b - c), abs=1e-5), "swap_multiplier": 3.0}
    assert fairness.multiplier == pytest.approx(3 + 0.5 * (abs(b - c) - 0.1), abs=1e-5)


def test_the_group_with_the_higher_loss_weighs_more_and_weights_sum_to_the_number_of_groups() -> None:
    rankings = [RankedRows([[1], [2]], [1, 2], group="plain"), RankedRows([[3], [4]], [1, 2], group="strict")]
    fairness = Fairness.of(RewardConfig(worst_group=1.0), rankings)
    moved = fairness.step(rankings, torch.tensor([0.0, 0.0, 0.0, 50.0]), torch.zeros(0))
    # losses ln 2 and 50: weights 2 and e^50 of their sum
    assert moved["group_weight.strict"] == pytest.approx(2.0)
    assert moved["group_weight.plain"] + moved["group_weight.strict"] == pytest.approx(2.0)
    assert fairness.weight(rankings[0]) < 0.01
    fairness.step(rankings, torch.tensor([0.0, 0.0, 0.0, 500.0]), torch.zeros(0))
    assert fairness.weights["strict"] == pytest.approx(2.0), "a loss whose exponential no float32 holds"
    assert not Fairness.of(RewardConfig(), rankings).step(rankings, torch.zeros(4), torch.zeros(0))


def test_groups_are_weighed_by_the_loss_that_is_learned() -> None:
    """A regression that is right is no loss, whatever its pairs say; a tie that is modelled is one."""
    rated = [RankedRows([[1], [2]], [1, 2], group=name, worths=(0.1, 0.0)) for name in ("off", "right")]
    moved = Fairness.of(RewardConfig(worst_group=1.0), rated).step(rated, torch.tensor([2.1, 0.0, 0.1, 0.0]), torch.zeros(0))
    assert moved["group_weight.off"] / moved["group_weight.right"] == pytest.approx(math.exp(2.0))  # the mean of 2 squared and 0
    ranked = [RankedRows([[1], [2]], [1, 1], group="tied"), RankedRows([[1], [2]], [1, 2], group="plain")]
    moved = Fairness.of(RewardConfig(worst_group=1.0), ranked).step(
        ranked, torch.tensor([3.0, 0.0, 9.0, 0.0]), torch.zeros(0), torch.tensor(0.5)
    )
    assert moved["group_weight.tied"] > 2 * moved["group_weight.plain"]


def run_of(folder: Path, config: RewardConfig, *, resume: bool = False) -> Run:
    return Run.start(folder, stage="reward", config=config, inputs={}, resume=resume, seed=config.seed)


def test_training_with_a_limit_closes_the_gap_and_resumes_as_it_was(tmp_path: Path) -> None:
    config = RewardConfig(epochs=12, batch_size=2, lr=1e-2, warmup_steps=0, swap_limit=0.02, swap_rate=2.0, worst_group=0.1, save_every=10)
    texts = sequences([7] * 12, seed=4)
    rankings = [RankedRows([texts[3 * i], texts[3 * i + 1]], [1, 2], swapped=((0, texts[3 * i + 2]),), group="ab"[i % 2]) for i in range(4)]
    found: dict[str, float] = {}
    for name, swapped in (("free", False), ("held", True)):
        model = scalar(llama(), 3)
        rows = [each if swapped else RankedRows(each.rows, each.ranks, group=each.group) for each in rankings]
        run = run_of(tmp_path / name, config)
        reward.train(config, model=model, rankings=rows, validation=(), demonstrations=(), run=run, dtype=FP32)
        pairs = torch.tensor([[texts.index(each.rows[0]), texts.index(each.swapped[0][1])] for each in rankings])
        scores = score_rows(model, texts, dtype=FP32)
        found[name] = float((scores[pairs[:, 0]] - scores[pairs[:, 1]]).abs().mean())
    assert found["held"] < 0.5 * found["free"]
    whole = weights(model)
    logged = metrics(run)
    assert logged[-1]["swap_multiplier"] > 0
    assert {"group_weight.a", "group_weight.b"} <= set(logged[-1])
    again = run_of(tmp_path / "held", config, resume=True)
    step, state = again.restore() or (0, {})
    assert step == 24
    assert state["fairness"]["multiplier"] > 0
    stopped = scalar(llama(), 3)
    reward.train(config, model=stopped, rankings=rankings, validation=(), demonstrations=(), run=again, dtype=FP32)
    assert same(weights(stopped), whole)
