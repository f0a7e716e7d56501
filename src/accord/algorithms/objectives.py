"""Every formula, once, as pure functions of tensors. Imports only torch.

Conventions: ``keep`` is True on tokens that count. Rewards, values and log-probabilities are float32 [rows, steps], right-padded; values
where ``keep`` is False have no influence on any result. Logarithms are natural.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def masked_mean(x: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"]) -> Float[Tensor, ""]:
    """Return the mean over kept tokens (not a mean of row means); 0 when none is kept."""
    return x.masked_fill(~keep, 0.0).sum() / keep.sum().clamp(min=1)


def whiten(x: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"], *, shift: bool = True) -> Float[Tensor, "rows steps"]:
    """Divide by the standard deviation over kept tokens (biased variance, plus 1e-8), subtracting the mean if ``shift``."""
    mean = masked_mean(x, keep)
    variance = masked_mean((x - mean) ** 2, keep)
    centred = (x - mean) * (variance + 1e-8).rsqrt()
    return (centred if shift else centred + mean * (variance + 1e-8).rsqrt()).masked_fill(~keep, 0.0)


def ranked_pairs(ranks: Int[Tensor, " k"]) -> tuple[Int[Tensor, "2 pairs"], Int[Tensor, "2 ties"]]:
    """Return index pairs (better, worse) of one prompt's K responses, and its tied pairs. Rank 1 is best.

    Give ranks on the CPU: how many pairs there are depends on their values, for which the host would wait.
    """
    first, second = torch.triu_indices(len(ranks), len(ranks), offset=1, device=ranks.device)
    a, b = ranks[first], ranks[second]
    better, worse = torch.where(a < b, first, second), torch.where(a < b, second, first)
    return torch.stack([better, worse])[:, a != b], torch.stack([first, second])[:, a == b]


def bradley_terry_loss(scores: Float[Tensor, " k"], ranks: Int[Tensor, " k"]) -> Float[Tensor, ""]:
    """Return -1/C(K,2) sum log sigmoid(r_better - r_worse) over one prompt's pairs (Ouyang et al. 2022, equation 1); ties are dropped.

    The weight counts only untied pairs, so that prompts weigh the same; a prompt with only ties has loss 0.
    """
    better, worse = ranked_pairs(ranks)[0].to(scores.device)
    return -F.logsigmoid(scores[better] - scores[worse]).sum() / max(len(better), 1)


def group_weights(weights: Float[Tensor, " groups"], losses: Float[Tensor, " groups"], rate: float) -> Float[Tensor, " groups"]:
    """Return group DRO's next weights, w_g exp(rate L_g) over their sum (Sagawa et al. 2020, algorithm 1).

    Groups without a ranking in the batch have a loss that is not a number: their weight only shrinks by the sum.
    """
    return (weights.log() + rate * losses.nan_to_num(0.0)).softmax(0)  # exp of a large loss alone would be infinite


def lagrange_multiplier(value: float, gap: float, limit: float, rate: float) -> float:
    """Return the next Lagrange multiplier of the limit gap <= limit: it moves by ``rate`` times the excess, but not below 0."""
    return max(0.0, value + rate * (gap - limit))


def rao_kupper_loss(scores: Float[Tensor, " k"], ranks: Int[Tensor, " k"], threshold: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return the Bradley-Terry loss with ties (Rao and Kupper 1967): P(i over j) = sigmoid(s_i - s_j - eta), eta = softplus(threshold) > 0.

    P(tie) = 1 - P(i over j) - P(j over i) = (e^(2 eta) - 1) sigmoid(d - eta) sigmoid(-d - eta). Mean over all C(K,2) pairs.
    """
    eta = F.softplus(threshold)
    untied, ties = ranked_pairs(ranks)
    (better, worse), (first, second) = untied.to(scores.device), ties.to(scores.device)
    won = F.logsigmoid(scores[better] - scores[worse] - eta).sum()
    d = scores[first] - scores[second]
    tied = (torch.log(torch.expm1(2 * eta)) + F.logsigmoid(d - eta) + F.logsigmoid(-d - eta)).sum()
    return -(won + tied) / (len(better) + len(first))


