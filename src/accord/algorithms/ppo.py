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

from accord.algorithms.correction import Correction, Gate
from accord.algorithms.draws import Draws
from accord.algorithms.early_stopping import Evaluations, HeldOut
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
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rewards import Mixture, mixture_of
from accord.algorithms.rollouts import (
    Rollout,
    collect,
    episode_metrics,
    learned_tokens,
    minibatch,
    minibatches,
    next_prompts,
    ratio_sums,
    rollout_metrics,
    sample_table,
    settled_scores,
    speed_metrics,
    update_metrics,
)
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided
from accord.models.policy import logprobs, text_loss
from accord.models.scalar import scalars
from accord.models.sharding import like
from accord.protocols import Sampler, Scorer
from accord.records import Sampling
from accord.runtime import ranks
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import PpoConfig


@dataclass(frozen=True)
class Targets:
    """The learning targets of a rollout; all [rows, steps]. ``keep`` leaves out tokens masked by the truncation rule."""

    keep: Tensor
    advantages: Tensor
    returns: Tensor
    rewards: Tensor
    kl: Tensor
    """log policy - log reference of each sampled token, those of masked responses too: a policy has moved as far on them."""
    weights: Tensor
    """Importance weight of each token in the policy loss: 1 unless another distribution than the trainer's drew it."""


