"""PPO as InstructGPT's: clipped policy gradient on the reward model's score minus a per-token KL penalty to the SFT model, with a
learned value function and a share of pretraining gradients (PPO-ptx).

Follows Ouyang et al. 2022, section 3.5 and appendix C.4, except: several epochs over a rollout are allowed; each batch's advantages
are whitened (as in the 2019 code of Ziegler et al.); pretraining gradients are added at every optimiser step in tokens, not in a
number of examples; the policy, value and KL settings are sized for small models. Adam's epsilon is 1e-5, as in the 2019 code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.objectives import (
    adapted_kl_coef,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    kl_estimate,
    kl_rewards,
    masked_mean,
    whiten,
)
from accord.algorithms.optim import adamw, constant, update
from accord.algorithms.rollouts import Rollout, collect, minibatch
from accord.errors import RunError
from accord.models.policy import logprobs, next_token_loss
from accord.models.ragged import by_tokens, pack
from accord.models.scalar import scalars
from accord.protocols import Sampler, Scorer
from accord.records import Sampling
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import PpoConfig


@dataclass(frozen=True)
class Targets:
    """What a rollout is to be learned towards; all [rows, steps]. ``keep`` leaves out what the truncation rule masks."""

    keep: Tensor
    advantages: Tensor
    returns: Tensor
    rewards: Tensor
    kl: Tensor
    """log policy - log reference of each sampled token."""


def train(
    config: PpoConfig,
    *,
    policy: Any,
    reference: Any,
    value: Any,
    sampler: Sampler,
    scorer: Scorer,
    prompts: Sequence[list[int]],
    pretraining: Callable[[int], Iterator[list[list[int]]]] | None,
    decode: Callable[[Sequence[int]], str],
    run: Run,
    dtype: torch.dtype,
) -> Any:
    """Trains policy and value model in place and returns the policy (its moving average, if ``config.ema``).

    Args:
        policy: starts as the SFT model; ``reference`` is that model and stays.
        value: starts as the reward model.
        sampler: draws from ``policy``. scorer: gives the reward, and nothing else does.
        prompts: token ids of the training prompts.
        pretraining: gives batches of raw-text documents from the n-th on, for the pretraining mix.
        decode: token ids to text, for the sample tables.

    Raises:
        RunError: sampler and trainer disagree by more than ``config.logprob_gap``, or a reward is not a number.
    """
    policy_optimizer = adamw(policy.parameters(), lr=config.lr, epsilon=1e-5)
    value_optimizer = adamw(value.parameters(), lr=config.value_lr, epsilon=1e-5)
    average = {name: p.detach().clone() for name, p in policy.named_parameters()} if config.ema else {}
    beta, done, updates = config.kl_coef, 0, 0
    if (restored := run.restore()) is not None:
        done, state = restored
        policy.load_state_dict(state["policy"])
        value.load_state_dict(state["value"])
        policy_optimizer.load_state_dict(state["policy_optimizer"])
        value_optimizer.load_state_dict(state["value_optimizer"])
        average, beta, updates = state["average"], state["kl_coef"], state["updates"]
    sampler.refresh()
    raw_text = pretraining(updates) if config.ptx_coef and pretraining else None
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)

    with track(config.steps, "ppo", done=done) as bar:
        for step in range(done + 1, config.steps + 1):
            # step 1: roll out the policy on the next prompts and measure what it said
            rollout = collect(
                _next_prompts(config, prompts, step),
                sampler=sampler,
                scorer=scorer,
                policy=policy,
                reference=reference,
                value=value,
                sampling=sampling,
                generator=generator(config.seed, "ppo", "rollout", step),
                dtype=dtype,
                micro_tokens=config.micro_tokens,
            )
            if rollout.logprob_gap > config.logprob_gap:
                raise RunError(
                    f"sampler and trainer log-probabilities differ by {rollout.logprob_gap:.3f} on average", where=f"ppo step {step}"
                )

            # step 2: token rewards (KL penalty, score at the end), advantages, returns
            targets = learning_targets(config, rollout, beta)

            # step 3: several passes over the rollout in minibatches
            started, history = time.perf_counter(), list[dict[str, float]]()
            for rows in _minibatches(config, step):
                figures = _losses(config, policy, value, rollout, targets, rows, dtype)
                figures["ptx_loss"] = _pretraining_mix(config, policy, next(raw_text), dtype) if raw_text else 0.0
                share = constant(updates, config.warmup_steps)
                figures["grad_norm"] = update({policy_optimizer: config.lr * share}, config.max_grad_norm)
                update({value_optimizer: config.value_lr * share}, config.max_grad_norm)
                updates += 1
                _follow(average, policy, config.ema)
                history.append(figures)
                if config.kl_stop and figures["approx_kl"] > config.kl_stop:
                    break
            sampler.refresh()
            seconds_train = time.perf_counter() - started

            # step 4: log, adapt beta, keep a checkpoint
            figures = _summary(rollout, targets, history) | {"kl_coef": beta, "lr": config.lr * constant(updates - 1, config.warmup_steps)}
            total = sum(rollout.seconds.values()) + seconds_train
            figures |= {"seconds_rollout": rollout.seconds["rollout"], "seconds_score": rollout.seconds["score"]}
            figures |= {"seconds_measure": rollout.seconds["measure"], "seconds_train": seconds_train}
            figures |= {"episodes_per_second": config.batch_size / total, "tokens_per_second": float(rollout.keep.sum()) / total}
            run.log(step, **figures)
            if config.kl_target:
                beta = adapted_kl_coef(beta, figures["kl_k1"], config.kl_target, config.batch_size, config.kl_horizon)
            if step % config.save_every == 0 or step == config.steps:
                run.samples(step, _sample_table(rollout, targets, decode))
                state = {
                    "policy": policy.state_dict(),
                    "value": value.state_dict(),
                    "average": average,
                    "kl_coef": beta,
                    "updates": updates,
                }
                optimizers = {"policy_optimizer": policy_optimizer.state_dict(), "value_optimizer": value_optimizer.state_dict()}
                run.checkpoint(step, state | optimizers)
            bar.advance(reward=figures["reward"], kl=figures["kl_k1"], episodes_per_second=figures["episodes_per_second"])
    if average:
        policy.load_state_dict(average, strict=False)
    return policy


def learning_targets(config: PpoConfig, rollout: Rollout, beta: float) -> Targets:
    """Rewards, advantages and returns of a rollout under the truncation rule."""
    keep, cut = rollout.keep, ~rollout.finished
    scores, after = rollout.scores, torch.zeros_like(rollout.after)
    if config.truncation == "penalise":
        scores = torch.where(cut, config.no_stop_reward, scores)
    elif config.truncation == "bootstrap":
        scores, after = torch.where(cut, 0.0, scores), torch.where(cut, rollout.after, 0.0)
    elif config.truncation == "mask":
        keep = keep & rollout.finished[:, None]
    kl = (rollout.logprobs - rollout.reference).masked_fill(~keep, 0.0)
    rewards = kl_rewards(scores, kl_estimate(kl, config.kl_estimator), keep, beta)
    if config.whiten_rewards:
        rewards = whiten(rewards, keep, shift=False)
    advantages, returns = gae(rewards, rollout.values, keep, after, config.gamma, config.lam)
    if config.whiten_advantages:
        advantages = whiten(advantages, keep)
    return Targets(keep, advantages, returns, rewards, kl)


def _next_prompts(config: PpoConfig, prompts: Sequence[list[int]], step: int) -> list[list[int]]:
    """The prompts of a rollout: passes over all of them, each in its own seeded order."""
    wanted = range((step - 1) * config.batch_size, step * config.batch_size)
    orders = {
        epoch: torch.randperm(len(prompts), generator=generator(config.seed, "ppo", "prompts", epoch))
        for epoch in {i // len(prompts) for i in wanted}
    }
    return [prompts[int(orders[i // len(prompts)][i % len(prompts)])] for i in wanted]


def _minibatches(config: PpoConfig, step: int) -> Iterator[list[int]]:
    for epoch in range(config.epochs):
        order: list[int] = torch.randperm(config.batch_size, generator=generator(config.seed, "ppo", "minibatches", step, epoch)).tolist()
        for start in range(0, config.batch_size, config.minibatch_size):
            yield order[start : start + config.minibatch_size]


def _losses(
    config: PpoConfig, policy: Any, value: Any, rollout: Rollout, targets: Targets, rows: list[int], dtype: torch.dtype
) -> dict[str, float]:
    """Adds the gradients of one minibatch's policy and value loss, means over its kept tokens, and returns its figures."""
    kept = targets.keep[rows].sum().clamp(min=1).item()
    names = ["policy_loss", "value_loss", "ratio", "clip_fraction", "approx_kl"]
    sums = dict.fromkeys(names, 0.0)
    for group in by_tokens([len(rollout.prompts[i]) + len(rollout.responses[i]) for i in rows], config.micro_tokens):
        part = [rows[i] for i in group]
        batch = minibatch(rollout, part).to(policy.device)
        response = rollout.keep[part]
        counts = targets.keep[part][response]
        old, old_values, advantages, returns = (
            x[part][response].to(policy.device) for x in (rollout.logprobs, rollout.values, targets.advantages, targets.returns)
        )
        counts = counts.to(policy.device)
        new, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)
        values = scalars(value, batch, batch.targets - 1, dtype=dtype)
        policy_loss = (clipped_policy_loss(new, old, advantages, config.clip) * counts).sum() / kept
        value_loss = (clipped_value_loss(values, old_values, returns, config.value_clip) * counts).sum() / kept
        (policy_loss + value_loss).backward()
        with torch.no_grad():
            log_ratio = (new - old)[counts]
            sums["policy_loss"] += policy_loss.item()
            sums["value_loss"] += value_loss.item()
            sums["ratio"] += log_ratio.exp().sum().item() / kept
            sums["clip_fraction"] += ((log_ratio.exp() - 1).abs() > config.clip).sum().item() / kept
            sums["approx_kl"] += kl_estimate(-log_ratio, "k3").sum().item() / kept
    return sums


