"""Whose values: one reward model for everybody, one for each group of labelers, or the minimum over groups, by best-of-8.

Each group ranks the same answers. What a chosen answer is worth to a group is what its members perceive, without their noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import small
from frame import Row, above, row

from accord import Project, RewardConfig, TextScorer, config, reward
from accord.commands.models import compute_dtype
from accord.commands.world import world_of
from accord.feedback.guidelines import reference
from accord.world import labelers

GROUPS = ("plain", "strict", "brisk", "caring")
FIRST, PROMPTS, N = 600, 400, 8
SOURCE = "after Chakraborty et al. 2024 (MaxMin-RLHF)"


def prepared(folder: Path, seed: int) -> tuple[Project, Project]:
    """The project of a seed, and one in it whose answers all groups ranked."""
    parent = small.begun(folder, seed)
    project = small.child(parent, "values", small.demonstrations(parent)[:FIRST])
    small.fine_tuned(project, seed)
    asked = small.prompts_of(parent, "train")[:PROMPTS]
    said = small.responses(project, "sft", asked, 4, seed)
    small.ranked(project, list(zip(asked, said, strict=True)), _in_turn(world_of(parent)), each=len(GROUPS))
    return parent, project


def measure(folder: Path, seed: int) -> Mapping[str, Mapping[str, float]]:
    """What each group gets out of best-of-8, by whose reward chooses."""
    parent, project = prepared(folder, seed)
    world = world_of(parent)
    for group in ("", *GROUPS):
        name = f"reward-{group}" if group else "reward"
        reward(project, name=name, flags=small.FLAGS, config=config(project, RewardConfig, seed=seed, group=group))
    held_out = small.prompts_of(parent, "test")
    said = small.responses(project, "sft", held_out, N, seed)
    pairs = list(zip(held_out, said, strict=True))
    scores = {name: _standard(TextScorer.open(project, name, compute_dtype()).score_groups(pairs)) for name in _names()}
    by_group = np.stack([scores[f"reward-{group}"] for group in GROUPS])
    choosers = {"one for all": scores["reward"], "mean of groups": by_group.mean(0), "min of groups": by_group.min(0)}
    choosers |= {f"own of {group}": scores[f"reward-{group}"] for group in GROUPS}
    worth = {group: perceived(world, pairs, group) for group in GROUPS}
    found: dict[str, dict[str, float]] = {"chance": {group: float(worth[group].mean()) for group in GROUPS}}
    for name, chooser in choosers.items():
        best = chooser.argmax(1)
        found[name] = {group: float(worth[group][np.arange(len(best)), best].mean()) for group in GROUPS}
    return found


def _in_turn(world: Any) -> list[Any]:
    """One labeler of each group after the other, so that each prompt is ranked by all groups."""
    by = {group: small.people(world, group) for group in GROUPS}
    return [by[group][turn] for turn in range(min(map(len, by.values()))) for group in GROUPS]


def _names() -> list[str]:
    return ["reward", *(f"reward-{group}" for group in GROUPS)]


def _standard(scores: Sequence[Sequence[float]]) -> Any:
    """Scores [prompts, n] in standard deviations: reward models of groups have scales of their own."""
    table = np.array(scores)
    return (table - table.mean()) / table.std()


def perceived(world: Any, pairs: Sequence[Any], group: str) -> Any:
    member = next(labeler for labeler in labelers(world) if labeler.record.group == group)
    guideline = reference("training")
    return np.array([[member.perceive(prompt, answer.text, guideline) for answer in answers] for prompt, answers in pairs])


def rows(each: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Row]:
    def gained(found: Mapping[str, Mapping[str, float]], chooser: str) -> list[float]:
        return [found[chooser][group] - found["chance"][group] for group in GROUPS]

    worst = [min(gained(found, "min of groups")) - min(gained(found, "one for all")) for found in each]
    cost = [fmean(gained(found, "min of groups")) - fmean(gained(found, "one for all")) for found in each]
    own = [fmean(found[f"own of {group}"][group] - found["one for all"][group] for group in GROUPS) for found in each]
    mean = [fmean(gained(found, "mean of groups")) - fmean(gained(found, "one for all")) for found in each]
    note = "perceived utility, difference; best of 8"
    return [
        row(
            "Min over groups: the group that gains least gains more than by one reward for all", worst, above(0.0), source=SOURCE, note=note
        ),
        row("Min over groups costs the mean of all groups less than 0.01", cost, above(-0.01), source=SOURCE, note=note),
        row("A reward of its own gives each group more than one reward for all", own, above(0.0), source=SOURCE, note=note),
        row("The mean of the groups' rewards gives as much as one reward for all", mean, above(-0.01), source=SOURCE, note=note),
    ]


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
