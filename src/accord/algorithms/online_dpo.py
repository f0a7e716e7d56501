"""Online DPO: draw responses from the policy, let the reward put each prompt's in order, and take DPO's step on the pairs.

Follows Guo et al. 2024 (OAIF), section 3, except: the order comes from any reward of `accord.rewards`, an AI judge being one of them;
more than two responses per prompt give the pair of the best and the worst; pairs of equal reward teach nothing and are left out, where a
coin would put them in order; the log-probabilities of both models are those of the temperature that was sampled at. The loss is DPO's or
IPO's on whole responses, and the reference is the SFT model throughout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.correction import Gate
from accord.algorithms.draws import Draws
from accord.algorithms.early_stopping import Evaluations, HeldOut
from accord.algorithms.groupwise_objectives import extreme_pairs, response_sums
from accord.algorithms.objectives import TIE, above, dpo_loss, ipo_loss
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rewards import Mixture
from accord.algorithms.rollouts import (
    Rollout,
    draw,
    episode_metrics,
    measure,
    minibatch,
    minibatches,
    next_prompts,
    rollout_metrics,
    sample_table,
    settled_scores,
    speed_metrics,
    update_metrics,
)
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pad
from accord.models.policy import logprobs
from accord.protocols import Sampler
from accord.records import Sampling
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import OnlineDpoConfig

STAGE = "online-dpo"
OF_PAIRS = ("loss", "accuracy", "margin", "reward_better", "reward_worse", "grad_norm")
"""Metrics of the updates of a step; 0 where no prompt gave a pair."""


def train(
    config: OnlineDpoConfig,
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
        policy: starts as the SFT model; ``reference`` is that model and stays fixed.
        sampler: samples from ``policy``. rewards: the reward of a response, part by part.
        prompts: token ids of the training prompts. decode: token ids to text, for the sample tables.
        held_out: what the policy is evaluated on meanwhile; nothing for None.

    Raises:
        RunError: sampler and trainer have different distributions (``Gate``), or a reward is not a number.
    """
    warmup, groups = config.warmup(config.updates), config.batch_size // config.group_size
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    gate, done, updates, evaluated = Gate.of(config, sampler, dtype), 0, 0, dict[str, Any]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        rewards.multipliers.update(state["multipliers"])
        gate.first.update(state["gate"])
        updates, evaluated = state["updates"], state["evaluations"]
    draws = Draws(config, sampler, run, done)
    draws.refresh(done)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    evaluations = Evaluations(config, held_out, sampler, run, sampling, lambda: trained_state(policy))
    evaluations.begin(done, evaluated)

    with track(config.steps, STAGE, done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: draw responses to each of the next prompts, score them, and measure what policy and reference say of them
            scorer = rewards.at(step, config.steps)
            drawn = draw(
                next_prompts(prompts, (step - 1) * groups, groups, seed=config.seed, stage=STAGE),
                n=config.group_size,
                sampler=draws.at(step),
                scorer=scorer,
                sampling=sampling,
                generator=generator(config.seed, STAGE, "rollout", step),
            )
            rollout = measure(
                drawn, policy=policy, reference=reference, temperature=config.temperature, dtype=dtype, micro_tokens=config.micro_tokens
            )
            gate.check(rollout, f"{STAGE} step {step}")

            # step 2: the best and the worst response to each prompt are its pair
            scores = settled_scores(rollout, config.truncation, config.no_stop_reward)
            pairs = extreme_pairs(scores, config.group_size)

            # step 3: DPO on the pairs, in minibatches
            started, history = time.perf_counter(), list[dict[str, float]]()
            order = minibatches(pairs.shape[1], config.minibatch_size, config.epochs, seed=config.seed, stage=STAGE, step=step)
            for chosen in order:
                sums = _losses(config, policy, rollout, pairs[:, chosen], dtype)
                norm = update(scaled(optimizers, constant(updates, warmup)), config.max_grad_norm)
                updates += 1
                history.append(update_metrics(sums, len(chosen), grad_norm=norm))
            draws.refresh(step)
            seconds_train = time.perf_counter() - started

            # step 4: log, keep a checkpoint
            metrics = _summary(rollout, scores, pairs, groups, history) | scorer.metrics() | speed_metrics(rollout, rollout, seconds_train)
            metrics |= {"lr": config.lr * constant(max(updates - 1, 0), warmup)}
            metrics |= episode_metrics(rollout) | evaluations.check(step)
            run.log(step, **metrics)
            rewards.adapt(scorer, config.limit_rate)
            planned = step % config.save_every == 0 or step == config.steps or evaluations.over
            if planned:
                run.samples(step, sample_table(rollout, _log_ratio(rollout), decode))
            if run.due(planned, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers), "multipliers": rewards.multipliers}
                run.checkpoint(step, state | {"updates": updates, "gate": gate.first, "evaluations": evaluations.state})
                draws.settle(step)
                evaluations.tidy()
            told = {"reward": metrics["reward"], "accuracy": metrics["accuracy"], "kl": metrics["kl_k1"]}
            bar.advance(**told | evaluations.shown())
    if (best := evaluations.best()) is not None:
        restore_trained(policy, best)
    return policy


