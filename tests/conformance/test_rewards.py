"""T24 to T35 and T43: rewards, values, advantages, accumulation. docs/conformance.md names each law, and how each test was seen to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, PROMPTS, ByFunction, corpus, learn, llama, metrics, rng, same, scalar, sequences, weights
from torch import Tensor

from accord.algorithms import pretrain, reward, sft
from accord.algorithms.objectives import clipped_value_loss, gae, kl_rewards, whiten
from accord.algorithms.ppo import learning_targets
from accord.algorithms.reward import RankedRows, ranked_rows
from accord.algorithms.rollouts import Rollout, minibatches, next_prompts
from accord.algorithms.sft import Example
from accord.data.token_rows import RowWindow
from accord.models.folders import prepared, scalar_from
from accord.models.packing import pack
from accord.models.scalar import RewardModel, new_head, scores
from accord.runtime.runs import Run
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SftConfig


def test_t24_whitening_counts_kept_tokens_alone_and_one_token_divides_by_nothing() -> None:
    x, keep = torch.randn(3, 5, generator=rng(1)), torch.rand(3, 5, generator=rng(2)) > 0.4
    flat = x[keep]
    assert torch.allclose(whiten(x, keep)[keep], (flat - flat.mean()) / flat.std(unbiased=False), atol=1e-4)
    one = torch.zeros(1, 3, dtype=torch.bool)
    one[0, 1] = True
    assert whiten(torch.full((1, 3), 4.0), one).tolist() == [[0, 0, 0]]
    assert whiten(torch.full((1, 3), 4.0), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]


def test_t25_the_variance_is_the_biased_one() -> None:
    x, keep = torch.tensor([[1.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert whiten(x, keep).tolist() == [pytest.approx([1, -1], abs=1e-5)]
    assert "biased variance" in (whiten.__doc__ or "")


def episodes() -> Rollout:
    keep = torch.tensor([[True, True, True], [True, True, False]])
    zeros = torch.zeros(2, 3)
    values = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]])
    finished, after = torch.tensor([True, False]), torch.tensor([9.0, 0.75])
    return Rollout([[2], [3]], [[5, 6, 1], [7, 8]], finished, torch.tensor([2.0, 5.0]), keep, zeros, zeros, values, after, 1.0, 0.0)


def test_t26_rewards_are_whitened_only_when_asked() -> None:
    assert PpoConfig().whiten_rewards is False
    plain = learning_targets(PpoConfig(), episodes(), 0.0).rewards
    assert plain.tolist() == [[0, 0, 2], [0, -3, 0]]
    scaled = learning_targets(PpoConfig(whiten_rewards=True), episodes(), 0.0).rewards
    assert scaled[0, 2] / scaled[1, 1] == pytest.approx(2 / -3)
    assert scaled[episodes().keep].std(unbiased=False).item() == pytest.approx(1, abs=1e-3)


def test_t27_a_cut_response_is_penalised_ended_bootstrapped_or_masked() -> None:
    found = {
        rule: learning_targets(PpoConfig(truncation=rule, lam=1.0, whiten_advantages=False, no_stop_reward=-3.0), episodes(), 0.0)  # type: ignore[arg-type]
        for rule in ("penalise", "terminate", "bootstrap", "mask")
    }
    assert {rule: targets.returns[1, 1].item() for rule, targets in found.items()} == {
        "penalise": -3,
        "terminate": 5,
        "bootstrap": 0.75,
        "mask": 0,
    }
    assert {rule: targets.keep[1].any().item() for rule, targets in found.items()} == dict.fromkeys(found, True) | {"mask": False}
    assert all(targets.returns[0].tolist() == [2, 2, 2] for targets in found.values())


def test_t28_gae_over_masked_tokens_is_gae_on_the_compressed_row() -> None:
    for seed in range(10):
        keep = torch.rand(4, 9, generator=rng(seed)) > 0.4
        rewards, values = torch.randn(4, 9, generator=rng(seed + 100)), torch.randn(4, 9, generator=rng(seed + 200))
        after = torch.randn(4, generator=rng(seed + 300))
        advantages, returns = gae(rewards, values, keep, after, 0.9, 0.8)
        for i in range(4):
            kept = keep[i]
            if kept.any():
                every = torch.ones(1, int(kept.sum()), dtype=torch.bool)
                alone = gae(rewards[i, kept][None], values[i, kept][None], every, after[i, None], 0.9, 0.8)
                assert torch.allclose(advantages[i, kept], alone[0][0], atol=1e-5)
                assert torch.allclose(returns[i, kept], alone[1][0], atol=1e-5)


def test_t29_the_reward_heads_spread_is_1_over_sqrt_d_plus_1_and_its_bias_0() -> None:
    head = new_head(4095, rng())
    assert head.std().item() == pytest.approx(1 / 64, rel=0.05)
    assert head.mean().item() == pytest.approx(0, abs=1e-3)
    model = scalar_from(llama(), new_head(16, rng(3)))
    assert torch.equal(model.score.weight, new_head(16, rng(3)))
    assert getattr(model.score, "bias", None) is None
    assert float(getattr(model.config, "reward_bias", 0.0)) == 0


def test_t30_value_clipping_is_in_reward_units_takes_the_worse_and_halves() -> None:
    values, old, returns = torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([10.0])
    assert clipped_value_loss(values, old, returns, 0.5).item() == pytest.approx((0.5 - 10) ** 2 / 2)
    assert clipped_value_loss(values, old, torch.tensor([0.0]), 0.5).item() == pytest.approx(9 / 2)
    for scale in (1.0, 7.0):
        loss = clipped_value_loss(values * scale, old, returns * scale, 0.5 * scale).item()
        assert loss == pytest.approx(scale**2 * (0.5 - 10) ** 2 / 2)


def test_t32_the_last_short_minibatch_counts(tmp_path: Path) -> None:
    assert sorted(i for rows in minibatches(5, 2, 1, seed=0, stage="ppo", step=1) for i in rows) == [0, 1, 2, 3, 4]
    seen = [tuple(p) for step in range(8) for p in next_prompts(PROMPTS, step * 5, 5, seed=0, stage="ppo")]
    assert sorted(seen) == sorted(tuple(p) for p in PROMPTS for _ in range(5))
    run = Run.start(tmp_path, stage="sft", config=SftConfig(), inputs={}, resume=False)
    examples = [Example(row, 3) for row in sequences([6] * 5)]
    sft.train(SftConfig(epochs=2, batch_size=2), model=llama(), examples=examples, validation=[], run=run, dtype=FP32)
    assert len(metrics(run)) == 6


def test_t33_training_scores_a_response_where_ppo_does() -> None:
    model = scalar(llama())
    prompt, responses = [5, 6, 7], [[8, 9, 1], [10, 11]]
    trained = ranked_rows(prompt, responses, [1, 2], RowWindow(256), "x")
    in_training = scores(model, pack(trained.rows), dtype=FP32)
    in_ppo = RewardModel(model, dtype=FP32).score([prompt, prompt], responses)
    assert torch.allclose(in_training, in_ppo, atol=1e-6)


def test_t34_t38_t39_seeds_reach_prompts_minibatches_and_engine(tmp_path: Path) -> None:
    runs = [learn(tmp_path / str(i), steps=1, seed=seed, prompts=[[5, 6, 7]]) for i, seed in enumerate((0, 0, 1))]  # nothing to shuffle
    samples = [(run.run.folder / "samples.jsonl").read_text() for run in runs]
    assert samples[0] == samples[1] != samples[2]
    assert runs[0].metrics == runs[1].metrics
    orders = [next_prompts(PROMPTS, 0, 8, seed=seed, stage="ppo") for seed in (0, 1)]
    assert orders[0] != orders[1]
    steps = [next_prompts(PROMPTS, start, 8, seed=0, stage="ppo") for start in (0, 8)]
    assert steps[0] != steps[1]


def test_t35_t36_eight_times_one_is_one_times_eight(tmp_path: Path) -> None:
    """Gradients accumulated over micro-batches of unequal length are those of the whole batch, the last short batch included."""
    examples = [
        Example(row, kept)
        for row, kept in zip(sequences([6, 20, 9, 14, 5, 11, 17, 8, 12, 7]), [2, 15, 3, 9, 1, 5, 12, 4, 8, 3], strict=True)
    ]
    figures: list[list[float]] = []
    smooth: dict[str, Any] = {"lr": 2e-2, "adam_epsilon": 1e-2}  # a plain step of AdamW turns the rounding of a zero into a whole step
    trained: list[dict[str, Tensor]] = []
    for micro in (1, 10_000):
        config = SftConfig(epochs=1, batch_size=8, micro_tokens=micro, warmup_steps=0, warmup_share=0.0, **smooth)
        run = Run.start(tmp_path / f"sft{micro}", stage="sft", config=config, inputs={}, resume=False)
        model = llama()
        sft.train(config, model=model, examples=examples, validation=[], run=run, dtype=FP32)
        trained.append(weights(model))
        assert len(metrics(run)) == 2
        figures.append([row[name] for row in metrics(run) for name in ("loss", "grad_norm")])
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    moved_alike(llama(), *trained)

    ppo = [learn(tmp_path / f"ppo{micro}", steps=1, minibatch_size=4, micro_tokens=micro, value_lr=2e-2, **smooth) for micro in (1, 10_000)]
    for name in ("policy_loss", "value_loss", "grad_norm", "ratio"):
        assert ppo[0].metrics[0][name] == pytest.approx(ppo[1].metrics[0][name], rel=1e-4, abs=1e-6), name
    moved_alike(llama(1), *(weights(learned.policy) for learned in ppo))
    moved_alike(scalar(llama(2), 3), *(weights(learned.value) for learned in ppo))


def moved_alike(start: Any, one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Assert that training moved every matrix of two models, and to within a thousandth of that to the same place."""
    assert one.keys() == other.keys()
    for name, before in weights(start).items():
        moved, apart = (one[name] - before).abs().max(), (one[name] - other[name]).abs().max()
        assert moved > 1e-3 or before.ndim < 2, name
        assert apart < 1e-5, name


