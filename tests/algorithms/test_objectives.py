"""The formulas against closed forms, hand numbers and exact enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms.objectives import (
    above,
    adapted_kl_coef,
    bradley_terry_loss,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    kl_estimate,
    kl_rewards,
    masked_mean,
    ranked_pairs,
    rao_kupper_loss,
    share_above,
    whiten,
)

numbers = st.floats(-5, 5, width=32)
ranks_of = st.lists(st.integers(1, 5), min_size=2, max_size=9)


@st.composite
def rows(draw: st.DrawFn, kept: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers [rows, steps] and which of them count."""
    n, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    x = torch.tensor(draw(st.lists(numbers, min_size=n * steps, max_size=n * steps))).view(n, steps)
    keep = torch.tensor(draw(st.lists(st.booleans(), min_size=n * steps, max_size=n * steps))).view(n, steps)
    keep.view(-1)[:kept] = True
    return x, keep


def scores_and_ranks(ranks: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(len(ranks), generator=torch.Generator().manual_seed(seed)), torch.tensor(ranks)


def test_the_loss_of_equal_scores_is_log_2_and_of_hand_numbers_as_by_hand() -> None:
    ranks = torch.tensor([2, 1, 3])
    assert bradley_terry_loss(torch.zeros(3), ranks).item() == pytest.approx(math.log(2))
    scores = torch.tensor([0.5, 2.0, -1.0])
    margins = [2.0 - 0.5, 2.0 - -1.0, 0.5 - -1.0]
    by_hand = sum(math.log(1 + math.exp(-margin)) for margin in margins) / 3
    assert bradley_terry_loss(scores, ranks).item() == pytest.approx(by_hand, rel=1e-6)


@given(ranks_of)
def test_pairs_are_those_of_the_enumeration(ranks: list[int]) -> None:
    (better, worse), tied = ranked_pairs(torch.tensor(ranks))
    pairs = list(itertools.combinations(range(len(ranks)), 2))
    expected = {(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in pairs if ranks[i] != ranks[j]}
    assert set(zip(better.tolist(), worse.tolist(), strict=True)) == expected
    assert len(better) == len(expected)
    assert {frozenset(pair) for pair in tied.T.tolist()} == {frozenset(p) for p in pairs if ranks[p[0]] == ranks[p[1]]}
    assert len(better) + tied.shape[1] == math.comb(len(ranks), 2)


@given(ranks_of)
def test_bradley_terry_is_the_mean_over_untied_pairs_one_by_one(ranks: list[int]) -> None:
    scores, ranks_t = scores_and_ranks(ranks)
    pairs = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    alone = [bradley_terry_loss(scores[[i, j]], torch.tensor([1, 2])).item() for i, j in pairs]
    assert bradley_terry_loss(scores, ranks_t).item() == pytest.approx(sum(alone) / len(alone) if alone else 0.0, abs=1e-5)


@given(ranks_of, numbers)
def test_only_differences_of_scores_matter(ranks: list[int], shift: float) -> None:
    scores, ranks_t = scores_and_ranks(ranks)
    assert bradley_terry_loss(scores + shift, ranks_t).item() == pytest.approx(bradley_terry_loss(scores, ranks_t).item(), abs=1e-5)


def test_a_prompt_that_is_all_ties_teaches_nothing() -> None:
    scores = torch.tensor([0.3, -0.7, 2.0], requires_grad=True)
    loss = bradley_terry_loss(scores, torch.tensor([1, 1, 1]))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@given(numbers, numbers, st.floats(-2, 2))
def test_rao_kuppers_three_probabilities_sum_to_1(a: float, b: float, threshold: float) -> None:
    scores, eta = torch.tensor([a, b]), torch.tensor(threshold)
    outcomes = [[1, 2], [2, 1], [1, 1]]
    total = sum(math.exp(-rao_kupper_loss(scores, torch.tensor(ranks), eta).item()) for ranks in outcomes)
    assert total == pytest.approx(1, abs=1e-5)


def test_rao_kupper_without_ties_and_with_a_tiny_threshold_is_bradley_terry() -> None:
    scores, ranks = scores_and_ranks([3, 1, 2, 4])
    assert rao_kupper_loss(scores, ranks, torch.tensor(-20.0)).item() == pytest.approx(bradley_terry_loss(scores, ranks).item(), abs=1e-5)


def test_ties_pull_tied_scores_together() -> None:
    scores = torch.tensor([1.5, -1.0], requires_grad=True)
    rao_kupper_loss(scores, torch.tensor([1, 1]), torch.tensor(0.0)).backward()
    assert scores.grad is not None
    assert scores.grad[0] > 0 > scores.grad[1]


@given(rows())
def test_what_is_not_kept_has_no_influence(x_keep: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, keep = x_keep
    spoilt = x.masked_fill(~keep, float("nan"))
    assert masked_mean(spoilt, keep).item() == pytest.approx(x[keep].mean().item(), abs=1e-5)
    assert torch.equal(whiten(spoilt, keep), whiten(x, keep))
    zeros = torch.zeros(len(x))
    for one, other in zip(gae(spoilt, spoilt, keep, zeros, 0.9, 0.8), gae(x, x, keep, zeros, 0.9, 0.8), strict=True):
        assert torch.equal(one, other)


@given(rows(kept=2))
def test_whitened_numbers_have_mean_0_and_biased_variance_1(x_keep: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, keep = x_keep
    if keep.sum() < 2 or x[keep].std() < 1e-2:
        return
    kept = whiten(x, keep)[keep]
    assert kept.mean().item() == pytest.approx(0, abs=1e-3)
    assert kept.var(unbiased=False).item() == pytest.approx(1, abs=1e-3)
    unshifted = whiten(x, keep, shift=False)[keep]
    assert torch.allclose(unshifted * x[keep].std(unbiased=False), x[keep], atol=1e-3)


@given(rows())
def test_a_rows_rewards_sum_to_its_score_minus_beta_times_its_kl(kl_keep: tuple[torch.Tensor, torch.Tensor]) -> None:
    kl, keep = kl_keep
    keep = keep.sort(1, descending=True).values  # a response's tokens come first
    scores = torch.arange(len(kl)).float() + 1
    rewards = kl_rewards(scores, kl, keep, 0.3)
    some = keep.any(1)
    assert torch.allclose(rewards.sum(1), torch.where(some, scores, 0.0) - 0.3 * (kl * keep).sum(1), atol=1e-5)
    assert not rewards[~keep].any()


def test_the_score_stands_on_the_last_kept_token() -> None:
    keep = torch.tensor([[True, True, False], [True, True, True]])
    rewards = kl_rewards(torch.tensor([5.0, 7.0]), torch.ones(2, 3), keep, 0.5)
    assert rewards.tolist() == [[-0.5, 4.5, 0.0], [-0.5, -0.5, 6.5]]


@given(rows())
def test_gae_with_gamma_and_lambda_1_is_the_sum_of_what_follows_minus_the_value(r_keep: tuple[torch.Tensor, torch.Tensor]) -> None:
    rewards, keep = r_keep
    values = rewards.flip(1) * 0.5
    advantages, returns = gae(rewards, values, keep, torch.zeros(len(rewards)), 1.0, 1.0)
    to_go = (rewards * keep).flip(1).cumsum(1).flip(1)
    assert torch.allclose(advantages, (to_go - values) * keep, atol=1e-4)
    assert torch.allclose(returns, to_go * keep, atol=1e-4)


def test_gae_under_a_constant_value_and_no_reward_is_the_closed_recursion() -> None:
    steps, gamma, lam, c = 6, 0.9, 0.7, 2.0
    keep = torch.ones(1, steps, dtype=torch.bool)
    advantages, _ = gae(torch.zeros(1, steps), torch.full((1, steps), c), keep, torch.full((1,), c), gamma, lam)
    delta = (gamma - 1) * c
    closed = [delta * (1 - (gamma * lam) ** (steps - t)) / (1 - gamma * lam) for t in range(steps)]
    assert advantages[0].tolist() == pytest.approx(closed, rel=1e-5)


def test_gae_with_lambda_0_is_the_one_step_error() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.25, -1.0]])
    advantages, _ = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), torch.tensor([4.0]), 0.5, 0.0)
    assert advantages.tolist() == [[1 + 0.125 - 0.5, 2 - 0.5 - 0.25, 3 + 2 + 1]]


