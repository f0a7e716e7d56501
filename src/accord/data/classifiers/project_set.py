"""The classifiers that a project has chosen, opened once and asked by name of the task; with their cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.data.classifiers.interface import Classifier, Task, Text
from accord.data.classifiers.measure import Card, cards
from accord.data.classifiers.registry import Ask, names, opened
from accord.runtime.project import Project
from accord.settings import ClassifiersConfig

MEASURED = "classifiers.json"
"""A project's own cards, which `accord classifiers PROJECT` leaves in its folder."""
PAGE = "docs/classifiers.md"


@dataclass(eq=False)
class ClassifierSet:
    """The classifiers of [classifiers], each opened when it is first asked."""

    config: ClassifiersConfig = field(default_factory=ClassifiersConfig)
    root: Path | None = None
    ask: Ask | None = None
    """Asks a language model of a name; where it is None, ``llm:`` is refused."""
    _opened: dict[Task, Classifier] = field(default_factory=dict[Task, Classifier], repr=False)

    def name(self, task: Task) -> str:
        """Return the name of a task's classifier."""
        return names(self.config)[task]

    def open(self, task: Task) -> Classifier:
        """Return a task's classifier.

        Raises:
            UsageError: there is no such classifier.
            ModelError: the folder holds no model for this task.
        """
        if task not in self._opened:
            self._opened[task] = opened(task, self.name(task), root=self.root, ask=self.ask)
        return self._opened[task]

    def labels(self, task: Task, texts: Sequence[Text]) -> list[str]:
        """Return the label of each text."""
        return [verdict.label for verdict in self.open(task)(texts)]

    def refuses(self, texts: Sequence[Text]) -> list[bool]:
        """Return for each response whether it refuses."""
        return [label == "refusal" for label in self.labels("stance", texts)]

    def admits(self, texts: Sequence[Text]) -> list[bool]:
        """Return for each response whether it admits that it does not know."""
        return [label == "admission" for label in self.labels("stance", texts)]

    def toxic(self, texts: Sequence[Text]) -> list[bool]:
        """Return for each text whether it is toxic."""
        return [label == "toxic" for label in self.labels("toxicity", texts)]

    def card(self, task: Task) -> Card | None:
        """Return the card of a task's classifier: the project's own, else the shipped one; None if it was never measured."""
        key = f"{task} {self.name(task)}"
        own = cards(self.root / MEASURED) if self.root else {}
        return own.get(key) or cards().get(key)

    def line(self, task: Task, label: str) -> str:
        """Return what to print beside a figure that counts a label of a task: recall and precision, "rough" where much is missed."""
        card = self.card(task)
        if card is None:
            return f"{task} by {self.name(task)}: never measured; run `accord classifiers PROJECT --task {task}`"
        return f"{card.line(label)} ({PAGE})"

    def as_json(self, **counted: tuple[Task, str]) -> dict[str, Any]:
        """Return for each metric the line of the card that it rests on."""
        return {metric: self.line(task, label) for metric, (task, label) in counted.items()}


def of_project(project: Project, ask: Ask | None = None) -> ClassifierSet:
    """Return the classifiers that a project's accord.toml names."""
    return ClassifierSet(ClassifiersConfig(**project.settings.get("classifiers", {})), project.path, ask)


DEFAULT = ClassifierSet()
"""The classifiers of a project that names none."""
