"""A reward model's learning curve: models trained on halves of halves of its rankings, and the gain that twice the labels would bring."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accord.algorithms import reward as algorithm
from accord.commands.evaluate.examine_scores import score_all
from accord.commands.models import Model, TextScorer, load_model
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.evaluation.verdicts import accuracy_of, verdicts
from accord.feedback.label_budget import Point, fit_curve
from accord.models.folders import scalar_from
from accord.models.scalar import RewardModel, head_width, new_head
from accord.records import RankedPrompt
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import ExamineConfig, RewardConfig

SMALLEST = 8
"""Rankings of the smallest point, at the least."""


def learning_curve(
    project: Project,
    run: Run,
    lineage: Mapping[str, Any],
    training: Sequence[RankedPrompt],
    held_out: Sequence[RankedPrompt],
    config: ExamineConfig,
    *,
    reward: str,
    ceiling: float,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Return the accuracy of reward models trained on ever more rankings, and the gain that twice the labels would bring.

    Args:
        lineage: the examined model's record: its settings are used again, and it starts from the same parent.
        ceiling: the accuracy that no model can pass against these labels.

    Raises:
        InputError: the project no longer has the model that the reward model started from.
    """
    sft = _parent_of(project, reward, lineage)
    known = {field.name for field in dataclasses.fields(RewardConfig)}
    settings = RewardConfig(**{key: value for key, value in lineage.get("settings", {}).items() if key in known})
    sizes = sorted({max(SMALLEST, len(training) // 2**halved) for halved in range(config.curve)})
    points, rows = list[Point](), list[dict[str, Any]]()
    for size in sizes:
        part = training[:size]
        folder = f"runs/{run.folder.name}/curve-{size}"
        try:
            small = train_on(project, load_model(project, sft), settings, part, folder, config.seed, dtype)
        finally:
            shutil.rmtree(project.path / folder, ignore_errors=True)
        found = verdicts(held_out, score_all(small, held_out).of(held_out))
        accuracy = accuracy_of(found, resamples=config.bootstrap, seed=config.seed)
        comparisons = len(verdicts(part, [[0.0] * len(row.ranks) for row in part]))
        points.append(Point(comparisons, accuracy.mean))
        rows.append({"rankings": size, "comparisons": comparisons, "accuracy": accuracy})
    curve, labels = fit_curve(points, ceiling), points[-1].comparisons
    return {"curve": rows, "twice_the_labels": curve.at(2 * labels) - curve.at(labels)}


def train_on(
    project: Project, sft: Model, config: RewardConfig, ranked: Sequence[RankedPrompt], folder: str, seed: int, dtype: torch.dtype
) -> TextScorer:
    """Train a reward model from the SFT model on these rankings alone; it is not saved."""
    run = Run.start(project.path / folder, stage="reward", config=config, inputs={}, resume=False, seed=seed)
    scalar = scalar_from(sft.lm, new_head(head_width(sft.lm), generator(seed, "examine", "head"))).to(pick_device())
    window = RowWindow.of(config.max_tokens, config.long_rows, sft.format.context, config.stage)
    spoken = dataclasses.replace(sft.format, context=0)

    def build(row: RankedPrompt) -> algorithm.RankedRows:
        responses = [spoken.tokens_of(row.prompt, response) for response in row.responses]
        return algorithm.ranked_rows(spoken.asked(row.prompt), responses, row.ranks, window, f"prompt {row.prompt.id}")

    rows = window.fit(algorithm.with_mismatched(ranked, config.mismatched, seed), build, "rankings")
    scalar.config.reward_window = window.tokens
    algorithm.train(config, model=scalar, rankings=rows, validation=[], demonstrations=[], run=run, dtype=dtype)
    return TextScorer(RewardModel(scalar, dtype=dtype), sft.format)


def _parent_of(project: Project, reward: str, lineage: Mapping[str, Any]) -> str:
    found = next((name for name in lineage.get("parents", ()) if name in project.models()), None)
    if found is None:
        raise InputError("what it was trained from is not here, so no learning curve can be drawn", where=reward, hint="--curve 0")
    return found
