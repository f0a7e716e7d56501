"""Self-taught reasoning: the model attempts problems, learns from rationales that led to right answers, and repeats (STaR).

Follows Zelikman et al. 2022, section 3, except: several rationales are drawn per problem, and up to ``kept`` different right ones are
learned from; a hint is the answer after the question, and the resulting rationale is learned without the hint; with ``restart`` a round
trains from the SFT model again, as in the paper, on the rationales of all rounds so far. Rationales without a stop token are never kept.

With ``majority`` the right answer is the one that most rationales of a problem give (Huang et al. 2022, section 3.1), so that none has to
be known; except: nothing is mixed in other formats, and one vote is counted per rationale that gives an answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.early_stopping import Evaluations, HeldOut
from accord.algorithms.optim import constant, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.algorithms.rollouts import Drawn, draw, minibatches, update_metrics
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, pack
from accord.models.policy import logprobs
from accord.protocols import Sampler, Scorer
from accord.records import Sampling, final_answer
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import StarConfig

Pairs = list[list[list[int]]]
"""Prompt and response of each kept rationale, as lists, so that a checkpoint can hold them."""


@dataclass(frozen=True)
class Question:
    """A problem's token ids, with and without its answer as a hint."""

    plain: list[int]
    hinted: list[int]


def train(
    config: StarConfig,
    *,
    policy: Any,
    sampler: Sampler,
    scorer: Scorer,
    questions: Sequence[Question],
    decode: Callable[[Sequence[int]], str],
    run: Run,
    dtype: torch.dtype,
    held_out: HeldOut | None = None,
) -> Any:
    """Train the policy, which starts as the SFT model, in place and return it.

    Args:
        sampler: samples from ``policy``. scorer: 1 for a right response to a plain prompt, otherwise 0.
        decode: token ids to text, for the sample tables.
        held_out: what the policy is evaluated on meanwhile; nothing for None.

    Raises:
        RunError: a reward is not a number.
    """
    beginning = {name: value.detach().clone() for name, value in trained_state(policy).items()} if config.restart else {}
    warmup = config.warmup(config.updates)
    optimizers = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr)
    done, updates, pool, evaluated = 0, 0, Pairs(), dict[str, Any]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(policy, state["policy"])
        restore_optimizers(optimizers, state["optimizers"])
        updates, pool, evaluated = state["updates"], state["pool"], state.get("evaluations", {})
    sampler.refresh()
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    evaluations = Evaluations(config, held_out, sampler, run, sampling, lambda: trained_state(policy))
    evaluations.begin(done, evaluated)

    with track(config.rounds, "star", done=done) as bar:
        for step in evaluations.steps(done):
            # step 1: try the next problems, and with the answer as a hint those that nothing right came of
            began = time.perf_counter()
            asked = _next(questions, (step - 1) * config.batch_size, config.batch_size, config.seed)
            tried = _tries(config, [q.plain for q in asked], sampler, scorer, step, "plain")
            found = kept(config, [q.plain for q in asked], tried)
            unsolved = [q for q, own in zip(asked, found, strict=True) if not own] if config.hints and not config.majority else []
            hinted = Pairs()
            if unsolved:
                helped = _tries(config, [q.hinted for q in unsolved], sampler, _Unhinted(scorer, unsolved), step, "hinted")
                hinted = [pair for own in kept(config, [q.plain for q in unsolved], helped) for pair in own]

            # step 2: what is learned from
            mine = [pair for own in found for pair in own] + hinted
            pool = _without_repeats([*pool, *mine]) if config.restart else mine

            # step 3: fine-tune on it
            sampled, history = time.perf_counter(), list[dict[str, float]]()
            if config.restart:
                restore_trained(policy, beginning)
                optimizers, updates = make_optimizers(policy, config, lr=config.lr, muon_lr=config.muon_lr), 0
            for rows in minibatches(len(pool), config.minibatch_size, config.epochs, seed=config.seed, stage="star", step=step):
                losses = _learn(config, policy, [pool[i] for i in rows], dtype)
                norm = update(scaled(optimizers, constant(updates, warmup)), config.max_grad_norm)
                updates += 1
                history.append(update_metrics(losses, 1.0, grad_norm=norm))
            sampler.refresh()

            # step 4: log, keep a checkpoint
            metrics = {name: sum(row[name] for row in history) / max(len(history), 1) for name in ("loss", "grad_norm")}
            metrics |= {
                "accuracy": tried.scores.mean().item(),
                "solved": sum(map(bool, found)) / len(found),
                "hinted": len(hinted) / max(len(unsolved), 1),
                "kept": float(len(mine)),
                "pool": float(len(pool)),
                "finished": tried.finished.float().mean().item(),
                **_majorities(scorer, len(asked)),
                "seconds_rollout": sampled - began,
                "seconds_train": time.perf_counter() - sampled,
            }
            run.log(step, **metrics | evaluations.check(step))
            planned = step % config.save_every == 0 or step == config.rounds or evaluations.over
            if planned:
                run.samples(step, _table(tried, decode))
            if run.due(planned, config.save_minutes):
                state = {"policy": trained_state(policy), "optimizers": optimizer_states(optimizers), "updates": updates, "pool": pool}
                run.checkpoint(step, state | {"evaluations": evaluations.state})
                evaluations.tidy()
            told = {"accuracy": metrics["accuracy"], "solved": metrics["solved"], "pool": metrics["pool"]}
            bar.advance(**told | evaluations.shown())
    if (best := evaluations.best()) is not None:
        restore_trained(policy, best)
    return policy