def train(
    config: PpoConfig,
    *,
    policy: Any,
    reference: Any,
    value: Any,
    sampler: Sampler,
    scorer: Scorer | Mixture,
    prompts: Sequence[list[int]],
    pretraining: Callable[[int], Iterator[list[list[int]]]] | None,
    decode: Callable[[Sequence[int]], str],
    run: Run,
    dtype: torch.dtype,
    held_out: HeldOut | None = None,
) -> Any:
    """Train policy and value model in place and return the policy (its moving average, if ``config.ema``).

    Args:
        policy: starts as the SFT model; ``reference`` is that model and stays fixed.
        value: starts as the reward model.
        sampler: samples from ``policy``. scorer: the only source of reward; a mixture moves its weights over the run.
        prompts: token ids of the training prompts.
        pretraining: yields batches of raw-text documents from the n-th on, for the pretraining mix.
        decode: token ids to text, for the sample tables.
        held_out: what the policy is evaluated on meanwhile; nothing for None.

    Raises:
        RunError: sampler and trainer have different distributions (``Gate``), or a reward is not a number.
    """
    warmup = config.warmup(config.updates)
    policy_peaks = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    value_peaks = make_optimizers(value, config, lr=config.value_lr, muon_lr=config.value_muon_lr)
    trained = {"policy_optimizers": policy_peaks, "value_optimizers": value_peaks}
    average = {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad} if config.ema else {}
    beta, done, updates, evaluated = config.kl_coef, 0, 0, dict[str, Any]()
    rewards = mixture_of(scorer)
    gate, correction = Gate.of(config, sampler, dtype), Correction.of(config, sampler)
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_trained(value, state["value"])
        for name, optimizers in trained.items():
            restore_optimizers(optimizers, state[name])
        beta, updates = state["kl_coef"], state["updates"]
        average = {name: like(state["average"][name].to(policy.device), held) for name, held in average.items()}
        rewards.multipliers.update(state["multipliers"])
        gate.first.update(state.get("gate", {}))
        evaluated = state.get("evaluations", {})
    draws = Draws(config, sampler, run, done)
    draws.refresh(done)
    raw_text = pretraining(updates) if config.ptx_coef and pretraining else None
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    evaluations = Evaluations(config, held_out, sampler, run, sampling, lambda: average or trained_state(policy))
    evaluations.begin(done, evaluated)

    def asked(step: int) -> list[list[int]]:
        return next_prompts(prompts, (step - 1) * config.batch_size, config.batch_size, seed=config.seed, stage="ppo")

    def numbers(step: int) -> torch.Generator:
        return generator(config.seed, "ppo", "rollout", step)

    with track(config.steps, "ppo", done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: roll out the policy on the next prompts and measure what it said
            scored = rewards.at(step, config.steps, dense=True)
            rollout = collect(
                asked(step),
                sampler=draws.at(step),
                scorer=scored,
                policy=policy,
                reference=reference,
                value=value,
                sampling=sampling,
                generator=numbers(step),
                dtype=dtype,
                micro_tokens=config.micro_tokens,
            )
            gate.check(rollout, f"ppo step {step}", draws.behind)
            if step < config.steps:
                draws.ask(step + 1, asked(step + 1), n=1, sampling=sampling, generator=numbers(step + 1))

            # step 2: token rewards (KL penalty, score at the end), advantages, returns
            targets = learning_targets(config, rollout, beta, correction.weights(rollout))

            # step 3: several passes over the rollout in minibatches
            started, history = time.perf_counter(), list[dict[str, float]]()
            for rows in minibatches(config.batch_size, config.minibatch_size, config.epochs, seed=config.seed, stage="ppo", step=step):
                sums, kept = _losses(config, policy, value, rollout, targets, rows, dtype)
                text_loss = _pretraining_mix(config, policy, next(raw_text), dtype) if raw_text else torch.zeros((), device=policy.device)
                share = constant(updates, warmup)
                norm = update(scaled(policy_peaks, share), config.max_grad_norm)
                update(scaled(value_peaks, share), config.max_grad_norm)
                updates += 1
                _follow(average, policy, config.ema)
                metrics = update_metrics(sums, kept, ptx_loss=text_loss, grad_norm=norm)
                history.append(metrics)
                if config.kl_stop and metrics["approx_kl"] > config.kl_stop:
                    break
            draws.refresh(step)
            seconds_train = time.perf_counter() - started

            # step 4: log, adapt beta, keep a checkpoint
            metrics = _summary(rollout, targets, history) | {"kl_coef": beta, "lr": config.lr * constant(updates - 1, warmup)}
            metrics |= scored.metrics() | correction.metrics(rollout, targets.weights) | speed_metrics(rollout, rollout, seconds_train)
            metrics |= episode_metrics(rollout) | evaluations.check(step)
            run.log(step, **metrics)
            rewards.adapt(scored, config.limit_rate)
            if config.kl_target:
                beta = adapted_kl_coef(beta, metrics["kl_k1"], config.kl_target, config.batch_size, config.kl_horizon)
            planned = step % config.save_every == 0 or step == config.steps or evaluations.over
            if planned:
                run.samples(step, sample_table(rollout, targets.kl, decode))
            if config.keep_every and step % config.keep_every == 0:
                run.keep(step, {"policy": trained_state(policy)})
            if run.due(planned, config.save_minutes):
                state = {
                    "policy": trained_state(policy),
                    "value": trained_state(value),
                    "average": average,
                    "kl_coef": beta,
                    "updates": updates,
                    "multipliers": rewards.multipliers,
                    "gate": gate.first,
                    "evaluations": evaluations.state,
                }
                run.checkpoint(step, state | {name: optimizer_states(optimizers) for name, optimizers in trained.items()})
                draws.settle(step)
                evaluations.tidy()
            told = {"reward": metrics["reward"], "kl": metrics["kl_k1"], "episodes_per_second": metrics["episodes_per_second"]}
            bar.advance(**told | evaluations.shown())
    best = evaluations.best()
    if average:
        policy.load_state_dict(average if best is None else best, strict=False)
    elif best is not None:
        restore_trained(policy, best)
    return policy


def learning_targets(config: PpoConfig, rollout: Rollout, beta: float, weights: Tensor | None = None) -> Targets:
    """Return rewards (including those of single tokens), advantages and returns of a rollout under the truncation rule.

    ``weights`` are the importance weights of its tokens; None is 1.
    """
    keep = learned_tokens(rollout, config.truncation)
    scores, after = settled_scores(rollout, config.truncation, config.no_stop_reward), torch.zeros_like(rollout.after)
    if config.truncation == "bootstrap":
        after = torch.where(~rollout.finished, rollout.after, 0.0)
    kl = (rollout.logprobs - rollout.reference).masked_fill(~rollout.keep, 0.0)
    rewards = kl_rewards(scores, kl_estimate(kl.masked_fill(~keep, 0.0), config.kl_estimator), keep, beta)
    if rollout.dense is not None:
        rewards = rewards + rollout.dense.masked_fill(~keep, 0.0)
    if config.whiten_rewards:
        rewards = whiten(rewards, keep, shift=False)
    advantages, returns = gae(rewards, rollout.values, keep, after, config.gamma, config.lam)
    if config.whiten_advantages:
        advantages = whiten(advantages, keep)
    return Targets(keep, advantages, returns, rewards, kl, torch.ones_like(kl) if weights is None else weights)


def _losses(
    config: PpoConfig, policy: Any, value: Any, rollout: Rollout, targets: Targets, rows: list[int], dtype: torch.dtype
) -> tuple[list[dict[str, Tensor]], float]:
    """Add the gradients of one minibatch's policy and value loss, means over its kept tokens; return each pass's sums, and the tokens."""
    kept = float(targets.keep[rows].sum().clamp(min=1))
    sums = list[dict[str, Tensor]]()
    lengths = [len(rollout.prompts[i]) + len(rollout.responses[i]) for i in rows]
    for group in divided(lengths, config.micro_tokens, [rollout.prompts[i] for i in rows]):
        part = [rows[i] for i in group]
        batch = minibatch(rollout, part).to(policy.device)
        response = rollout.keep[part]
        counts = targets.keep[part][response]
        counted = counts.nonzero().squeeze(1).to(policy.device)
        told = (rollout.logprobs, rollout.values, targets.advantages, targets.returns, targets.weights)
        old, old_values, advantages, returns, weights = (x[part][response].to(policy.device) for x in told)
        counts = counts.to(policy.device)
        new, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)
        values = scalars(value, batch, batch.targets - 1, dtype=dtype)
        policy_loss = (clipped_policy_loss(new, old, advantages, config.clip) * weights * counts).sum() / kept
        value_loss = (clipped_value_loss(values, old_values, returns, config.value_clip) * counts).sum() / kept
        (policy_loss + value_loss).backward()
        with torch.no_grad():
            losses = {"policy_loss": policy_loss.detach(), "value_loss": value_loss.detach()}
            sums.append(losses | ratio_sums((new - old)[counted], config.clip, config.clip))
    return sums, kept


def _pretraining_mix(config: PpoConfig, policy: Any, documents: list[list[int]], dtype: torch.dtype) -> Tensor:
    """Add ptx_coef times the gradient of the raw-text loss and return that loss."""
    loss = text_loss(policy, documents, dtype=dtype)
    (config.ptx_coef * loss).backward()
    return ranks.summed(loss.detach())


def _follow(average: dict[str, Tensor], policy: Any, decay: float) -> None:
    with torch.no_grad():
        for name, parameter in policy.named_parameters() if average else ():
            if name in average:
                average[name].lerp_(parameter, 1 - decay)


def _summary(rollout: Rollout, targets: Targets, history: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of one step; docs/ppo.md defines each."""
    means = {name: sum(row[name] for row in history) / len(history) for name in history[0]}
    return (
        means
        | rollout_metrics(rollout, targets.kl)
        | {
            "reward_total": targets.rewards.sum(1).mean().item(),
            "value_explained_variance": explained_variance(rollout.values, targets.returns, targets.keep),
            "advantage": masked_mean(targets.advantages, targets.keep).item(),
        }
    )
