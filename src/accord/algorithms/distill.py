"""Distillation: a student learns a larger teacher's distribution over the vocabulary at every token of a response.

Follows Agarwal et al. 2024 (GKD), algorithm 1, with their generalised Jensen-Shannon divergence, except: whether a step is on the
student's own responses is drawn with the run's seed; the loss is a mean over the tokens of a step; one temperature serves sampling and
divergence; there is no reward term. With ``otherwise="teacher"`` the steps between are on the teacher's responses (sequence-level
distillation: Kim and Rush 2016). As in the paper no gradient passes through the sampling, and a response that was cut is learned from too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.early_stopping import Evaluations, HeldOut
from accord.algorithms.objectives import generalised_jsd, kl_divergence
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rewards import Mixture, Term
from accord.algorithms.rollouts import asked_of, next_prompts, update_metrics
from accord.models.adapters import restore_trained, trained_state
from accord.models.distributions import compared
from accord.models.packing import divided, pack
from accord.protocols import Sampler
from accord.records import Sampling
from accord.runtime import ranks
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import DistillConfig

STAGE = "distill"


@dataclass(frozen=True)
class Answered:
    """A prompt and a response to it, as token ids."""

    prompt: list[int]
    response: list[int]
    finished: bool = True

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.response)


def train(
    config: DistillConfig,
    *,
    policy: Any,
    teacher: Any,
    sampler: Sampler,
    teacher_sampler: Sampler | None,
    prompts: Sequence[list[int]],
    written: Sequence[Answered],
    decode: Callable[[Sequence[int]], str],
    run: Run,
    dtype: torch.dtype,
    held_out: Sequence[list[int]] = (),
) -> Any:
    """Train the policy, which is the student and starts as the SFT model, in place and return it.

    Args:
        teacher: reads the student's token ids, and stays fixed.
        sampler: samples from ``policy``; ``teacher_sampler`` from the teacher, where the settings ask for its responses.
        prompts: token ids of the training prompts. written: demonstrations, where the settings learn on them.
        decode: token ids to text, for the sample tables.
        held_out: prompts that the student is evaluated on meanwhile, by its divergence from the teacher.
    """
    warmup = config.warmup(config.updates)
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    done, evaluated = 0, dict[str, Any]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        evaluated = state["evaluations"]
    sampler.refresh()
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    near = Mixture((Term("teacher"),), {"teacher": Nearness(config, policy, teacher, dtype)})
    evaluations = Evaluations(config, HeldOut(held_out, near) if held_out else None, sampler, run, sampling, lambda: trained_state(policy))
    evaluations.begin(done, evaluated)

    with track(config.steps, STAGE, done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: whose responses this step is on
            began, own = time.perf_counter(), is_on_policy(config, step)
            speaker = sampler if own else teacher_sampler
            if speaker is None:
                rows = next_rows(written, config, step)
            else:
                asked = next_prompts(prompts, (step - 1) * config.batch_size, config.batch_size, seed=config.seed, stage=STAGE)
                rows = _answers(asked, speaker, sampling, generator(config.seed, STAGE, "rollout", step))

            # step 2: the divergence from the teacher at every token of the responses, a mean over tokens
            drawn = time.perf_counter()
            sums = _losses(config, policy, teacher, rows, dtype)
            norm = update(scaled(optimizers, constant(step - 1, warmup)), config.max_grad_norm)
            tokens = sum(len(row.response) for row in rows)
            metrics = update_metrics(sums, tokens, grad_norm=norm)
            sampler.refresh()
            now = time.perf_counter()

            # step 3: log, keep a checkpoint
            metrics |= {
                "on_policy": float(own),
                "response_length": tokens / len(rows),
                "finished": sum(row.finished for row in rows) / len(rows),
                "lr": config.lr * constant(step - 1, warmup),
                "seconds_rollout": drawn - began,
                "seconds_train": now - drawn,
                "tokens_per_second": tokens / (now - began),
            }
            run.log(step, **metrics | evaluations.check(step))
            planned = step % config.save_every == 0 or step == config.steps or evaluations.over
            if planned:
                run.samples(step, _table(rows, decode))
            if run.due(planned, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers)}
                run.checkpoint(step, state | {"evaluations": evaluations.state})
                evaluations.tidy()
            bar.advance(**{"loss": metrics["loss"], "agreement": metrics["agreement"]} | evaluations.shown())
    if (best := evaluations.best()) is not None:
        restore_trained(policy, best)
    return policy


def is_on_policy(config: DistillConfig, step: int) -> bool:
    """Return whether a step is on the student's own responses: drawn anew for each step, so that a resumed run draws the same."""
    return bool(torch.rand((), generator=generator(config.seed, STAGE, "whose", step)) < config.on_policy)


