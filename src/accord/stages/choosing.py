"""What to label next: what each task would teach, from chance, from the answers so far, or from the project's reward models.

Only the last loads torch, when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np

from accord.errors import InputError, UsageError
from accord.feedback.acquisition import ensemble_gain, random_gains, ranking_information, uncertainty
from accord.feedback.consensus import noisy_bradley_terry
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.runtime.project import Project
from accord.stages.queueing import Gain

By = Literal["order", "random", "uncertainty", "information"]
SPREAD = 1.5
"""Standard deviation of a strength of which nothing is known, in log-odds: the prior of ``noisy_bradley_terry``."""


def gain_by(project: Project, by: By, *, rewards: Sequence[str] = (), seed: int = 0, dtype: str = "auto") -> Gain | None:
    """How ``accord queue`` is to choose; None to take tasks as they come.

    Args:
        rewards: reward models of the project, for uncertainty. Of two or more it is their disagreement that counts.

    Raises:
        UsageError: uncertainty without a reward model, or one for another choice.
    """
    if bool(rewards) != (by == "uncertainty"):
        what = "names no reward model" if by == "uncertainty" else f"by {by} asks no reward model"
        raise UsageError(what, where="queue", hint="--by uncertainty --reward reward")
    if by == "random":
        return lambda _, tasks: random_gains([task.id for task in tasks], seed=seed)
    if by == "information":
        return by_information
    return partial(by_rewards, project, rewards, dtype) if by == "uncertainty" else None


def by_information(store: Store, tasks: Sequence[Task]) -> dict[str, float]:
    """What ranking each task's responses would tell about their strengths under Bradley-Terry, by the answers so far.

    Raises:
        InputError: a task has fewer than two responses.
    """
    comparable(tasks)
    asked = {task.prompt.id for task in tasks}
    rankings = [ranking for ranking in store.rankings("training") if ranking.prompt_id in asked]
    known = noisy_bradley_terry(rankings, spread=SPREAD) if rankings else None
    strength, spread = (known.strength, known.spread) if known else ({}, {})

    def gain(task: Task) -> float:
        ids = [response.id for response in task.responses]
        variances = np.array([spread.get(id, SPREAD) ** 2 for id in ids])
        return ranking_information([strength.get(id, 0.0) for id in ids], np.diag(variances))

    return {task.id: gain(task) for task in tasks}


def by_rewards(project: Project, rewards: Sequence[str], dtype: str, _: Store, tasks: Sequence[Task]) -> dict[str, float]:
    """How unsure a reward model is of each task's responses, or how far several contradict each other.

    Raises:
        InputError: a task has fewer than two responses.
        ModelError: a model is missing.
    """
    comparable(tasks)
    scores = [_scores(project, name, dtype, tasks) for name in rewards]
    if len(scores) == 1:
        return {task.id: uncertainty(scores[0][task.id]) for task in tasks}
    return {task.id: ensemble_gain([each[task.id] for each in scores]) for task in tasks}


def comparable(tasks: Sequence[Task]) -> None:
    """Refuses tasks in which nothing is compared."""
    if any(len(task.responses) < 2 for task in tasks):
        raise InputError("these tasks compare nothing", where="queue", hint="--by chooses among rank, compare and evaluate tasks")


def _scores(project: Project, name: str, dtype: str, tasks: Sequence[Task]) -> Mapping[str, list[float]]:
    """A reward model's score of each task's responses."""
    from accord.data.templates import chat_format
    from accord.data.tokenizers import load_tokenizer
    from accord.models.folders import load_scalar_model
    from accord.models.scalar import RewardModel
    from accord.runtime.device import pick_device
    from accord.stages.opening import compute_dtype, locate

    source = locate(project, name)
    spoken = chat_format(load_tokenizer(source))
    scorer = RewardModel(load_scalar_model(source).to(pick_device()), dtype=compute_dtype(dtype))
    rows = [(task.prompt.messages, response.text) for task in tasks for response in task.responses]
    given: list[float] = scorer.score(
        [spoken.prompt(asked) for asked, _ in rows], [spoken.response(asked, text) for asked, text in rows]
    ).tolist()
    values = iter(given)
    return {task.id: [next(values) for _ in task.responses] for task in tasks}