def test_the_policy_loss_is_flat_where_a_step_would_go_too_far_and_only_there() -> None:
    log_ratio = torch.tensor([math.log(1.5), math.log(0.5), math.log(1.5), math.log(0.5)], requires_grad=True)
    loss = clipped_policy_loss(log_ratio, torch.zeros(4), torch.tensor([1.0, -1.0, -1.0, 1.0]), 0.2)
    assert loss.tolist() == pytest.approx([-1.2, 0.8, 1.5, -0.5])
    loss.sum().backward()
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == pytest.approx([0, 0, 1.5, -0.5])


def test_the_value_loss_is_half_the_larger_of_the_two_squares() -> None:
    values, old, returns = torch.tensor([1.0, 1.0, 0.1]), torch.tensor([0.0, 2.0, 0.0]), torch.tensor([1.0, 0.0, 1.0])
    by_hand = [max(0.0, 0.8**2) / 2, max(1.0, 1.8**2) / 2, 0.9**2 / 2]
    assert clipped_value_loss(values, old, returns, 0.2).tolist() == pytest.approx(by_hand)
    assert clipped_value_loss(values, old, returns, 0.0).tolist() == pytest.approx([0, 0.5, 0.405])


def five_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(5, generator=generator).log_softmax(0), torch.randn(5, generator=generator).log_softmax(0)


