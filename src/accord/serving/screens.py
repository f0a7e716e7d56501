"""The screen of a review: signs of harm, injections and noise, and personal data, which is removed from whatever becomes a record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from accord.data import personal
from accord.data.classifiers.interface import NONE, Task
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.feedback.moderation import Finding, Screen, screen, together

TASKS: tuple[Task, ...] = ("harm", "injection", "personal")
"""The tasks of the classifiers that the filters ask."""


def personal_data(text: str) -> list[Finding]:
    """Return personal data as findings of a review."""
    return [Finding("personal", found.kind.lower(), found.start, found.end) for found in personal.find(text)]


def kinds(text: str, classifiers: ClassifierSet = DEFAULT) -> list[str]:
    """Return the kinds of findings in a text: ``harm``, ``injection``, ``personal``."""
    return [task for task in TASKS if classifiers.labels(task, [text])[0] != NONE]


_SCREENED = 20_000
"""Characters of the longest text whose findings are remembered."""
_all = together(personal_data, screen)
_remembered = lru_cache(1024)(_all)


def everything(text: str) -> Sequence[Finding]:
    """Return all findings of a review. A page of reviews asks for the same texts again and again."""
    return _remembered(text) if len(text) <= _SCREENED else _all(text)


EVERYTHING: Screen = everything