def test_t35_reward_gradients_accumulate_over_prompts() -> None:
    rankings = [RankedRows(sequences([4, 9, 6], seed=i), [1, 2, 3]) for i in range(5)]
    found: list[tuple[float, list[Tensor]]] = []
    for micro in (1, 10_000):
        model = scalar(llama())
        losses, _ = reward._accumulate(model, rankings, None, micro, FP32)
        assert len(losses) == (5 if micro == 1 else 1)
        found.append((float(sum(losses)), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_t37_adams_epsilon_is_the_2019_codes(tmp_path: Path) -> None:
    state = learn(tmp_path, steps=1).state
    for name in ("policy_optimizers", "value_optimizers"):
        assert {group["eps"] for optimizer in state[name] for group in optimizer["param_groups"]} == {1e-5}


def test_t43_k_choose_2_is_one_forward_a_response_and_weight_1_over_the_pairs() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    lm = prepared(
        GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=64, eos_token_id=1, bos_token_id=1))
    )
    model, taken = scalar(lm), list[int]()
    model.base_model.register_forward_pre_hook(lambda _, __, words: taken.append(words["input_ids"].numel()), with_kwargs=True)
    rankings = [RankedRows(sequences([5, 7, 6, 9], seed=1), [2, 1, 4, 3]), RankedRows(sequences([8, 5], seed=2), [1, 2])]
    (loss,), _ = reward._accumulate(model, rankings, None, 10_000, FP32)
    assert taken == [sum(len(row) for ranking in rankings for row in ranking.rows)]
    by_hand = 0.0
    for ranking in rankings:
        found = scores(model, pack(ranking.rows), dtype=FP32).tolist()
        pairs = [(i, j) for i, a in enumerate(ranking.ranks) for j, b in enumerate(ranking.ranks) if a < b]
        by_hand += sum(torch.tensor(found[i] - found[j]).sigmoid().log().item() for i, j in pairs) / -len(pairs)
    assert loss.item() == pytest.approx(by_hand / 2, rel=1e-4)
    taken.clear()
    losses, _ = reward._accumulate(model, rankings, None, 15, FP32)
    assert sorted(taken) == [7, 7, 9, 9, 11, 11, 13], "a prompt that does not fit is scored in parts, each once more for its gradient"
    assert sum(losses).item() == pytest.approx(by_hand / 2, rel=1e-4)