def dpo_loss(margins: Float[Tensor, " pairs"], smoothing: float = 0.0) -> Float[Tensor, " pairs"]:
    """Return -(1 - e) log sigmoid(m) - e log sigmoid(-m) per pair (Rafailov et al. 2023, equation 7; Mitchell 2023, "cDPO", for e > 0).

    ``margins`` are implied rewards of the better response minus the worse: beta times the difference of log policy - log reference.
    SimPO (Meng et al. 2024, equation 6) is the same function of beta times mean log-probabilities, minus its target margin.
    """
    return -(1 - smoothing) * F.logsigmoid(margins) - smoothing * F.logsigmoid(-margins)


def robust_dpo_loss(margins: Float[Tensor, " pairs"], flips: float) -> Float[Tensor, " pairs"]:
    """Return DPO's loss, made unbiased when a share ``flips`` < 1/2 of the labels is flipped at random (Chowdhury et al. 2024)."""
    return (-(1 - flips) * F.logsigmoid(margins) + flips * F.logsigmoid(-margins)) / (1 - 2 * flips)


def ipo_loss(gaps: Float[Tensor, " pairs"], tau: float) -> Float[Tensor, " pairs"]:
    """Return (gap - 1 / (2 tau))^2 per pair (Azar et al. 2024, equation 17); a gap is a difference of log policy - log reference."""
    return (gaps - 1 / (2 * tau)) ** 2


