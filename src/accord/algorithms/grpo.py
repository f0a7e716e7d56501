"""Policy gradients from several responses to a prompt, without a value model: GRPO, RLOO and REINFORCE++.

One flow of information; what tells the three apart is how an advantage is made of rewards, which is an argument:

GRPO         Shao et al. 2024, section 4.1: reward minus its group's mean, over the group's standard deviation; KL by k3 in the loss.
Dr. GRPO     Liu et al. 2025: ``scale="none", loss="constant"``, without the division and the weighing by length.
DAPO         Yu et al. 2025: ``clip_high=0.28, loss="token", overlong_tokens=..., resample=..., kl_coef=0``.
RLOO         Ahmadian et al. 2024: reward minus the mean of the others; KL in the reward; the whole response is one action.
REINFORCE++  Hu et al. 2025: each token's reward to go, whitened over the batch; KL in the reward.

Except: all of them clip the ratio and may pass over a rollout several times; unfinished responses get a fixed reward by default, as in
our PPO; Adam's epsilon is 1e-5, as in the 2019 RLHF code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.correction import Correction, Gate
from accord.algorithms.draws import Draws
from accord.algorithms.early_stopping import Evaluations, HeldOut
from accord.algorithms.groupwise_objectives import (
    group_advantages,
    leave_one_out_advantages,
    over_group_spread,
    overlong_penalty,
    response_sums,
    rewards_to_go,
    telling_groups,
    token_weights,
)
from accord.algorithms.objectives import clipped_policy_loss, kl_estimate, kl_rewards, masked_mean, whiten
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rewards import Mixture
from accord.algorithms.rollouts import (
    Drawn,
    Rollout,
    draw,
    episode_metrics,
    learned_tokens,
    measure,
    minibatch,
    minibatches,
    neutral,
    next_prompts,
    ratio_sums,
    rollout_metrics,
    sample_table,
    settled_scores,
    speed_metrics,
    update_metrics,
)
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pad
from accord.models.policy import logprobs
from accord.protocols import Sampler, Scorer
from accord.records import Sampling
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GrpoConfig


@dataclass(frozen=True)
class Targets:
    """The learning targets of a rollout, [rows, steps] each. ``keep`` leaves out tokens masked by the truncation rule."""

    keep: Tensor
    advantages: Tensor
    rewards: Tensor
    kl: Tensor
    """log policy - log reference of each sampled token, those of masked responses too: a policy has moved as far on them."""
    weights: Tensor
    """Importance weight of each token in the policy loss: 1 unless another distribution than the trainer's drew it."""