def test_t07_scores_of_zero_rows_and_tokens_do_not_leak() -> None:
    keep = torch.zeros(1, 3, dtype=torch.bool)
    assert kl_rewards(torch.tensor([5.0]), torch.ones(1, 3), keep, 0.5).tolist() == [[0, 0, 0]]


def test_t38_the_data_order_is_the_seeds_and_skipping_finds_its_place(tmp_path: Path) -> None:
    _, text = corpus(tmp_path / "c")
    from itertools import islice

    one, again, other = (list(islice(text.batches(seed, 200), 6)) for seed in (0, 0, 1))
    assert one == again != other
    assert list(islice(text.batches(0, 200, skip=4), 2)) == one[4:]
    held = {tuple(row) for row in text.held_out()}
    assert held
    models = [pretrain.fresh(PretrainConfig(seed=seed, hidden_size=16, heads=2, layers=1, vocab_size=300), 300, 0, 5) for seed in (0, 0, 1)]
    assert same(weights(models[0]), weights(models[1]))
    assert not same(weights(models[0]), weights(models[2]))


def test_t29_ppo_starts_its_value_from_what_it_is_given(tmp_path: Path) -> None:
    learned = learn(tmp_path, value_lr=0.0, steps=1, scorer=ByFunction(len))
    assert same(weights(learned.value), weights(scalar(llama(2), 3)))
    run = Run.start(tmp_path / "r", stage="reward", config=RewardConfig(), inputs={}, resume=False)
    rankings = [RankedRows(sequences([4, 9, 6], seed=i), [1, 2, 3]) for i in range(4)]
    shown = sequences([7, 8, 5], seed=40)
    model = scalar(llama())
    reward.train(RewardConfig(batch_size=2), model=model, rankings=rankings, validation=[], demonstrations=shown, run=run, dtype=FP32)
    assert reward.score_rows(model, shown, dtype=FP32).mean().item() == pytest.approx(0, abs=1e-5)
    assert model.config.reward_bias != 0
