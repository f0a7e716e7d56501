"""Rejection sampling: draw n responses to each prompt, keep the good ones, fine-tune on them, and repeat (RAFT, expert iteration).

Follows Dong et al. 2023 (RAFT): the best of n by reward, then cross-entropy on response tokens. ``select="threshold"`` instead keeps all
that are good enough, like expert iteration on verifiable answers, and ``restart`` trains from the SFT model again each round (Singh et
al. 2023, ReST-EM). One round distils best-of-n. Except: there is no KL term, and the distance to the SFT model is only measured; a
prompt's selected responses are not mixed with those of earlier rounds; responses without a stop token are never learned from.
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
from accord.algorithms.groupwise_objectives import best_of_n_kl, best_rows
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rewards import Mixture
from accord.algorithms.rollouts import (
    Drawn,
    draw,
    episode_metrics,
    learned_tokens,
    measure,
    minibatch,
    minibatches,
    next_prompts,
    rollout_metrics,
    sample_table,
    speed_metrics,
    update_metrics,
)
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided
from accord.models.policy import logprobs
from accord.protocols import Sampler
from accord.records import Sampling
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import RaftConfig


def train(
    config: RaftConfig,
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
    beginning = {name: value.detach().clone() for name, value in trained_state(policy).items()} if config.restart else {}
    warmup = config.warmup(config.updates)
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    gate, done, updates, evaluated = Gate.of(config, sampler, dtype), 0, 0, dict[str, Any]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        rewards.multipliers.update(state["multipliers"])
        updates, evaluated = state["updates"], state.get("evaluations", {})
        gate.first.update(state.get("gate", {}))
    draws = Draws(config, sampler, run, done)
    draws.refresh(done)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    evaluations = Evaluations(config, held_out, sampler, run, sampling, lambda: trained_state(policy))
    evaluations.begin(done, evaluated)

    with track(config.rounds, "raft", done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: draw n responses to each of the next prompts and score them
            scorer = rewards.at(step, config.rounds)
            drawn = draw(
                next_prompts(prompts, (step - 1) * config.batch_size, config.batch_size, seed=config.seed, stage="raft"),
                n=config.group_size,
                sampler=draws.at(step),
                scorer=scorer,
                sampling=sampling,
                generator=generator(config.seed, "raft", "rollout", step),
            )

            # step 2: how far the policy is from the SFT model, by the first response to each prompt; keep the good ones
            first = drawn.rows(range(0, len(drawn.responses), config.group_size))
            rollout = measure(
                first, policy=policy, reference=reference, temperature=config.temperature, dtype=dtype, micro_tokens=config.micro_tokens
            )
            gate.check(rollout, f"raft round {step}")
            kl = (rollout.logprobs - rollout.reference).masked_fill(~rollout.keep, 0.0)
            chosen = selected(config, drawn)

            # step 3: fine-tune on what was kept
            started, history = time.perf_counter(), list[dict[str, float]]()
            if config.restart:
                restore_trained(policy, beginning)
                optimizers, updates = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr), 0
            for rows in minibatches(len(chosen), config.minibatch_size, config.epochs, seed=config.seed, stage="raft", step=step):
                losses = _learn(config, policy, drawn, [chosen[i] for i in rows], dtype)
                norm = update(scaled(optimizers, constant(updates, warmup)), config.max_grad_norm)
                updates += 1
                history.append(update_metrics(losses, 1.0, grad_norm=norm))
            draws.refresh(step)
            seconds_train = time.perf_counter() - started

            # step 4: log, keep a checkpoint
            metrics = rollout_metrics(rollout, kl) | scorer.metrics() | _summary(config, drawn, chosen, history)
            metrics |= {"lr": config.lr * constant(max(updates - 1, 0), warmup)}
            metrics |= speed_metrics(drawn, rollout, seconds_train) | episode_metrics(drawn) | evaluations.check(step)
            run.log(step, **metrics)
            rewards.adapt(scorer, config.limit_rate)
            planned = step % config.save_every == 0 or step == config.rounds or evaluations.over
            if planned:
                run.samples(step, sample_table(rollout, kl, decode))
            if run.due(planned, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers), "multipliers": rewards.multipliers}
                run.checkpoint(step, state | {"updates": updates, "gate": gate.first, "evaluations": evaluations.state})
                draws.settle(step)
                evaluations.tidy()
            told = {"reward": metrics["reward"], "chosen": metrics["reward_chosen"], "kl": metrics["kl_k1"]}
            bar.advance(**told | evaluations.shown())
    if (best := evaluations.best()) is not None:
        restore_trained(policy, best)
    return policy


def selected(config: RaftConfig, drawn: Drawn) -> list[int]:
    """Return the row numbers of the responses to learn from: only finished ones."""
    usable = drawn.finished & learned_tokens(drawn, "mask").any(1)
    if config.select == "best":
        return best_rows(drawn.scores, config.group_size, usable).tolist()
    return (usable & (drawn.scores >= config.threshold)).nonzero().flatten().tolist()


def _learn(config: RaftConfig, policy: Any, drawn: Drawn, rows: list[int], dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """Add the gradient of the cross-entropy of some responses, a mean over their tokens, and return the loss of each pass."""
    kept, losses = int(drawn.keep[rows].sum()), list[dict[str, Tensor]]()
    lengths = [len(drawn.prompts[i]) + len(drawn.responses[i]) for i in rows]
    for group in divided(lengths, config.micro_tokens, [drawn.prompts[i] for i in rows]):
        batch = minibatch(drawn, [rows[i] for i in group])
        flat, _ = logprobs(policy, batch.to(policy.device), dtype=dtype)
        loss = -flat.sum() / kept
        loss.backward()
        losses.append({"loss": loss.detach()})
    return losses


def _summary(config: RaftConfig, drawn: Drawn, chosen: list[int], history: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of sampling and selection in a round; docs/raft.md defines each."""
    means = {name: sum(row[name] for row in history) / max(len(history), 1) for name in ("loss", "grad_norm")}
    best: Tensor = best_rows(drawn.scores, config.group_size, drawn.finished)
    log_p = (drawn.logprobs * drawn.keep).sum(1)[best]
    return means | {
        "reward": drawn.scores.mean().item(),
        "reward_chosen": drawn.scores[chosen].mean().item() if chosen else float("nan"),
        "chosen": float(len(chosen)),
        "kl_best_of_n": best_of_n_kl(log_p, config.group_size),
        "kl_best_of_n_formula": best_of_n_kl(torch.zeros(0), config.group_size),
    }