def train(
    config: GrpoConfig,
    *,
    policy: Any,
    reference: Any,
    sampler: Sampler,
    rewards: Mixture,
    prompts: Sequence[list[int]],
    decode: Callable[[Sequence[int]], str],
    run: Run,
    dtype: torch.dtype,
    held_out: HeldOut | None = None,
) -> Any:
    """Train the policy in place and return it.

    Args:
        config: GrpoConfig, or RlooConfig or ReinforceConfig, which are the same with other defaults.
        policy: starts as the SFT model; ``reference`` is that model and stays fixed.
        sampler: samples from ``policy``. rewards: the reward of a response, part by part.
        prompts: token ids of the training prompts. decode: token ids to text, for the sample tables.
        held_out: what the policy is evaluated on meanwhile; nothing for None.

    Raises:
        RunError: sampler and trainer have different distributions (``Gate``), or a reward is not a number.
    """
    warmup = config.warmup(config.updates)
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    gate, correction = Gate.of(config, sampler, dtype), Correction.of(config, sampler)
    done, asked, updates, evaluated = 0, 0, 0, dict[str, Any]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        rewards.multipliers.update(state["multipliers"])
        gate.first.update(state.get("gate", {}))
        asked, updates, evaluated = state["asked"], state["updates"], state.get("evaluations", {})
    draws = Draws(config, sampler, run, done)
    draws.refresh(done)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    evaluations = Evaluations(config, held_out, sampler, run, sampling, lambda: trained_state(policy))
    evaluations.begin(done, evaluated)

    with track(config.steps, config.stage, done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: draw groups of responses, score them, and measure what policy and reference say of them
            scorer = rewards.at(step, config.steps, dense=turnwise(config))
            drawn, shown, telling = _drawn(config, prompts, asked, step, sampler=draws.at(step), scorer=scorer)
            asked += shown
            rollout = measure(
                drawn, policy=policy, reference=reference, temperature=config.temperature, dtype=dtype, micro_tokens=config.micro_tokens
            )
            gate.check(rollout, f"{config.stage} step {step}", draws.behind)
            if step < config.steps:
                draws.ask(step + 1, n=config.group_size, **_request(config, prompts, asked, step + 1, 0))

            # step 2: advantages within each group
            targets = learning_targets(config, rollout, correction.weights(rollout))

            # step 3: several passes over the rollout in minibatches
            started, history = time.perf_counter(), list[dict[str, float]]()
            order = minibatches(config.batch_size, config.minibatch_size, config.epochs, seed=config.seed, stage=config.stage, step=step)
            for rows in order:
                sums, kept = _losses(config, policy, rollout, targets, rows, dtype)
                norm = update(scaled(optimizers, constant(updates, warmup)), config.max_grad_norm)
                updates += 1
                history.append(update_metrics(sums, kept, grad_norm=norm))
            draws.refresh(step)
            seconds_train = time.perf_counter() - started

            # step 4: log, keep a checkpoint
            metrics = _summary(rollout, targets, history) | scorer.metrics() | speed_metrics(rollout, rollout, seconds_train)
            metrics |= {"telling_groups": telling, "prompts_asked": asked, "lr": config.lr * constant(updates - 1, warmup)}
            metrics |= correction.metrics(rollout, targets.weights) | episode_metrics(rollout) | evaluations.check(step)
            run.log(step, **metrics)
            rewards.adapt(scorer, config.limit_rate)
            planned = step % config.save_every == 0 or step == config.steps or evaluations.over
            if planned:
                run.samples(step, sample_table(rollout, targets.kl, decode))
            if run.due(planned, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers), "multipliers": rewards.multipliers}
                state |= {"asked": asked, "updates": updates, "gate": gate.first, "evaluations": evaluations.state}
                run.checkpoint(step, state)
                draws.settle(step)
                evaluations.tidy()
            told = {"reward": metrics["reward"], "kl": metrics["kl_k1"], "episodes_per_second": metrics["episodes_per_second"]}
            bar.advance(**told | evaluations.shown())
    if (best := evaluations.best()) is not None:
        restore_trained(policy, best)
    return policy


def _drawn(
    config: GrpoConfig, prompts: Sequence[list[int]], asked: int, step: int, *, sampler: Sampler, scorer: Scorer
) -> tuple[Drawn, int, float]:
    """Return a batch of groups, those with different rewards first if more draws were allowed; the number of prompts used; the first
    draw's share of such groups."""
    n, groups = config.group_size, config.batch_size // config.group_size

    def one(number: int) -> Drawn:
        return draw(n=n, sampler=sampler, scorer=scorer, **_request(config, prompts, asked, step, number))

    drawn, draws = one(0), 1
    useful = telling_groups(_earned(config, drawn), n)
    share = useful.float().mean().item()
    while draws <= config.resample and int(useful.sum()) < groups:
        drawn, draws = drawn + one(draws), draws + 1
        useful = telling_groups(_earned(config, drawn), n)
    if draws > 1:
        first: list[int] = useful.int().argsort(descending=True, stable=True)[:groups].tolist()
        drawn = drawn.rows([group * n + i for group in first for i in range(n)])
    return drawn, draws * groups, share


def _request(config: GrpoConfig, prompts: Sequence[list[int]], asked: int, step: int, number: int) -> dict[str, Any]:
    """Return the prompts, sampling and random numbers of a step's draw."""
    groups = config.batch_size // config.group_size
    return {
        "prompts": next_prompts(prompts, asked + number * groups, groups, seed=config.seed, stage=config.stage),
        "sampling": Sampling(temperature=config.temperature, max_tokens=config.max_tokens),
        "generator": generator(config.seed, config.stage, "rollout", step, number),
    }


def turnwise(config: GrpoConfig) -> bool:
    """Return whether an environment's rewards stay on the turns that earned them: where each token has an advantage of its own."""
    return bool(config.environment) and config.advantage == "return"


def final_scores(config: GrpoConfig, drawn: Drawn | Rollout) -> Tensor:
    """Return the scores [rows] under the truncation rule and the overlong penalty."""
    scores = settled_scores(drawn, config.truncation, config.no_stop_reward)
    return neutral(drawn, scores + overlong_penalty(drawn.keep.sum(1), config.max_tokens, config.overlong_tokens))


def _earned(config: GrpoConfig, drawn: Drawn) -> Tensor:
    """Return all that each row is rewarded with, by which groups are told apart: its score, and the rewards of its turns."""
    scores = final_scores(config, drawn)
    if drawn.dense is None:
        return scores
    return neutral(drawn, scores + drawn.dense.masked_fill(~learned_tokens(drawn, config.truncation), 0.0).sum(1))


