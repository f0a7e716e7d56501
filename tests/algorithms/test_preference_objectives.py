"""The preference losses against hand numbers, one another, and theory."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms.objectives import (
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    kto_loss,
    log_odds,
    odds_ratio_loss,
    plackett_luce_loss,
    robust_dpo_loss,
    share_above,
)

numbers = st.floats(-8, 8, width=32)
flips = st.floats(0, 0.45)
rankings = st.integers(2, 6).flatmap(
    lambda k: st.tuples(st.lists(numbers, min_size=k, max_size=k), st.lists(st.integers(1, 4), min_size=k, max_size=k))
)


def one(x: float) -> torch.Tensor:
    return torch.tensor([x], requires_grad=True)


def slope(loss: torch.Tensor, x: torch.Tensor) -> float:
    return torch.autograd.grad(loss.sum(), x)[0].item()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_at_the_reference_is_log_2_and_by_hand_elsewhere() -> None:
    assert dpo_loss(torch.zeros(3)).tolist() == pytest.approx([math.log(2)] * 3)
    beta, policy, reference = 0.1, (-4.0, -7.0), (-5.0, -3.0)
    margin = beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
    assert margin == pytest.approx(0.5)
    assert dpo_loss(one(margin)).item() == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-6)
    assert dpo_loss(one(0.5), 0.2).item() == pytest.approx(0.8 * math.log(1 + math.exp(-0.5)) + 0.2 * math.log(1 + math.exp(0.5)), rel=1e-6)


@given(numbers, flips)
def test_dpos_gradient_is_the_weight_by_which_the_rewards_are_wrong(margin: float, smoothing: float) -> None:
    """Rafailov et al. 2023, section 4: the pair is weighed by sigmoid(r_worse - r_better); cDPO stands still where sigmoid(m) is 1 - e."""
    m = one(margin)
    assert slope(dpo_loss(m), m) == pytest.approx(-sigmoid(-margin), abs=1e-6)
    assert slope(dpo_loss(m, smoothing), m) == pytest.approx(sigmoid(margin) - (1 - smoothing), abs=1e-6)


@given(numbers, flips)
def test_swapping_the_two_sides_turns_the_margin_round(margin: float, smoothing: float) -> None:
    ahead, behind = one(margin), one(-margin)
    assert (dpo_loss(ahead) - dpo_loss(behind)).item() == pytest.approx(-margin, abs=1e-5)
    assert dpo_loss(ahead, smoothing).item() == pytest.approx(dpo_loss(behind, 1 - smoothing).item(), abs=1e-5)
    assert odds_ratio_loss(one(-1.0), one(-3.0)).item() - odds_ratio_loss(one(-3.0), one(-1.0)).item() == pytest.approx(
        (log_odds(one(-3.0)) - log_odds(one(-1.0))).item(), abs=1e-5
    )


@given(numbers, flips)
def test_robust_dpo_is_unbiased_under_flipped_labels(margin: float, rate: float) -> None:
    right, flipped = robust_dpo_loss(one(margin), rate).item(), robust_dpo_loss(one(-margin), rate).item()
    assert (1 - rate) * right + rate * flipped == pytest.approx(dpo_loss(one(margin)).item(), abs=1e-4)
    assert robust_dpo_loss(one(margin), 0.0).item() == dpo_loss(one(margin)).item()


@given(numbers, st.floats(0.05, 5))
def test_ipo_is_least_where_the_gap_is_half_of_one_over_tau(gap: float, tau: float) -> None:
    best = 1 / (2 * tau)
    assert ipo_loss(torch.zeros(1), tau).item() == pytest.approx(1 / (4 * tau**2), rel=1e-5)
    assert ipo_loss(one(best), tau).item() == pytest.approx(0.0, abs=1e-9)
    g = one(gap)
    assert slope(ipo_loss(g, tau), g) == pytest.approx(2 * (gap - best), abs=1e-4)


def test_odds_by_hand_and_finite_where_a_response_is_certain() -> None:
    assert log_odds(torch.log(torch.tensor([0.5, 0.8]))).tolist() == pytest.approx([0.0, math.log(4)], abs=1e-6)
    by_hand = -math.log(sigmoid(math.log(4) - math.log(0.25)))
    assert odds_ratio_loss(one(math.log(0.8)), one(math.log(0.2))).item() == pytest.approx(by_hand, rel=1e-5)
    for certain in (0.0, -1e-9, -60.0):
        x = one(certain)
        assert math.isfinite(odds_ratio_loss(x, one(-1.0)).item())
        assert math.isfinite(slope(odds_ratio_loss(x, one(-1.0)), x))


@given(numbers, numbers)
def test_plackett_luce_of_two_is_dpo(better: float, worse: float) -> None:
    rewards = torch.tensor([worse, better])
    assert plackett_luce_loss(rewards, torch.tensor([2, 1])).item() == pytest.approx(dpo_loss(one(better - worse)).item(), abs=1e-5)


def test_plackett_luce_at_the_reference_counts_the_orders() -> None:
    for k in range(2, 8):
        assert plackett_luce_loss(torch.zeros(k), torch.arange(k) + 1).item() == pytest.approx(
            math.log(math.factorial(k)) / (k - 1), rel=1e-5
        )


def test_plackett_luce_is_a_distribution_over_orders() -> None:
    rewards = torch.tensor([0.3, -1.2, 2.0, 0.7])
    orders = [torch.tensor(order) for order in itertools.permutations([1, 2, 3, 4])]
    assert sum(math.exp(-3 * plackett_luce_loss(rewards, order).item()) for order in orders) == pytest.approx(1.0, abs=1e-5)


@given(rankings, numbers)
def test_plackett_luce_sees_differences_alone_and_no_order_of_the_page(ranking: tuple[list[float], list[int]], shift: float) -> None:
    rewards, ranks = torch.tensor(ranking[0]), torch.tensor(ranking[1])
    turned = torch.randperm(len(ranks), generator=torch.Generator().manual_seed(0))
    for ties in (False, True):
        loss = plackett_luce_loss(rewards, ranks, ties=ties).item()
        assert loss >= 0
        assert plackett_luce_loss(rewards + shift, ranks, ties=ties).item() == pytest.approx(loss, abs=1e-4)
        assert plackett_luce_loss(rewards[turned], ranks[turned], ties=ties).item() == pytest.approx(loss, abs=1e-4)


def test_tied_responses_are_let_be_or_drawn_together() -> None:
    rewards = torch.tensor([1.0, -1.0], requires_grad=True)
    tied = torch.tensor([1, 1])
    assert plackett_luce_loss(rewards, tied).item() == 0.0
    (pull,) = torch.autograd.grad(plackett_luce_loss(rewards, tied, ties=True), rewards)
    assert pull[0] > 0 > pull[1]
    three = torch.tensor([1.0, -1.0, 0.0], requires_grad=True)
    (push,) = torch.autograd.grad(plackett_luce_loss(three, torch.tensor([1, 1, 2])), three)
    by_hand = (-sigmoid(-1.0) / 2, -sigmoid(1.0) / 2, (sigmoid(-1.0) + sigmoid(1.0)) / 2)
    assert push.tolist() == pytest.approx(by_hand, abs=1e-6)


@given(rankings)
def test_without_ties_two_responses_make_all_losses_of_a_ranking_one(ranking: tuple[list[float], list[int]]) -> None:
    rewards, ranks = torch.tensor(ranking[0])[:2], torch.tensor([1, 2])
    pair = dpo_loss(rewards[:1] - rewards[1:]).item()
    assert bradley_terry_loss(rewards, ranks).item() == pytest.approx(pair, abs=1e-6)
    assert plackett_luce_loss(rewards, ranks).item() == pytest.approx(pair, abs=1e-5)


def kto(ratio: float, up: bool, kl: float = 0.0, beta: float = 0.1, weight: float = 1.0) -> tuple[float, float]:
    r = one(ratio)
    loss = kto_loss(r, torch.tensor([up]), torch.tensor(kl), beta, torch.tensor([weight]))
    return loss.item(), slope(loss, r)


def test_kto_at_the_reference_is_half_and_far_away_its_bounds() -> None:
    for up in (True, False):
        assert kto(0.0, up)[0] == 0.5
        assert kto(0.0, up, weight=3.0)[0] == 1.5
        assert kto(3.0, up, kl=3.0)[0] == 0.5
    assert kto(2000.0, True)[0] == pytest.approx(0.0) == kto(-2000.0, False)[0]
    assert kto(-2000.0, True, weight=2.0)[0] == pytest.approx(2.0) == kto(2000.0, False, weight=2.0)[0]
    assert kto(4.0, True, kl=1.5, beta=0.2)[0] == pytest.approx(1 - sigmoid(0.2 * 2.5), rel=1e-6)
    assert kto(4.0, False, kl=1.5, beta=0.2)[0] == pytest.approx(1 - sigmoid(-0.2 * 2.5), rel=1e-6)


@given(numbers, st.floats(0, 5), st.booleans())
def test_ktos_gradient_is_steepest_at_the_reference_point(ratio: float, kl: float, up: bool) -> None:
    value = sigmoid(0.5 * (ratio - kl))
    assert kto(ratio, up, kl, 0.5)[1] == pytest.approx((-1 if up else 1) * 0.5 * value * (1 - value), abs=1e-5)
    assert kto(ratio, up, kl, 0.5)[0] + kto(ratio, not up, kl, 0.5)[0] == pytest.approx(1.0, abs=1e-5)


def test_not_knowing_is_one_half() -> None:
    assert share_above(torch.zeros(4), torch.zeros(4)) == 0.5
    assert share_above(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])) == 0.5
    assert share_above(torch.tensor([]), torch.tensor([])) == 0.0
