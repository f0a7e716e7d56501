"""Groupwise formulas by hand and by theory: gradients against enumeration of every episode of a small token MDP."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import rng

from accord.algorithms.groupwise_objectives import (
    best_of_n_kl,
    best_rows,
    extreme_pairs,
    group_advantages,
    leave_one_out_advantages,
    over_group_spread,
    overlong_penalty,
    response_sums,
    rewards_to_go,
    telling_groups,
    token_weights,
)
from accord.algorithms.objectives import clipped_policy_loss
from accord.evaluation import statistics

REWARDS = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0])


def test_group_advantages_by_hand() -> None:
    assert group_advantages(REWARDS, 3).tolist() == [-2, -1, 3, 0, 0, 0]
    assert leave_one_out_advantages(REWARDS, 3).tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5, 0, 0, 0])
    scaled = over_group_spread(group_advantages(REWARDS, 3), REWARDS, 3)
    assert scaled.tolist() == pytest.approx([x / (math.sqrt(7) + 1e-4) for x in (-2, -1, 3)] + [0, 0, 0])


numbers = st.floats(-100, 100, width=32)


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.lists(numbers, min_size=2 * n, max_size=2 * n))))
def test_advantages_of_a_group_sum_to_zero_and_forget_a_shift(drawn: tuple[int, list[float]]) -> None:
    n, values = drawn
    rewards = torch.tensor(values).double().float()
    for found in (group_advantages(rewards, n), leave_one_out_advantages(rewards, n)):
        assert found.view(-1, n).sum(1).tolist() == pytest.approx([0, 0], abs=1e-2)
    assert torch.allclose(group_advantages(rewards + 7, n), group_advantages(rewards, n), atol=1e-3)


def test_normalised_advantages_do_not_know_the_rewards_scale_and_the_plain_ones_do() -> None:
    rewards = torch.randn(12, generator=rng(1))
    small, large = (over_group_spread(group_advantages(r, 4), r, 4) for r in (rewards, 50 * rewards))
    assert torch.allclose(small, large, atol=1e-3)
    assert torch.allclose(group_advantages(50 * rewards, 4), 50 * group_advantages(rewards, 4), atol=1e-3)
    assert small.view(-1, 4).std(1).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_rewards_to_go_skip_what_is_not_kept() -> None:
    keep = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    rewards = torch.tensor([[1.0, 2.0, 4.0], [1.0, 99.0, 4.0], [9.0, 9.0, 9.0]])
    assert rewards_to_go(rewards, keep).tolist() == [[7, 6, 4], [5, 0, 4], [0, 0, 0]]


def test_groups_without_a_difference_tell_nothing() -> None:
    assert telling_groups(REWARDS, 3).tolist() == [True, False]


def test_overlong_responses_are_punished_along_the_buffer() -> None:
    lengths = torch.tensor([1, 12, 13, 14, 16])
    assert overlong_penalty(lengths, 16, 4).tolist() == pytest.approx([0, 0, -0.25, -0.5, -1])
    assert overlong_penalty(lengths, 16, 0).tolist() == [0] * 5


KEEP = torch.tensor([[True, True, True, True], [True, False, False, False]])


def test_token_weights_by_hand() -> None:
    assert token_weights(KEEP, "response", 10)[:, 0].tolist() == pytest.approx([1 / 8, 1 / 2])
    assert token_weights(KEEP, "token", 10)[:, 0].tolist() == pytest.approx([1 / 5, 1 / 5])
    assert token_weights(KEEP, "constant", 10)[:, 0].tolist() == pytest.approx([1 / 20, 1 / 20])
    assert token_weights(KEEP & False, "token", 10).sum() == 0
    with pytest.raises(ValueError, match="weighing 'words'"):
        token_weights(KEEP, "words", 10)


def test_only_the_mean_of_response_means_weighs_by_length() -> None:
    """The length bias that Dr. GRPO removes: with one advantage, a token of a long response counts less."""
    for how, alike in (("response", False), ("token", True), ("constant", True)):
        weights = token_weights(KEEP, how, 4)
        assert (weights[0, 0] == weights[1, 0]).item() is alike, how


def test_clip_higher_leaves_the_lower_side_alone() -> None:
    zero, ratio = torch.zeros(4), torch.tensor([0.5, 1.25, 1.5, 0.5]).log()
    advantages = torch.tensor([1.0, 1.0, 1.0, -1.0])
    assert clipped_policy_loss(ratio, zero, advantages, 0.2).tolist() == pytest.approx([-0.5, -1.2, -1.2, 0.8])
    assert clipped_policy_loss(ratio, zero, advantages, 0.2, 0.28).tolist() == pytest.approx([-0.5, -1.25, -1.28, 0.8])


# A token MDP of 5 tokens and at most 2 steps: token 0 ends the episode. Logits of the first and, for each first token, the second step.
EPISODES = [(0,), *((a, b) for a in range(1, 5) for b in range(5))]
KEPT = torch.tensor([[True, len(episode) > 1] for episode in EPISODES])
VALUES = torch.randn(len(EPISODES), generator=rng(5)) + 3


def logprobs_of(logits: torch.Tensor) -> torch.Tensor:
    """[episodes, 2] log-probability of each token of each episode under logits [6, 5]."""
    table = logits.log_softmax(-1)
    second = [table[1 + e[0], e[1]] if len(e) > 1 else torch.zeros(()) for e in EPISODES]
    return torch.stack([torch.stack([table[0, e[0]], s]) for e, s in zip(EPISODES, second, strict=True)])


def policy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, the probability of every episode, and the exact gradient of the expected reward."""
    logits = torch.randn(6, 5, generator=rng(6)).requires_grad_()
    chances = logprobs_of(logits).sum(1).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    return logits, chances.detach(), torch.autograd.grad((chances * VALUES).sum(), logits)[0]


