"""The common ground of the methods: the same prompts, judge, SFT model and raw text; and how each method is measured on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from accord.commands.evaluate.held_out import held_out_prompts_by_id, held_out_raw_text
from accord.commands.models import Model, answerable, compute_dtype, load_model, load_reward_model, locate
from accord.commands.world import world_of
from accord.engine.local import LocalSampler
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.tax import alignment_tax
from accord.models.packing import pack
from accord.models.policy import logprobs, mean_loss
from accord.models.qvalues import QScorer, load_q
from accord.protocols import Judge, Scorer
from accord.records import Prompt, Sampling
from accord.runtime.project import Project
from accord.runtime.seeds import generator
from accord.settings import AlgorithmsConfig
from accord.world import GoldJudge

BATCH = 64


@dataclass(frozen=True)
class Ground:
    """The common ground: prompts, judge and SFT model, the same for every method."""

    prompts: list[Prompt]
    judge: Judge
    sft: Model
    utilities: list[float]
    """The judge's utility of the SFT model's responses."""
    raw_text: list[list[int]]
    base_loss: float
    dtype: torch.dtype

    def tax(self, model: Model) -> float:
        """Return a model's alignment tax."""
        return alignment_tax(self.base_loss, mean_loss(model.lm, self.raw_text, dtype=self.dtype)).tax


@dataclass(frozen=True)
class Outcome:
    """One run of one method: the utility of each response, and its cost."""

    seed: int
    utilities: list[float]
    kl: float
    tax: float | None
    seconds: float = 0.0
    peak_rss_mb: float = 0.0


def open_ground(project: Project, config: AlgorithmsConfig, base: str, sft: str, dtype: str) -> Ground:
    """Open the judge, the prompts and the SFT model, and measure the SFT model.

    Raises:
        UsageError: the project has no world.
        InputError: it has no prompts of held-out users.
        ModelError: a model is missing.
    """
    world = world_of(project)
    judge = GoldJudge(world, rules="evaluation")
    prompts = held_out_prompts_by_id(project, config.prompts, known=world.specs)
    compute = compute_dtype(dtype)
    model, first = load_model(project, sft), load_model(project, base)
    prompts = answerable(prompts, model.format)
    raw_text = held_out_raw_text(project, first)
    ground = Ground(prompts, judge, model, [], raw_text, mean_loss(first.lm, raw_text, dtype=compute), compute)
    utilities, _ = responses(ground, model, config)
    return replace(ground, utilities=utilities)


@torch.no_grad()
def responses(ground: Ground, model: Model, config: AlgorithmsConfig) -> tuple[list[float], float]:
    """Return the utility of one response to each prompt, and the KL to the SFT model in nats per response (k1).

    The log-probabilities are those of the distribution that was drawn from, a guide included.
    """
    ids = [model.format.asked(prompt) for prompt in ground.prompts]
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=ground.dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    order, utilities, total = sorted(range(len(ids)), key=lambda i: len(ids[i])), [0.0] * len(ids), 0.0
    for number, start in enumerate(range(0, len(order), BATCH)):
        part = order[start : start + BATCH]
        numbers = generator(config.seed, "algorithms", model.name, number)
        drawn = sampler.sample([ids[i] for i in part], n=1, sampling=sampling, generator=numbers)
        rows = drawn.rows()
        for i, row in zip(part, rows, strict=True):
            utilities[i] = ground.judge.judge(ground.prompts[i], model.format.text(row)).utility
        batch = pack([[*ids[i], *row] for i, row in zip(part, rows, strict=True)], [len(row) for row in rows]).to(ground.sft.lm.device)
        reference, _ = logprobs(ground.sft.lm, batch, dtype=ground.dtype, temperature=config.temperature)
        total += float((drawn.logprobs[drawn.keep] - reference.cpu()).double().sum())
    return utilities, total / len(ids)


def chooser(project: Project, ground: Ground, method: str, seed: int, reward: str) -> Scorer:
    """Return the scorer that chooses among candidates: the reward model, or the Q network of this seed's ILQL."""
    if method == "best-of-n":
        return load_reward_model(project, locate(project, reward), ground.dtype)
    found = load_q(project.model(f"ilql-s{seed}"), ground.sft.lm)
    assert found, "ilql runs before q-best-of-n"
    return QScorer(found[0], dtype=ground.dtype)


def best_candidates(ground: Ground, scorer: Scorer, config: AlgorithmsConfig, seed: int) -> list[float]:
    """Return the utility of the candidate that the scorer likes best, for each prompt."""
    model, n = ground.sft, config.best_of
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=ground.dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    utilities: list[float] = []
    for number, start in enumerate(range(0, len(ground.prompts), BATCH)):
        prompts = ground.prompts[start : start + BATCH]
        ids = [model.format.asked(prompt) for prompt in prompts]
        rows = sampler.sample(ids, n=n, sampling=sampling, generator=generator(seed, "algorithms", "best-of-n", number)).rows()
        repeated = [ids[i // n] for i in range(len(rows))]
        scores: list[float] = scorer.score(repeated, rows).tolist()
        utilities += [ground.judge.judge(prompts[i // n], model.format.text(rows[i])).utility for i in best_of_n(scores, n)]
    return utilities