def _majorities(scorer: Scorer, asked: int) -> dict[str, float]:
    """Return what a round's majorities were: how many problems had one, and how many of those with a known answer were right."""
    if not isinstance(scorer, MajorityAnswer):
        return {}
    counts = dict(scorer.counts)
    scorer.counts.clear()
    found = {"majorities": counts.get("majorities", 0) / asked}
    return found | ({"majority_right": counts["right"] / counts["known"]} if counts.get("known") else {})


def kept(config: StarConfig, prompts: Sequence[list[int]], tried: Drawn) -> list[Pairs]:
    """Return for each problem up to ``config.kept`` different right and finished responses, each with the prompt to learn it with."""
    found: list[Pairs] = []
    right = (tried.finished & (tried.scores >= 1)).tolist()
    for number, prompt in enumerate(prompts):
        rows = range(number * config.attempts, (number + 1) * config.attempts)
        different = {tuple(tried.responses[i]): i for i in reversed(rows) if right[i]}
        first = sorted(different.values())[: config.kept]
        found.append([[list(prompt), list(tried.responses[i])] for i in first])
    return found


@dataclass(frozen=True)
class MajorityAnswer:
    """1 for each response of a problem that gives the answer most of them give, if enough do; 0 for all others.

    The responses of a problem are adjacent. Of equally frequent answers the first given counts. Where the right answers are known, it
    counts how often the majority is right; nothing is learned from that.
    """

    attempts: int
    agreement: float
    text: Callable[[Sequence[int]], str]
    """Converts response tokens to text."""
    known: Mapping[tuple[int, ...], Decimal] = field(default_factory=dict[tuple[int, ...], Decimal])
    counts: Counter[str] = field(default_factory=Counter[str])
    """Problems with a majority, those whose right answer is known, and those of them whose majority is right."""

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        scores: list[float] = []
        for first in range(0, len(responses), self.attempts):
            answers = [final_answer(self.text(response)) for response in responses[first : first + self.attempts]]
            votes = Counter(answer for answer in answers if answer is not None)
            most = max(votes, key=votes.__getitem__) if votes else None
            if most is None or votes[most] < max(self.agreement * len(answers), 1):
                scores += [0.0] * len(answers)
                continue
            scores += [float(answer == most) for answer in answers]
            right = self.known.get(tuple(prompts[first]))
            self.counts.update({"majorities": 1, "known": right is not None, "right": right == most})
        return torch.tensor(scores)


@dataclass(frozen=True)
class _Unhinted:
    """Scores responses to hinted prompts as responses to the plain ones."""

    scorer: Scorer
    questions: Sequence[Question]

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        plain = {tuple(question.hinted): question.plain for question in self.questions}
        return self.scorer.score([plain[tuple(prompt)] for prompt in prompts], responses)


def _tries(config: StarConfig, prompts: Sequence[list[int]], sampler: Sampler, scorer: Scorer, step: int, which: str) -> Drawn:
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    random = generator(config.seed, "star", which, step)
    return draw(prompts, n=config.attempts, sampler=sampler, scorer=scorer, sampling=sampling, generator=random)


def _next(questions: Sequence[Question], start: int, count: int, seed: int) -> list[Question]:
    """Return the next problems, in passes over all of them, each in its own seeded order; none twice in a round.

    A round that reaches into the next pass skips what it has from the pass that ends; a round of all problems or more is one pass.
    """
    if count >= len(questions):
        start, count = start // count * len(questions), len(questions)
    wanted = range(start, start + count)
    orders = {
        epoch: torch.randperm(len(questions), generator=generator(seed, "star", "questions", epoch))
        for epoch in {i // len(questions) for i in wanted}
    }
    drawn = [int(orders[i // len(questions)][i % len(questions)]) for i in wanted]
    first = dict.fromkeys(drawn)
    spare = (int(place) for place in orders[max(orders)] if int(place) not in first)
    chosen = [*first, *(next(spare) for _ in range(count - len(first)))]
    return [questions[place] for place in chosen]


def _without_repeats(pairs: Pairs) -> Pairs:
    return list({(tuple(prompt), tuple(response)): [prompt, response] for prompt, response in pairs}.values())


def _learn(config: StarConfig, policy: Any, pairs: Pairs, dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """Add the gradient of the cross-entropy of some responses, a mean over their tokens, and return the loss of each pass."""
    tokens, losses = sum(len(response) for _, response in pairs), list[dict[str, Tensor]]()
    for group in divided([len(prompt) + len(response) for prompt, response in pairs], config.micro_tokens):
        part = [pairs[i] for i in group]
        batch = pack([[*prompt, *response] for prompt, response in part], [len(response) for _, response in part])
        flat, _ = logprobs(policy, batch.to(policy.device), dtype=dtype)
        loss = -flat.sum() / tokens
        loss.backward()
        losses.append({"loss": loss.detach()})
    return losses


def _table(tried: Drawn, decode: Callable[[Sequence[int]], str], rows: int = 8) -> list[dict[str, Any]]:
    return [
        {"prompt": decode(tried.prompts[i]), "response": decode(tried.responses[i]), "right": bool(tried.scores[i] >= 1)}
        for i in range(min(rows, len(tried.responses)))
    ]
