"""How much `accord queue --by` expects to learn from each task: by chance, by the answers so far, or by reward models.

Only the last loads torch, once it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from accord.errors import InputError, UsageError
from accord.feedback.acquisition import ensemble_gain, random_gains, ranking_information, uncertainty
from accord.feedback.consensus import noisy_bradley_terry
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.runtime.project import Project

By = Literal["order", "random", "uncertainty", "information"]
Gain = Callable[[Store, Sequence[Task]], Mapping[str, float]]
"""A function that returns how much each task would teach, by the task's id; only the order of the numbers counts."""
SPREAD = 1.5
"""Standard deviation of a strength of which nothing is known, in log-odds: the prior of ``noisy_bradley_terry``."""


def gain_by(project: Project, by: By, *, rewards: Sequence[str] = (), seed: int = 0) -> Gain | None:
    """Return how ``accord queue`` is to choose; None to take tasks in the order of the store.

    Args:
        rewards: reward models of the project, for uncertainty. With two or more, their disagreement counts.

    Raises:
        UsageError: uncertainty has no reward model, or another choice has one.
    """
    if bool(rewards) != (by == "uncertainty"):
        what = "names no reward model" if by == "uncertainty" else f"by {by} asks no reward model"
        raise UsageError(what, where="queue", hint="--by uncertainty --reward reward")
    match by:
        case "order":
            return None
        case "random":
            return lambda _, tasks: random_gains([task.id for task in tasks], seed=seed)
        case "information":
            return by_information
        case "uncertainty":
            return lambda _, tasks: by_rewards(project, rewards, tasks)


def by_information(store: Store, tasks: Sequence[Task]) -> dict[str, float]:
    """Return how much a ranking of each task would tell about its responses' strengths under Bradley-Terry, by the answers so far.

    Raises:
        InputError: a task has fewer than two responses.
    """
    _check_compares(tasks)
    prompts = {task.prompt.id for task in tasks}
    rankings = [ranking for ranking in store.rankings("training") if ranking.prompt_id in prompts]
    known = noisy_bradley_terry(rankings, spread=SPREAD) if rankings else None
    strength, spread = (known.strength, known.spread) if known else ({}, {})
    gains = dict[str, float]()
    for task in tasks:
        ids = [response.id for response in task.responses]
        variances = np.array([spread.get(id, SPREAD) ** 2 for id in ids])
        gains[task.id] = ranking_information([strength.get(id, 0.0) for id in ids], np.diag(variances))
    return gains


def by_rewards(project: Project, rewards: Sequence[str], tasks: Sequence[Task]) -> dict[str, float]:
    """Return how unsure one reward model is of each task's responses, or how far several contradict each other.

    Raises:
        InputError: a task has fewer than two responses.
        ModelError: a model is missing.
    """
    _check_compares(tasks)
    from accord.commands.models import TextScorer, compute_dtype  # loads torch

    scores = list[dict[str, list[float]]]()
    for name in rewards:
        scorer = TextScorer.open(project, name, compute_dtype())
        groups = scorer.score_groups([(task.prompt, task.responses) for task in tasks])
        scores.append({task.id: group for task, group in zip(tasks, groups, strict=True)})
    if len(scores) == 1:
        return {task.id: uncertainty(scores[0][task.id]) for task in tasks}
    gains: dict[str, float] = {}
    for task in tasks:
        gains[task.id] = ensemble_gain([of_model[task.id] for of_model in scores])
    return gains


def _check_compares(tasks: Sequence[Task]) -> None:
    if any(len(task.responses) < 2 for task in tasks):
        raise InputError("these tasks compare nothing", where="queue", hint="--by chooses among rank, compare and evaluate tasks")
