"""Reward models on chosen rankings, as several claims need them: with the demo's learning rates, and nothing saved."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from accord.algorithms import reward
from accord.feedback.store import Store
from accord.models.loading import scalar_from
from accord.models.scalar import new_head
from accord.records import RankedPrompt
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import RewardConfig
from accord.stages.opening import Model, compute_dtype
from accord.world import HELD_OUT_GROUP

Rows = list[reward.RankedRows]


def settings(project: Project) -> RewardConfig:
    """The demo's own."""
    return RewardConfig(**project.settings.get("reward", {}))


def rankings(project: Project, model: Model, *, mismatched: float = 0.0) -> tuple[Rows, Rows]:
    """Of labelers of the training groups: those of training prompts, and those of held-out prompts, in the model's tokens.

    Args:
        mismatched: share of the training prompts that get a stranger's best response as their worst; the demo's is 1, 0 is labels alone.
    """
    with Store.open(project.store_url) as store:
        ranked = [each for each in store.ranked_prompts() if each.group != HELD_OUT_GROUP]
    training = reward.with_mismatched([each for each in ranked if each.prompt.split == "train"], mismatched, settings(project).seed)
    return _rows(model, training), _rows(model, [each for each in ranked if each.prompt.split != "train"])


def _rows(model: Model, ranked: Sequence[RankedPrompt]) -> Rows:
    return [
        reward.ranked_rows(model.format.prompt(each.prompt.messages), [list(r.tokens) for r in each.responses], each.ranks, 256)
        for each in ranked
        if all(response.tokens for response in each.responses)
    ]


def shuffled(given: Rows) -> Rows:
    """Each untied pair an element of its own; training draws them in any order."""
    return [
        reward.RankedRows([each.rows[i], each.rows[j]], [each.ranks[i], each.ranks[j]])
        for each in given
        for i, j in combinations(range(len(each.rows)), 2)
        if each.ranks[i] != each.ranks[j]
    ]


def trained(project: Project, start: Model, training: Rows, name: str, **changes: Any) -> Any:
    """A reward model that began as ``start`` and learned from these rankings, with the demo's settings but for ``changes``."""
    scalar = scalar_from(start.lm, new_head(start.lm.config.hidden_size, generator(0, "reward", "head"))).to(pick_device())
    config = dataclasses.replace(settings(project), save_every=100_000, **changes)
    folder = project.run(f"claims-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.start(folder, stage="reward", config=config, inputs={}, resume=False, seed=config.seed)
    reward.train(config, model=scalar, rankings=training, validation=[], demonstrations=[], run=run, dtype=compute_dtype("auto"))
    run.finish()
    return scalar


def accuracy(model: Any, held_out: Rows) -> float:
    """On untied pairs, a mean over prompts."""
    return reward.accuracy(model, held_out, dtype=compute_dtype("auto"))