def next_rows(written: Sequence[Answered], config: DistillConfig, step: int) -> list[Answered]:
    """Return the demonstrations of a step, in passes over all of them, each in its own seeded order."""
    places = [[place] for place in range(len(written))]
    start = (step - 1) * config.batch_size
    return [written[place] for (place,) in next_prompts(places, start, config.batch_size, seed=config.seed, stage="distill written")]


def _answers(prompts: Sequence[list[int]], sampler: Sampler, sampling: Sampling, random: torch.Generator) -> list[Answered]:
    """Draw one response to each prompt."""
    drawn = asked_of(sampler, partial(sampler.sample, prompts, n=1, sampling=sampling, generator=random))
    finished: list[bool] = drawn.finished.tolist()
    rows = zip(prompts, drawn.rows(), finished, strict=True)
    return [Answered(list(prompt), response, ended) for prompt, response, ended in rows]


def differences(beta: float, student: Tensor, teacher: Tensor) -> Tensor:
    """Return what is measured where a token is predicted [n, 4]: the divergence, the KL both ways, whether the likeliest token is the same.

    Only the divergence has a gradient.
    """
    loss = generalised_jsd(student, teacher, beta)
    with torch.no_grad():
        same = (student.argmax(-1) == teacher.argmax(-1)).float()
        told = [kl_divergence(teacher, student), kl_divergence(student, teacher), same]
    return torch.stack([loss, *told], 1)


def _losses(config: DistillConfig, policy: Any, teacher: Any, rows: Sequence[Answered], dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """Add the gradient of the divergence, a mean over the tokens of all rows; return each pass's sums."""
    tokens, sums = sum(len(row.response) for row in rows), list[dict[str, Tensor]]()
    for group in divided([row.length for row in rows], config.micro_tokens, [row.prompt for row in rows]):
        table = _measured(config, policy, teacher, [rows[i] for i in group], dtype)
        loss = table[:, 0].sum() / tokens
        loss.backward()
        forward, reverse, same = table[:, 1:].detach().sum(0)
        sums.append({"loss": loss.detach(), "forward_kl": forward, "reverse_kl": reverse, "agreement": same})
    return sums


def _measured(config: DistillConfig, policy: Any, teacher: Any, rows: Sequence[Answered], dtype: torch.dtype) -> Tensor:
    """Return the differences at each token of the rows' responses, end to end."""
    batch = pack([[*row.prompt, *row.response] for row in rows], [len(row.response) for row in rows]).to(policy.device)
    return compared(policy, teacher, batch, partial(differences, config.beta), dtype=dtype, temperature=config.temperature)


@dataclass(frozen=True)
class Nearness:
    """Minus the mean divergence from the teacher over a response's tokens, in nats: what a student is evaluated by while it learns."""

    config: DistillConfig
    policy: Any
    teacher: Any
    dtype: torch.dtype

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        rows = [Answered(list(prompt), list(response)) for prompt, response in zip(prompts, responses, strict=True)]
        scores = torch.zeros(len(rows))
        for group in divided([row.length for row in rows], self.config.micro_tokens, [row.prompt for row in rows]):
            own = [rows[i] for i in group]
            table = _measured(self.config, self.policy, self.teacher, own, self.dtype)[:, 0].cpu()
            for i, part in zip(group, torch.split(table, [len(row.response) for row in own]), strict=True):
                scores[i] = -part.mean()
        return ranks.summed(scores)


def _table(rows: Sequence[Answered], decode: Callable[[Sequence[int]], str], shown: int = 8) -> list[dict[str, Any]]:
    """Return the first rows in readable form, for samples.jsonl."""
    return [{"prompt": decode(row.prompt), "response": decode(row.response), "finished": row.finished} for row in rows[:shown]]
