"""The rules around every model that people or programs use: filters, best of n, examples and system prompt, as [serve] sets them."""

from __future__ import annotations

from collections.abc import Sequence

from accord.commands.models import TextScorer, compute_dtype
from accord.data import personal
from accord.feedback import moderation
from accord.feedback.store import Store
from accord.records import Demonstration, Message
from accord.runtime.project import Project
from accord.serving.guards import Rules, Score
from accord.serving.prompt_styles import system_prompt
from accord.settings import ServeConfig


def rules_of(project: Project, config: ServeConfig, dtype: str = "auto") -> Rules:
    """Return the rules that the settings ask for.

    Raises:
        UsageError: there is no system prompt of this name.
        ModelError: the reward model is missing.
    """
    demonstrations: tuple[Demonstration, ...] = ()
    if config.shots:
        with Store.open(project.store_url) as store:
            demonstrations = tuple(store.demonstrations("train"))
    return Rules(
        input_filter=config.input_filter,
        output_filter=config.output_filter,
        screen=screen,
        unsure_below=config.unsure_below,
        best_of=config.best_of,
        seconds=config.best_of_seconds,
        score=_score_by(project, config.reward, dtype) if config.best_of > 1 else None,
        system=system_prompt(config.system),
        demonstrations=demonstrations,
        shots=config.shots,
        reasoning=config.reasoning,
    )


def screen(text: str) -> list[str]:
    """Return the kinds of findings in a text: ``harm``, ``injection``, ``personal``. Noise is no harm."""
    found = [finding.what for finding in moderation.screen(text) if finding.what != "noise"]
    return [*found, *(["personal"] if personal.find(text) else [])]


def _score_by(project: Project, reward: str, dtype: str) -> Score:
    scorer = TextScorer.open(project, reward, compute_dtype(dtype))

    def score(conversation: Sequence[Message], answers: Sequence[str]) -> list[float]:
        return scorer.score_conversations([conversation] * len(answers), answers)

    return score