def expected_gradient(estimate: Any, weigh: Any, n: int = 2) -> torch.Tensor:
    """Minus the gradient of the loss, averaged over every group of n episodes by its probability."""
    logits, chances, _ = policy()
    groups = torch.tensor(list(product(range(len(EPISODES)), repeat=n)))
    rewards, flat = VALUES[groups].flatten(), groups.flatten()
    new = logprobs_of(logits)[flat]
    losses = clipped_policy_loss(new, new.detach(), estimate(rewards, n)[:, None] * KEPT[flat], 0.2)
    chance = chances[groups].prod(1).repeat_interleave(n)
    return -torch.autograd.grad((losses * weigh(KEPT[flat], n) * chance[:, None]).sum(), logits)[0]


def summed(keep: torch.Tensor, n: int) -> torch.Tensor:
    """Dr. GRPO's constant, without its division by the limit: the sum over tokens, the mean over a group's rows."""
    return token_weights(keep, "constant", 1) * (len(keep) / n)


def by_length(keep: torch.Tensor, n: int) -> torch.Tensor:
    return token_weights(keep, "response", 1) * (len(keep) / n)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@pytest.mark.parametrize("n", [2, 3])
def test_leave_one_out_has_the_exact_policy_gradient(n: int) -> None:
    assert torch.allclose(expected_gradient(leave_one_out_advantages, summed, n), policy()[2], atol=1e-5)


@pytest.mark.parametrize("n", [2, 3])
def test_the_groups_mean_shrinks_the_gradient_and_nothing_else(n: int) -> None:
    assert torch.allclose(expected_gradient(group_advantages, summed, n), policy()[2] * (n - 1) / n, atol=1e-5)