def test_k1_and_k3_are_unbiased_and_k2_and_k3_are_never_negative() -> None:
    p, q = five_tokens()
    exact = (p.exp() * (p - q)).sum().item()
    expected = {name: (p.exp() * kl_estimate(p - q, name)).sum().item() for name in ("k1", "k2", "k3")}
    assert expected["k1"] == pytest.approx(exact, rel=1e-5)
    assert expected["k3"] == pytest.approx(exact, rel=1e-5)
    assert expected["k2"] != pytest.approx(exact, rel=1e-2)
    assert kl_estimate(p - q, "k1").min() < 0
    assert kl_estimate(p - q, "k2").min() >= 0
    assert kl_estimate(p - q, "k3").min() >= 0


def test_an_unknown_estimator_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'k4'"):
        kl_estimate(torch.zeros(1), "k4")


@given(st.floats(0.01, 50), st.floats(0.5, 20), st.integers(1, 512))
def test_the_controller_moves_towards_the_target_and_never_by_more_than_a_fifth(kl: float, target: float, episodes: int) -> None:
    after = adapted_kl_coef(0.1, kl, target, episodes, 1000)
    assert (after - 0.1) * (kl - target) >= 0
    assert abs(after / 0.1 - 1) <= 0.2 * episodes / 1000 + 1e-9


def test_the_controller_by_hand() -> None:
    assert adapted_kl_coef(0.1, 6.6, 6.0, 100, 1000) == pytest.approx(0.1 * (1 + 0.1 * 0.1))


def test_explained_variance_of_the_truth_is_1_and_of_the_mean_0() -> None:
    returns, keep = torch.tensor([[1.0, 2.0, 4.0, 99.0]]), torch.tensor([[True, True, True, False]])
    assert explained_variance(returns, returns, keep) == pytest.approx(1)
    assert explained_variance(torch.full_like(returns, 7 / 3), returns, keep) == pytest.approx(0, abs=1e-6)


def test_equal_sides_count_half_and_nothing_else_does() -> None:
    assert share_above(torch.tensor([2.0, 1.0]), torch.tensor([1.5, 1.0])) == 0.75
    assert share_above(torch.tensor([2.0, 1.0]), torch.tensor([1.5, 1.0]), tie=1.0) == 0.5
    assert above(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.5, 1.0, 1.0])).tolist() == [1.0, 0.5, 0.0]
