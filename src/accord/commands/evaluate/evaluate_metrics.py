"""The metrics of `accord evaluate`: win rates, KL, alignment tax, made-up answers, criteria; docs/evaluate.md defines each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from accord.commands.evaluate.held_out import held_out_raw_text
from accord.commands.evaluate.kl import response_kl
from accord.commands.models import Model, respond
from accord.engine.local import LocalSampler
from accord.evaluation.slices import by_scene
from accord.evaluation.statistics import interval
from accord.evaluation.tax import alignment_tax
from accord.evaluation.truth import made_up_share
from accord.evaluation.win_rate import CRITERIA, compare
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.intervals import Interval
from accord.feedback.store import Store
from accord.models.policy import mean_loss
from accord.protocols import Judge
from accord.records import Judgement, Prompt, Response, Sampling
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings import EvaluateConfig
from accord.settings.scenes import NONE
from accord.world import HELD_OUT_GROUP


@dataclass(frozen=True)
class JudgedSystem:
    """A model as it was evaluated: one response per prompt, with the judge's verdict."""

    responses: list[Response]
    judgements: list[Judgement]


def rounded(values: Iterable[float]) -> list[float]:
    """Return a value and its interval to four digits."""
    return [round(float(value), 4) for value in values]


def training_agreement(project: Project) -> Interval:
    """Return how often labelers of the training groups order a pair alike, ties excluded."""
    with Store.open(project.store_url) as store:
        groups = {labeler.id: labeler.group for labeler in store.labelers()}
        rankings = (ranking for ranking in store.rankings() if groups[ranking.labeler] != HELD_OUT_GROUP)
        return pairwise_agreement(rankings).dropped


def win_rates(
    prompts: Sequence[Prompt], systems: Mapping[str, JudgedSystem], duels: Sequence[tuple[str, str]], config: EvaluateConfig
) -> dict[str, Any]:
    """Return how often the first of each duel is preferred to the second, its ties, and the rate by use case."""
    rates, ties, by_case = dict[str, list[float]](), dict[str, float](), dict[str, dict[str, list[float]]]()
    for one, other in duels:
        duel = f"{one}_vs_{other}"
        won = compare(prompts, systems[one].judgements, systems[other].judgements, resamples=config.bootstrap, seed=config.seed)
        rates[duel], ties[duel] = rounded(won.interval), round(won.ties, 4)
        by_case[duel] = {case: rounded(rate) for case, rate in won.by_use_case.items()}
    return {"win_rate": rates, "ties": ties, "win_rate_by_use_case": by_case, "prompts": len(prompts)}


def by_scenes(prompts: Sequence[Prompt], systems: Mapping[str, JudgedSystem], config: EvaluateConfig) -> dict[str, Any]:
    """Return each system's mean utility in each scene; nothing where no prompt carries one."""
    scenes = by_scene(prompts)
    if {*scenes} == {NONE}:
        return {}
    found: dict[str, dict[str, list[float]]] = {}
    for scene in sorted({*scenes}):
        rows = [row for row, each in enumerate(scenes) if each == scene]
        of_systems: dict[str, list[float]] = {}
        for name, system in systems.items():
            utilities = [system.judgements[row].utility for row in rows]
            of_systems[name] = rounded(interval(utilities, resamples=config.bootstrap, seed=config.seed))
        found[scene] = of_systems
    return {"utility_by_scene": found}


def kl(policy: Model, sft: Model, system: JudgedSystem, prompts: Sequence[Prompt], temperature: float, dtype: torch.dtype) -> float:
    """Return the mean KL of the policy's own responses to the SFT model in nats per response, at the temperature they were sampled at.

    A greedy policy has no KL of its own; its responses are measured at temperature 1.
    """
    temperature = temperature or 1.0
    per_response = response_kl(policy, sft, prompts, system.responses, temperature=temperature, dtype=dtype)
    return round(float(per_response.sum()) / len(per_response), 3)


def taxes(project: Project, models: Mapping[str, Model], base: str, dtype: torch.dtype) -> tuple[dict[str, float], dict[str, float]]:
    """Return each model's alignment tax, and its loss on raw text that nothing trained on, in nats per token of the base model."""
    raw_text = held_out_raw_text(project, models[base])
    losses = {name: mean_loss(model.lm, raw_text, dtype=dtype) for name, model in models.items()}
    rises = {name: round(alignment_tax(losses[base], loss).tax, 4) for name, loss in losses.items() if name != base}
    return rises, {name: round(loss, 4) for name, loss in losses.items()}


def hallucination(
    judge: Judge, absent: Sequence[Prompt], models: Mapping[str, Model], config: EvaluateConfig, dtype: torch.dtype
) -> dict[str, list[float]]:
    """Return each model's share of made-up answers to prompts whose fact never stood in the raw text, over several draws."""
    if not absent:
        return {}
    shares: dict[str, list[float]] = {}
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    for name, model in models.items():
        sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
        groups, _ = respond(model, sampler, absent, n=config.draws, sampling=sampling, seed=config.seed + 2, batch_size=64)
        judged: list[list[Judgement]] = []
        for prompt, group in zip(absent, groups, strict=True):
            judged.append([judge.judge(prompt, response.text) for response in group])
        shares[name] = rounded(made_up_share(judged, resamples=config.bootstrap, seed=config.seed))
    return shares


def finished(system: JudgedSystem) -> float:
    """Return the share of a system's responses that ended by themselves."""
    return round(sum(response.finished for response in system.responses) / max(len(system.responses), 1), 4)


def criteria(system: JudgedSystem) -> dict[str, float]:
    """Return the judge's mean of each criterion."""
    means: dict[str, float] = {}
    for name in CRITERIA:
        values = [getattr(judgement, name) for judgement in system.judgements]
        means[name] = round(interval(values, resamples=1).mean, 4)
    return means


def trained_accuracy(project: Project, reward: str) -> dict[str, float]:
    """Return the accuracies that a reward model had at the end of its training, from its lineage."""
    recorded: Mapping[str, float] = lineage.metrics_of(lineage.read(project.model(reward))) if reward in project.models() else {}
    return {key: round(recorded[key], 4) for key in ("accuracy_labelers", "accuracy_heldout_group") if key in recorded}