def _pretraining_mix(config: PpoConfig, policy: Any, documents: list[list[int]], dtype: torch.dtype) -> float:
    """Adds ptx_coef times the gradient of the raw-text loss; returns that loss."""
    loss = next_token_loss(policy, pack(documents).to(policy.device), dtype=dtype)
    (config.ptx_coef * loss).backward()
    return loss.item()


def _follow(average: dict[str, Tensor], policy: Any, decay: float) -> None:
    with torch.no_grad():
        for name, parameter in policy.named_parameters() if average else ():
            average[name].lerp_(parameter, 1 - decay)


def _summary(rollout: Rollout, targets: Targets, history: list[dict[str, float]]) -> dict[str, float]:
    """The figures of one step; docs/ppo.md defines each."""
    keep = rollout.keep
    means = {name: sum(row[name] for row in history) / len(history) for name in history[0]}
    return means | {
        "reward": rollout.scores.mean().item(),
        "reward_total": targets.rewards.sum(1).mean().item(),
        "kl_k1": targets.kl.sum(1).mean().item(),
        "kl_k3": kl_estimate(targets.kl, "k3").masked_fill(~keep, 0.0).sum(1).mean().item(),
        "entropy": rollout.entropy,
        "value_explained_variance": explained_variance(rollout.values, targets.returns, targets.keep),
        "advantage": masked_mean(targets.advantages, targets.keep).item(),
        "response_length": keep.sum(1).float().mean().item(),
        "finished": rollout.finished.float().mean().item(),
        "logprob_gap": rollout.logprob_gap,
    }


def _sample_table(rollout: Rollout, targets: Targets, decode: Callable[[Sequence[int]], str], rows: int = 8) -> list[dict[str, Any]]:
    return [
        {
            "prompt": decode(rollout.prompts[i]),
            "response": decode(rollout.responses[i]),
            "score": round(rollout.scores[i].item(), 4),
            "kl": round(targets.kl[i].sum().item(), 4),
            "finished": bool(rollout.finished[i]),
        }
        for i in range(min(rows, len(rollout.responses)))
    ]