def test_dividing_by_spread_or_length_turns_the_gradient() -> None:
    """Dr. GRPO's two biases: with neither the expected gradient points where the exact one does, with either it does not."""
    exact = policy()[2]
    assert cosine(expected_gradient(group_advantages, summed), exact) == pytest.approx(1, abs=1e-5)
    normalised = expected_gradient(lambda rewards, n: over_group_spread(group_advantages(rewards, n), rewards, n), summed)
    assert cosine(normalised, exact) < 0.999
    assert cosine(expected_gradient(group_advantages, by_length), exact) < 0.999


def test_a_response_as_one_action_has_the_same_gradient_on_policy() -> None:
    logits, chances, exact = policy()
    new = response_sums(logprobs_of(logits), KEPT)
    losses = clipped_policy_loss(new, new.detach(), VALUES, 0.2)
    assert torch.allclose(-torch.autograd.grad((losses * chances).sum(), logits)[0], exact, atol=1e-5)
    assert response_sums(torch.full((2, 4), -1.0), KEEP).tolist() == [-4, -1]


def test_the_best_of_each_group_is_its_highest_usable_one() -> None:
    usable = torch.tensor([True, True, False, True, True, True])
    assert best_rows(REWARDS, 3, usable).tolist() == [1, 3]
    assert best_rows(REWARDS, 3, torch.tensor([False] * 3 + [True] * 3)).tolist() == [3]


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_kl_of_best_of_n_is_the_formula_for_responses_that_are_never_drawn_twice(n: int) -> None:
    for logprobs in (torch.tensor([-math.inf, -40.0]), torch.zeros(0)):
        assert best_of_n_kl(logprobs, n) == pytest.approx(statistics.best_of_n_kl(n), abs=1e-9)


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("n", [2, 4, 16, 256])
def test_the_estimated_kl_lies_between_the_exact_one_and_the_formula(n: int, spread: float) -> None:
    chances = (spread * torch.randn(21, generator=rng(6))).softmax(0)
    order = VALUES.argsort()
    upto = chances[order].double().cumsum(0).clamp(max=1)
    best = upto**n - torch.cat([torch.zeros(1).double(), upto[:-1]]) ** n  # the chance that best-of-n gives each episode
    exact = torch.special.xlogy(best, best / chances[order]).sum().item()
    drawn = order[torch.multinomial(best, 4000, replacement=True, generator=rng(n))]
    estimate = best_of_n_kl(chances[drawn].log(), n)
    assert exact <= estimate + 0.05
    assert estimate <= statistics.best_of_n_kl(n) + 1e-9
    assert best_of_n_kl(torch.zeros(3), n) == pytest.approx(0, abs=1e-6)


def test_the_estimate_sees_that_two_responses_cannot_be_log_n_apart() -> None:
    """Where the formula goes on growing: a policy of two responses (Beirami et al. 2024)."""
    assert best_of_n_kl(torch.full((9,), math.log(0.5)), 1000) == pytest.approx(math.log(2))
    assert statistics.best_of_n_kl(1000) > 5


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=6), st.integers(2, 4))
def test_a_pair_is_the_best_and_the_worst_of_a_group_found_one_by_one(rewards: list[int], n: int) -> None:
    """Of each group the largest and the smallest reward, the first of equals; nothing where all are equal."""
    rows = [float(reward) for reward in rewards for _ in range(n)]
    for place in range(len(rows)):
        rows[place] += (place * 7) % 3
    expected: list[tuple[int, int]] = []
    for first in range(0, len(rows), n):
        group = range(first, first + n)
        best, worst = max(group, key=lambda i: rows[i]), min(group, key=lambda i: rows[i])
        if rows[best] > rows[worst]:
            expected.append((best, worst))
    found = extreme_pairs(torch.tensor(rows), n)
    assert list(zip(*found.tolist(), strict=True)) == expected


def test_equal_rewards_give_no_pair() -> None:
    assert extreme_pairs(torch.tensor([1.0, 1.0, 3.0, 2.0, 0.0, 0.0]), 2).tolist() == [[2], [3]]
    assert extreme_pairs(torch.zeros(6), 3).shape == (2, 0)