def pair_losses(config: OnlineDpoConfig, gaps: Tensor) -> Tensor:
    """Return the loss of each pair; a gap is log policy - log reference of the better response minus that of the worse."""
    if config.loss == "ipo":
        return ipo_loss(gaps, config.beta)
    return dpo_loss(config.beta * gaps, config.label_smoothing)


def _losses(config: OnlineDpoConfig, policy: Any, rollout: Rollout, pairs: Tensor, dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """Add the gradient of some pairs' loss, a mean over them; return each pass's sums. The two rows of a pair share a pass."""
    better: list[int] = pairs[0].tolist()
    worse: list[int] = pairs[1].tolist()
    lengths = [len(row) + len(rollout.prompts[i]) for i, row in enumerate(rollout.responses)]
    sums = list[dict[str, Tensor]]()
    both = [lengths[i] + lengths[j] for i, j in zip(better, worse, strict=True)]
    for group in divided(both, config.micro_tokens, [rollout.prompts[i] for i in better]):
        rows = [better[i] for i in group] + [worse[i] for i in group]
        batch = minibatch(rollout, rows).to(policy.device)
        flat, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)
        new = pad(flat, torch.tensor(batch.kept_counts))
        keep, reference = (x[rows][:, : new.shape[1]].to(policy.device) for x in (rollout.keep, rollout.reference))
        moved = response_sums(new, keep) - response_sums(reference, keep)
        ahead, behind = moved[: len(group)], moved[len(group) :]
        loss = pair_losses(config, ahead - behind).sum() / len(better)
        loss.backward()
        with torch.no_grad():
            implied = {"reward_better": config.beta * ahead.sum(), "reward_worse": config.beta * behind.sum()}
            right = above(config.beta * ahead, config.beta * behind, TIE).sum()
            sums.append({"loss": loss.detach(), "accuracy": right, "margin": config.beta * (ahead - behind).sum()} | implied)
    return sums


def _log_ratio(rollout: Rollout) -> Tensor:
    """Return log policy - log reference of each sampled token, 0 elsewhere."""
    return (rollout.logprobs - rollout.reference).masked_fill(~rollout.keep, 0.0)


def _summary(rollout: Rollout, scores: Tensor, pairs: Tensor, groups: int, history: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of one step; docs/online-dpo.md defines each."""
    means = {name: sum(row[name] for row in history) / max(len(history), 1) for name in OF_PAIRS}
    gaps = scores[pairs[0]] - scores[pairs[1]]
    own = {
        "pairs": float(len(gaps)),
        "telling_groups": len(gaps) / groups,
        "score_gap": gaps.mean().item() if len(gaps) else 0.0,
    }
    return means | rollout_metrics(rollout, _log_ratio(rollout)) | own
