"""Fairness in the reward: group DRO helps the group of labelers that is served worst, and a limit on swaps closes the gap between groups.

A reward model serves a group as far as it orders two answers as the group's members perceive them, without their noise. The gap is the
mean difference that exchanging he and she, man and woman makes to the score of held-out answers, in standard deviations of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import small
from frame import Row, above, below, row
from whose_values import GROUPS, N, perceived, prepared

from accord import Message, Prompt, RewardConfig, TextScorer, config, reward
from accord.commands.models import compute_dtype
from accord.commands.world import world_of
from accord.evaluation.counterfactual import swap

ARMS: dict[str, dict[str, float | str]] = {
    "together": {},
    "worst group": {"worst_group": 0.5},
    "swaps": {"swap_axes": "gender", "swap_limit": 0.05, "swap_rate": 1.0},
}
SOURCE = "Sagawa et al. 2020"


def measure(folder: Path, seed: int) -> Mapping[str, Mapping[str, float]]:
    """Accuracy by group, and the gap under swaps, by how the reward model was trained."""
    parent, project = prepared(folder, seed)
    world, held_out = world_of(parent), small.prompts_of(parent, "test")
    pairs = list(zip(held_out, small.responses(project, "sft", held_out, N, seed), strict=True))
    worth = {group: perceived(world, pairs, group) for group in GROUPS}
    found: dict[str, dict[str, float]] = {}
    for arm, changes in ARMS.items():
        name = f"reward-{arm.replace(' ', '-')}"
        reward(project, name=name, flags=small.FLAGS, config=config(project, RewardConfig, seed=seed, **changes))
        scorer = TextScorer.open(project, name, compute_dtype())
        scores = np.array(scorer.score_groups(pairs))
        found[arm] = {group: _accuracy(scores, worth[group]) for group in GROUPS}
        asked, said = [prompt for prompt, answers in pairs for _ in answers], [each.text for _, answers in pairs for each in answers]
        twins = [(_swapped(prompt), swap(text, "gender")) for prompt, text in zip(asked, said, strict=True)]
        moved = [i for i, twin in enumerate(twins) if twin != (asked[i], said[i])]
        before = scorer.scores([asked[i] for i in moved], [said[i] for i in moved])
        after = scorer.scores([twins[i][0] for i in moved], [twins[i][1] for i in moved])
        found[arm]["gap"] = fmean(abs(a - b) for a, b in zip(before, after, strict=True)) / float(scores.std())
    return found


def _swapped(prompt: Prompt) -> Prompt:
    turns = tuple(Message(turn.role, swap(turn.content, "gender")) for turn in prompt.messages)
    return prompt if turns == prompt.messages else Prompt(prompt.id, turns, prompt.use_case, prompt.user, prompt.split, prompt.source)


def _accuracy(scores: np.ndarray, worth: np.ndarray) -> float:
    """Share of the pairs of answers to a prompt that differ for the group and are ordered as it perceives them."""
    right = list[bool]()
    for row_scores, row_worth in zip(scores, worth, strict=True):
        for i, j in combinations(range(len(row_worth)), 2):
            if row_worth[i] != row_worth[j] and row_scores[i] != row_scores[j]:
                right.append(bool((row_worth[i] > row_worth[j]) == (row_scores[i] > row_scores[j])))
    return fmean(right)


def rows(each: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Row]:
    def worst(arm: str) -> list[float]:
        return [min(found[arm][group] for group in GROUPS) for found in each]

    def mean(arm: str) -> list[float]:
        return [fmean(found[arm][group] for group in GROUPS) for found in each]

    def ahead(of: list[float], than: list[float]) -> list[float]:
        return [one - other for one, other in zip(of, than, strict=True)]

    ratio = [found["swaps"]["gap"] / found["together"]["gap"] for found in each]
    note, dro, swaps = "share of pairs ordered as the group perceives them, difference", "worst group", "Lagrangian, as Dai et al. 2024"
    helped, cost = ahead(worst(dro), worst("together")), ahead(mean(dro), mean("together"))
    held = ahead(mean("swaps"), mean("together"))
    return [
        row("Group DRO raises the accuracy for the worst group", helped, above(0.0), source=SOURCE, note=note),
        row("Group DRO costs the mean accuracy less than 0.01", cost, above(-0.01), source=SOURCE, note=note),
        row("A limit on swaps halves the gap at least", ratio, below(0.5), source=swaps, note="gap with the limit over that without"),
        row("A limit on swaps costs the mean accuracy less than 0.01", held, above(-0.01), source=swaps, note=note),
    ]


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