def log_odds(logprobs: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Return log(p / (1 - p)) of p = exp(logprobs); finite also where p rounds to 1."""
    logprobs = logprobs.clamp(max=-1e-6)
    return logprobs - torch.log(-torch.expm1(logprobs))


def odds_ratio_loss(better: Float[Tensor, " pairs"], worse: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return -log sigmoid(log odds(better) - log odds(worse)) of mean token log-probabilities (ORPO: Hong et al. 2024, equation 7)."""
    return -F.logsigmoid(log_odds(better) - log_odds(worse))


def plackett_luce_loss(rewards: Float[Tensor, " k"], ranks: Int[Tensor, " k"], *, ties: bool = False) -> Float[Tensor, ""]:
    """Return the loss of a whole ranking as choices: each response is chosen before all worse ones (Plackett 1975; Rafailov et al. 2023,
    appendix A.3).

    The mean over the choices of -log(exp r_i / sum_j exp r_j), where j ranges over i and its alternatives; two responses give
    Bradley-Terry. Responses of one rank are not chosen from one another; with ``ties`` they are, each from all of its rank (Breslow
    1974), which draws their rewards together. A ranking without a choice has loss 0.
    """
    mine, others = ranks[:, None], ranks[None, :]
    itself = torch.eye(len(ranks), dtype=torch.bool, device=ranks.device)
    among = (others >= mine) if ties else (others > mine) | itself
    choices = (among.sum(1) > 1).sum().clamp(min=1)
    losses = rewards.expand(len(ranks), -1).masked_fill(~among.to(rewards.device), -torch.inf).logsumexp(1) - rewards
    return losses.sum() / choices.to(rewards.device)


def kto_loss(
    log_ratios: Float[Tensor, " rows"], up: Bool[Tensor, " rows"], kl: Float[Tensor, ""], beta: float, weights: Float[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Return w (1 - sigmoid(beta (r - kl))) for a thumb up, w (1 - sigmoid(beta (kl - r))) for a thumb down (Ethayarajh et al. 2024,
    section 4).

    r is log policy - log reference of the response; ``kl`` is the reference point, without gradient and at least 0.
    """
    ahead = torch.where(up, log_ratios - kl, kl - log_ratios)
    return weights * torch.sigmoid(-beta * ahead)


def generalised_jsd(student: Float[Tensor, "n vocabulary"], teacher: Float[Tensor, "n vocabulary"], beta: float) -> Float[Tensor, " n"]:
    """Return the generalised Jensen-Shannon divergence of each pair of distributions (Agarwal et al. 2024, equation 1), in nats.

    beta KL(T || M) + (1 - beta) KL(S || M) with M = beta T + (1 - beta) S, of log-probabilities. Over beta it tends to KL(T || S) as beta
    tends to 0, and over 1 - beta to KL(S || T) as it tends to 1. So beta 0 is the forward KL, which spreads the student over all that
    the teacher says, and beta 1 the reverse KL, which keeps it to what the teacher is sure of.
    """
    if beta in (0.0, 1.0):
        return kl_divergence(teacher, student) if beta == 0.0 else kl_divergence(student, teacher)
    mixed = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * kl_divergence(teacher, mixed) + (1 - beta) * kl_divergence(student, mixed)


def kl_divergence(p: Float[Tensor, "n vocabulary"], q: Float[Tensor, "n vocabulary"]) -> Float[Tensor, " n"]:
    """Return KL(P || Q), the sum of p (log p - log q), of each pair of distributions given as log-probabilities; a p of 0 adds 0."""
    return (p.exp() * (p - q)).masked_fill(p == -torch.inf, 0.0).sum(-1)


TIE = 1e-6
"""Implied rewards closer than this are rounding noise: at the reference, all are 0."""


def above(better: Float[Tensor, " pairs"], worse: Float[Tensor, " pairs"], tie: float = 0.0) -> Float[Tensor, " pairs"]:
    """Return 1 for each pair whose better side is larger, 0.5 where the sides differ by no more than ``tie``, else 0."""
    ahead = better - worse
    return (ahead > tie).float() + (ahead.abs() <= tie).float() / 2


def share_above(better: Float[Tensor, " pairs"], worse: Float[Tensor, " pairs"], tie: float = 0.0) -> float:
    """Return the share of pairs whose better side is larger; equal ones count half, so that ignorance scores 0.5. 0 without pairs.

    Sides that differ by no more than ``tie`` are equal.
    """
    return float(above(better, worse, tie).sum() / max(len(better), 1))


def kl_estimate(log_ratio: Float[Tensor, ...], estimator: str) -> Float[Tensor, ...]:
    """Return a per-token estimate of KL(policy || reference) from a token the policy drew (Schulman 2020, "Approximating KL divergence").

    With log_ratio = log policy - log reference: k1 = log_ratio, unbiased but sometimes negative; k2 = log_ratio^2 / 2, biased, never
    negative; k3 = exp(-log_ratio) - 1 + log_ratio, unbiased and never negative.

    Raises:
        ValueError: there is no such estimator.
    """
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio**2 / 2
    if estimator == "k3":
        return torch.expm1(-log_ratio) + log_ratio
    raise ValueError(f"unknown KL estimator {estimator!r}; k1, k2 and k3 are known")


def kl_rewards(
    scores: Float[Tensor, " rows"], kl: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"], beta: float
) -> Float[Tensor, "rows steps"]:
    """Return token rewards: -beta * KL on each kept token, with the score added on the last kept one.

    A row's rewards sum to score - beta * (sum of its KL), the objective of Ouyang et al. 2022, equation 2.
    """
    rewards = (-beta * kl).masked_fill(~keep, 0.0)
    last = keep.sum(1) - 1
    return rewards.scatter_add(1, last[:, None].clamp(min=0), (scores * (last >= 0))[:, None])


def gae(
    rewards: Float[Tensor, "rows steps"],
    values: Float[Tensor, "rows steps"],
    keep: Bool[Tensor, "rows steps"],
    after: Float[Tensor, " rows"],
    gamma: float,
    lam: float,
) -> tuple[Float[Tensor, "rows steps"], Float[Tensor, "rows steps"]]:
    """Return advantages and returns by generalised advantage estimation (Schulman et al. 2016) over kept tokens.

    ``values[r, t]`` is the value before token t; ``after[r]`` the value after row r's last token: 0 where the episode ended. Tokens that
    are not kept are skipped, as if the row were compressed to its kept ones.
    """
    advantages = torch.zeros_like(rewards)
    running, following = torch.zeros_like(after), after
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = torch.where(keep[:, t], delta + gamma * lam * running, running)
        following = torch.where(keep[:, t], values[:, t], following)
        advantages[:, t] = torch.where(keep[:, t], running, 0.0)
    return advantages, (advantages + values).masked_fill(~keep, 0.0)


def clipped_policy_loss(
    logprobs: Float[Tensor, ...], old: Float[Tensor, ...], advantages: Float[Tensor, ...], clip: float, clip_high: float | None = None
) -> Float[Tensor, ...]:
    """Return the per-token PPO loss, -min(ratio A, clip(ratio, 1 - e, 1 + e) A) (Schulman et al. 2017, equation 7).

    ``clip_high`` sets the upper e separately (DAPO's clip-higher, Yu et al. 2025, section 3.1).
    """
    ratio = (logprobs - old).exp()
    clipped = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    return -torch.minimum(ratio * advantages, clipped * advantages)


def importance_weights(
    log_ratio: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"], how: str, cap: float
) -> Float[Tensor, "rows steps"]:
    """Return the weights that turn means over a sampler's tokens into means over the trainer's: truncated importance sampling.

    ``log_ratio`` is log trainer - log sampler of each sampled token, before the update. ``token``: min(exp(log_ratio), cap) per token
    (Ionides 2008; Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"). ``sequence``: min(exp(sum of
    the row), cap) for all of its tokens, exact below the cap where the response is one action. ``mask``: the same, but 0 above the cap.
    ``off``: 1. Weights have no gradient, and are 0 where ``keep`` is False.

    Raises:
        ValueError: there is no such correction.
    """
    log_ratio = log_ratio.detach().masked_fill(~keep, 0.0)
    if how == "off":
        ratio = torch.ones_like(log_ratio)
    elif how == "token":
        ratio = log_ratio.exp().clamp(max=cap)
    elif how in ("sequence", "mask"):
        whole = log_ratio.sum(1, keepdim=True).exp()
        ratio = (whole.clamp(max=cap) if how == "sequence" else whole.masked_fill(whole > cap, 0.0)).expand_as(log_ratio)
    else:
        raise ValueError(f"unknown correction {how!r}; token, sequence, mask and off are known")
    return ratio.masked_fill(~keep, 0.0)


def clipped_value_loss(values: Float[Tensor, ...], old: Float[Tensor, ...], returns: Float[Tensor, ...], clip: float) -> Float[Tensor, ...]:
    """Return per token 1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2); ``clip`` is in reward units, 0 turns it off."""
    loss = (values - returns) ** 2
    if clip > 0:
        clipped = old + (values - old).clamp(-clip, clip)
        loss = torch.maximum(loss, (clipped - returns) ** 2)
    return loss / 2


def lambda_returns(
    rewards: Float[Tensor, "rows steps"],
    following: Float[Tensor, "rows steps"],
    keep: Bool[Tensor, "rows steps"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "rows steps"]:
    """Return G_t = r_t + gamma ((1 - lambda) following_t + lambda G_{t+1}) (Sutton and Barto 2018, equation 12.2), the target of Q(s_t,
    a_t).

    ``following[r, t]`` is the value of the state after token t. After a row's last kept token it counts fully: 0 there means that the
    episode ended. lambda 0 is y = r + gamma following, one token ahead. Kept tokens come first in each row.
    """
    returns, after = torch.zeros_like(rewards), rewards.new_zeros(len(rewards))
    last = keep.sum(1) - 1
    for t in reversed(range(rewards.shape[1])):
        ahead = torch.where(last == t, following[:, t], (1 - lam) * following[:, t] + lam * after)
        after = torch.where(keep[:, t], rewards[:, t] + gamma * ahead, after)
        returns[:, t] = torch.where(keep[:, t], after, 0.0)
    return returns


def expectile_loss(values: Float[Tensor, " n"], targets: Float[Tensor, " n"], expectile: float) -> Float[Tensor, " n"]:
    """Return |tau - 1(target < value)| (target - value)^2 (Newey and Powell 1987; Kostrikov et al. 2022, equation 5).

    Its minimum over draws of the target is their tau-expectile: 1/2 gives the mean, towards 1 the largest.
    """
    error = targets - values
    return torch.where(error < 0, 1 - expectile, expectile) * error**2


def adapted_kl_coef(coef: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    """Return beta under a proportional controller (Ziegler et al. 2019, section 2.2): beta (1 + clip(KL/target - 1, +-0.2)
    episodes/horizon)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * episodes / horizon)


def explained_variance(
    values: Float[Tensor, "rows steps"], returns: Float[Tensor, "rows steps"], keep: Bool[Tensor, "rows steps"]
) -> float:
    """Return 1 - Var(returns - values) / Var(returns) over kept tokens: 1 is perfect; 0 is no better than the mean, or nothing kept."""
    if not keep.any():
        return 0.0
    error, target = (returns - values)[keep], returns[keep]
    return float(1 - error.var(unbiased=False) / target.var(unbiased=False).clamp(min=1e-8))
