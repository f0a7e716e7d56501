"""How sure a reward model is between two responses: of the choices that users made, and of prompts that wait for a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from accord.commands.models import TextScorer, compute_dtype
from accord.records import Prompt, RankedPrompt, Response
from accord.runtime.project import Project


def certainty(one: float, other: float) -> float:
    """Return the probability under Bradley-Terry that the response with the higher reward is preferred."""
    return 1 / (1 + math.exp(-abs(one - other)))


def certainty_by_topic(
    project: Project, reward: str, choices: Sequence[RankedPrompt], topics: Sequence[str], dtype: str
) -> dict[str, dict[str, float]]:
    """Return how sure the reward model is of the pairs that users chose between, and how often it agrees with them, by topic.

    Args:
        choices: rankings of two responses.
        topics: the topic of each.
    """
    scorer = TextScorer.open(project, reward, compute_dtype(dtype))
    scores = scorer.score_groups([(row.prompt, row.responses) for row in choices])
    sure: dict[str, list[float]] = {}
    right: dict[str, list[float]] = {}
    for topic, row, (one, other) in zip(topics, choices, scores, strict=True):
        sure.setdefault(topic, []).append(certainty(one, other))
        if row.ranks[0] != row.ranks[1]:
            right.setdefault(topic, []).append(float((one > other) == (row.ranks[0] < row.ranks[1])))
    found = {topic: {"reward_sure": _mean(values)} for topic, values in sure.items()}
    for topic, values in right.items():
        found[topic]["reward_right"] = _mean(values)
    return found


def doubts_by_prompt(
    project: Project, reward: str, prompts: Sequence[Prompt], responses: Mapping[str, Sequence[Response]], dtype: str
) -> dict[str, float]:
    """Return by prompt how unsure the reward model is of the two responses that it holds for the best."""
    comparable = [prompt for prompt in prompts if len(responses[prompt.id]) >= 2]
    scorer = TextScorer.open(project, reward, compute_dtype(dtype))
    scores = scorer.score_groups([(prompt, responses[prompt.id]) for prompt in comparable])
    doubts: dict[str, float] = {}
    for prompt, rewards in zip(comparable, scores, strict=True):
        best, second = sorted(rewards, reverse=True)[:2]
        doubts[prompt.id] = 1 - certainty(best, second)
    return doubts


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
