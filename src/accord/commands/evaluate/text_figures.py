"""Text metrics of systems' answers, for `accord compare` and `accord evaluate`; docs/texts.md defines each."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Any

import torch

from accord.commands.app import interval_text
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.models import Model
from accord.commands.world import has_world, world_of
from accord.data.classifiers.interface import Task
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet, basis_lines
from accord.data.diversity import distinct, self_bleu
from accord.evaluation import text_metrics
from accord.evaluation.statistics import Interval, interval, rate
from accord.evaluation.task_measures import measured
from accord.feedback.store import Store
from accord.models.decoder import states_at
from accord.models.packing import pack
from accord.records import Prompt
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.world.demonstrations import excellent

NO_SHARES = frozenset({"ter", "length_ratio", "ideas"})
"""Metrics that can be above 1."""
AT_ONCE = 64
"""Texts that are embedded at once."""
RESTS_ON: dict[str, tuple[Task, str]] = {"coverage": ("stance", "refusal admission")}
"""The classifier and the labels that a text metric of this name rests on."""


def references_of(project: Project, prompts: Sequence[Prompt]) -> list[list[str]]:
    """Return the demonstrations of each prompt; of one without any that the built-in world knows, an excellent answer of the world's."""
    found: dict[str, list[str]] = {prompt.id: [] for prompt in prompts}
    with Store.open(project.store_url) as store:
        for demonstration in store.demonstrations():
            if demonstration.prompt.id in found:
                found[demonstration.prompt.id].append(demonstration.text)
    if has_world(project):
        world = world_of(project)
        for id, texts in found.items():
            if not texts and id in world.specs:
                texts.append(excellent(world.specs[id], world.town, random.Random(derive(0, "reference", id))))
    return [found[prompt.id] for prompt in prompts]


def text_figures(
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    draw: Mapping[str, int],
    classifiers: ClassifierSet = DEFAULT,
) -> dict[str, dict[str, Any]]:
    """Return each system's text metrics, as means over prompts with their intervals.

    Args:
        texts: by system, one per prompt.
        references: of each prompt; those without any are left out of the metrics that need one.
        classifiers: tell whether a prompt was answered at all.
    """
    information = text_metrics.Information(text for said in texts.values() for text in said)
    having = [row for row, each in enumerate(references) if each]
    found: dict[str, dict[str, Any]] = {}
    for name, said in texts.items():
        by_prompt, by_intent = text_metrics.coverage(said, [prompt.use_case for prompt in prompts], classifiers)
        per_word = [information.per_word(text, shown_prompt(prompt)) for prompt, text in zip(prompts, said, strict=True)]
        figures: dict[str, Any] = {
            "coverage": rate(by_prompt, **draw),
            "coverage_intents": fmean(by_intent),
            "information": interval(per_word, **draw),
            "referenced": len(having),
        }
        if having:
            own, theirs = [said[row] for row in having], [references[row] for row in having]
            for metric, values in text_metrics.against(own, theirs).items():
                if known := [value for value in values if not isnan(value)]:
                    figures[metric] = _averaged(metric, known, draw)
            figures["corpus_bleu"] = text_metrics.corpus_bleu(own, theirs)
        tasks: dict[str, dict[str, Any]] = {}
        for case, measures in measured(prompts, said, references).items():
            tasks[case] = {metric: _averaged(metric, values, draw) for metric, values in measures.items()}
        if tasks:
            figures["tasks"] = tasks
        found[name] = figures
    return found


def _averaged(metric: str, values: Sequence[float], draw: Mapping[str, int]) -> Interval:
    """Return a metric's mean over prompts with its interval, by the rule for shares where it lies between 0 and 1."""
    return (interval if metric in NO_SHARES else rate)(values, **draw)


def differences(groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return how much several answers to one prompt differ by their words, as means over prompts."""
    worded = [[text_metrics.tokens(text) for text in group] for group in groups]
    return {
        "distinct_1": fmean(distinct(group, 1) for group in worded),
        "distinct_2": fmean(distinct(group) for group in worded),
        "self_bleu": fmean(self_bleu(group) for group in worded),
    }


@torch.no_grad()
def semantic_spreads(model: Model, groups: Mapping[str, Sequence[Sequence[str]]], dtype: torch.dtype) -> dict[str, float]:
    """Return by system the mean over prompts of 1 minus the mean cosine between the embeddings of its answers to one prompt.

    An embedding is the mean of the model's final states over an answer's tokens, less the mean of all systems' answers: what all have in
    common, such as the direction into which every state of a language model points, says nothing about any of them. With a mean of its
    own, a system that always says nearly the same would be left with its small differences, and seem to vary.
    """
    flat = [text for each in groups.values() for group in each for text in group]
    ids: list[list[int]] = []
    for text in flat:
        tokens: list[int] = model.format.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids.append(tokens[: model.format.context or None] or [model.format.stop[0]])
    vectors: list[torch.Tensor] = []
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        batch = pack(part, [0] * len(part), related=False).to(model.lm.device)
        states = states_at(model.lm.base_model, batch, torch.arange(len(batch.tokens), device=batch.tokens.device), dtype)
        vectors += [each.float().mean(0).cpu() for each in states.split([len(row) for row in part])]
    whole = torch.stack(vectors)
    unit = torch.nn.functional.normalize(whole - whole.mean(0), dim=1)
    spreads, start = dict[str, float](), 0
    for name, each in groups.items():
        own = list[float]()
        for group in each:
            own.append(_spread(group, unit[start : start + len(group)]))
            start += len(group)
        spreads[name] = fmean(own)
    return spreads


def _spread(group: Sequence[str], unit: torch.Tensor) -> float:
    n, likeness = len(group), unit @ unit.T
    same = torch.tensor([[one.strip() == other.strip() for other in group] for one in group])
    likeness = torch.where(same, torch.ones(()), likeness)
    return 1 - float((likeness.sum() - n) / (n * (n - 1)))


def print_text_figures(summary: Mapping[str, Any]) -> None:
    """Print a run's text metrics as a table, a row per system, and below it what "answered" rests on."""
    figures: Mapping[str, Mapping[str, Any]] = summary.get("text", {})
    columns = {"coverage": "answered", "information": "bits per word", "rouge_l": "ROUGE-L", "chrf": "chrF", "token_f1": "token F1"}
    shown = [key for key in columns if all(key in each for each in figures.values())]
    rows: list[tuple[str, ...]] = []
    for name, each in figures.items():
        rows.append((name, *(interval_text(each[key], 2) for key in shown)))
    if rows:
        table("texts, not quality (docs/texts.md)", ["system", *(columns[key] for key in shown)], rows)
        _print_tasks(figures)
        for line in basis_lines(summary):
            print(line)


def _print_tasks(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the measures of each use case as a table: a row per measure, a column per system."""
    rows: list[tuple[str, ...]] = []
    every: dict[tuple[str, str], None] = {}
    for each in figures.values():
        every |= {(case, measure): None for case, measures in each.get("tasks", {}).items() for measure in measures}
    for case, measure in sorted(every):
        told: list[str] = []
        for each in figures.values():
            value = each.get("tasks", {}).get(case, {}).get(measure)
            told.append(interval_text(value, 2) if value else "–")
        rows.append((case, measure.replace("_", " "), *told))
    if rows:
        table("by use case, what its task asks (docs/texts.md)", ["use case", "measure", *figures], rows)
