"""Formulas of learning from several responses to a prompt, without a value model. Imports only torch.

Rows are prompt-major: the n responses of a prompt are adjacent, so that rewards [rows] are [prompts, n] laid end to end. ``keep`` is
True on tokens that count; values where it is False have no influence on any result.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def group_advantages(rewards: Float[Tensor, " rows"], n: int) -> Float[Tensor, " rows"]:
    """Return R_i minus the mean of its group (Shao et al. 2024, without the division, which is ``over_group_spread``).

    The mean contains R_i itself, so the expected gradient is (n - 1)/n times the policy gradient; each group sums to 0.
    """
    groups = rewards.view(-1, n)
    return (groups - groups.mean(1, keepdim=True)).flatten()


def leave_one_out_advantages(rewards: Float[Tensor, " rows"], n: int) -> Float[Tensor, " rows"]:
    """Return R_i minus the mean of its group's n - 1 other rewards, an unbiased baseline (Kool et al. 2019; Ahmadian et al. 2024)."""
    return group_advantages(rewards, n) * (n / (n - 1))


def over_group_spread(
    advantages: Float[Tensor, " rows"], rewards: Float[Tensor, " rows"], n: int, epsilon: float = 1e-4
) -> Float[Tensor, " rows"]:
    """Divide advantages by the standard deviation (unbiased variance) of their group's rewards, plus epsilon.

    This weights prompts by how little their rewards differ, which Dr. GRPO calls the difficulty bias (Liu et al. 2025, section 3.1).
    """
    return (advantages.view(-1, n) / (rewards.view(-1, n).std(1, keepdim=True) + epsilon)).flatten()


def rewards_to_go(rewards: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"]) -> Float[Tensor, "rows steps"]:
    """Return for each kept token the undiscounted sum of the row's token rewards from it onwards."""
    kept = rewards.masked_fill(~keep, 0.0)
    return kept.flip(1).cumsum(1).flip(1).masked_fill(~keep, 0.0)


def telling_groups(rewards: Float[Tensor, " rows"], n: int) -> Bool[Tensor, " prompts"]:
    """Return a mask of groups whose rewards differ; the others have advantages of 0 and teach nothing (Yu et al. 2025, section 3.2)."""
    groups = rewards.view(-1, n)
    return groups.amax(1) > groups.amin(1)


def overlong_penalty(lengths: Int[Tensor, " rows"], limit: int, buffer: int) -> Float[Tensor, " rows"]:
    """Return DAPO's soft punishment (Yu et al. 2025, equation 13): 0 up to limit - buffer tokens, then linearly down to -1 at the limit."""
    return -((lengths - (limit - buffer)) / max(buffer, 1)).clamp(0, 1) if buffer else torch.zeros(len(lengths))


def token_weights(keep: Bool[Tensor, "rows steps"], how: str, limit: int) -> Float[Tensor, "rows steps"]:
    """Return the weight of each token's loss in the loss of a minibatch.

    ``response``: 1/(rows |y_i|), a mean of response means (GRPO): tokens of long responses weigh less. ``token``: 1/(kept tokens), DAPO.
    ``constant``: 1/(rows limit), Dr. GRPO's sum over a length that no response changes. Rows without kept tokens count as rows.

    Raises:
        ValueError: there is no such weighting.
    """
    rows, kept = keep.shape[0], keep.sum(1, keepdim=True)
    if how == "response":
        return keep / (rows * kept.clamp(min=1))
    if how == "token":
        return keep / kept.sum().clamp(min=1)
    if how == "constant":
        return keep / (rows * limit)
    raise ValueError(f"unknown weighing {how!r}; response, token and constant are known")


def response_sums(logprobs: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"]) -> Float[Tensor, " rows"]:
    """Return the log-probability of each whole response; a response is then one action, whose ratio is the product of its tokens' ratios.

    Ahmadian et al. 2024, section 3.1. Rows without kept tokens give 0.
    """
    return logprobs.masked_fill(~keep, 0.0).sum(1)


def best_rows(rewards: Float[Tensor, " rows"], n: int, usable: Bool[Tensor, " rows"]) -> Int[Tensor, " chosen"]:
    """Return the row of the highest reward in each group, the first of equals; groups without a usable row are left out."""
    groups = rewards.masked_fill(~usable, -math.inf).view(-1, n)
    best = groups.argmax(1) + n * torch.arange(len(groups))
    return best[usable.view(-1, n).any(1)]


def extreme_pairs(rewards: Float[Tensor, " rows"], n: int) -> Int[Tensor, "2 pairs"]:
    """Return the rows (best, worst) of each group by reward, the first of equals; groups whose rewards are all equal have no pair.

    Of two responses these are the better and the worse one (Guo et al. 2024, section 3.2).
    """
    groups, first = rewards.view(-1, n), n * torch.arange(len(rewards) // n)
    return torch.stack([groups.argmax(1) + first, groups.argmin(1) + first])[:, telling_groups(rewards, n)]


def best_of_n_kl(logprobs: Float[Tensor, " rows"], n: int) -> float:
    """Return an upper estimate of KL(best-of-n || policy) in nats, from the chosen responses' log-probabilities log p.

    Best-of-n draws a response with probability F^n - (F - p)^n, F the share of the policy at most as good (Beirami et al. 2024), which
    is at most 1 - (1 - p)^n. So the mean of log((1 - (1 - p)^n) / p) bounds the KL where responses are likely to be drawn twice, and log
    n - (n - 1)/n, exact where none is, bounds it everywhere. Returns the lower of the two; only the latter for no responses.
    """
    formula, p = math.log(n) - (n - 1) / n, logprobs.double().exp()
    drawn = -torch.expm1(n * torch.log1p(-p.clamp(max=1 - 1e-12)))
    each = torch.where(p > 1e-12, drawn.clamp(min=1e-300).log() - logprobs.double(), math.log(n))
    return min(formula, each.mean().item()) if len(each) else formula