def learning_targets(config: GrpoConfig, rollout: Rollout, weights: Tensor | None = None) -> Targets:
    """Return the rewards and advantages of a rollout by the chosen estimator; ``weights`` are its importance weights, None is 1."""
    keep, n = learned_tokens(rollout, config.truncation), config.group_size
    kl = (rollout.logprobs - rollout.reference).masked_fill(~rollout.keep, 0.0)
    beta = config.kl_coef if config.kl_in == "reward" else 0.0
    rewards = kl_rewards(final_scores(config, rollout), kl_estimate(kl.masked_fill(~keep, 0.0), config.kl_estimator), rollout.keep, beta)
    if rollout.dense is not None:
        rewards = rewards + rollout.dense.masked_fill(~keep, 0.0)
    if config.advantage == "return":
        advantages = rewards_to_go(rewards, keep)
    else:
        totals = neutral(rollout, rewards.sum(1))
        each = leave_one_out_advantages(totals, n) if config.advantage == "leave-one-out" else group_advantages(totals, n)
        each = over_group_spread(each, totals, n) if config.scale == "group" else each
        advantages = each[:, None] * keep
    if config.scale == "batch":
        advantages = whiten(advantages, keep)
    return Targets(keep, advantages, rewards, kl, torch.ones_like(kl) if weights is None else weights)


def _losses(
    config: GrpoConfig, policy: Any, rollout: Rollout, targets: Targets, rows: list[int], dtype: torch.dtype
) -> tuple[list[dict[str, Tensor]], float]:
    """Add the gradient of one minibatch's loss; return each pass's sums, and the number of ratios in them."""
    whole, clip_high = config.loss == "sequence", config.clip_high or config.clip
    weights = token_weights(targets.keep[rows], "token" if whole else config.loss, config.max_tokens)
    units = float((targets.keep[rows].any(1).sum() if whole else targets.keep[rows].sum()).clamp(min=1))
    sums = list[dict[str, Tensor]]()
    lengths = [len(rollout.prompts[i]) + len(rollout.responses[i]) for i in rows]
    for group in divided(lengths, config.micro_tokens, [rollout.prompts[i] for i in rows]):
        part = [rows[i] for i in group]
        batch = minibatch(rollout, part).to(policy.device)
        flat, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)
        new = pad(flat, torch.tensor(batch.kept_counts))
        learned = targets.keep[part][:, : new.shape[1]]
        counted = (learned.any(1) if whole else learned.flatten()).nonzero().squeeze(1).to(policy.device)
        told = (rollout.logprobs, rollout.reference, targets.advantages, targets.weights, targets.keep)
        old, reference, advantages, importance, keep = (x[part][:, : new.shape[1]].to(policy.device) for x in told)
        weight = weights[group][:, : new.shape[1]].to(policy.device)
        if whole:
            now, then = response_sums(new, keep), response_sums(old, keep)
            each, importance = advantages[:, :1].flatten(), importance[:, :1].flatten()  # a pass without rows has no column 0
            losses = clipped_policy_loss(now, then, each, config.clip, clip_high) * importance
            policy_loss, log_ratio = losses.sum() / len(rows), (now - then)[counted]
        else:
            losses = clipped_policy_loss(new, old, advantages, config.clip, clip_high) * importance
            policy_loss, log_ratio = (losses * weight).sum(), (new - old).flatten()[counted]
        kl_loss = (kl_estimate((new - reference).masked_fill(~keep, 0.0), config.kl_estimator) * weight).sum()
        (policy_loss + (config.kl_coef * kl_loss if config.kl_in == "loss" else 0.0)).backward()
        with torch.no_grad():
            parts = {"policy_loss": policy_loss.detach(), "kl_loss": kl_loss.detach()}
            sums.append(parts | ratio_sums(log_ratio, config.clip, clip_high))
    return sums, units


def _summary(rollout: Rollout, targets: Targets, history: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of one step; docs/grpo.md defines each."""
    means = {name: sum(row[name] for row in history) / len(history) for name in history[0]}
    own = {
        "reward_total": targets.rewards.sum(1).mean().item(),
        "advantage": masked_mean(targets.advantages, targets.keep).item(),
        "advantage_size": masked_mean(targets.advantages.abs(), targets.keep).item(),
    }
    return means | rollout_metrics(rollout, targets.kl) | own
