"""The classifiers that a project has chosen, opened once and asked by name of the task; with their cards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from accord.data.classifiers.entities import EntityFolder
from accord.data.classifiers.interface import Classifier, Task, Text
from accord.data.classifiers.measure import Card, cards
from accord.data.classifiers.registry import Ask, names, needs_model, opened
from accord.data.personal import More
from accord.errors import AccordError
from accord.runtime.project import FILE, Project
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

    def places(self) -> More | None:
        """Return what finds places of personal data beside the rules; None where the classifier tells only whether a text holds some."""
        found = self.open("personal") if self.name("personal").startswith("folder:") else None
        return found.findings if isinstance(found, EntityFolder) else None

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

    def line(self, task: Task, *labels: str) -> str:
        """Return what to print beside a figure that counts labels of a task: recall and precision, "rough" where much is missed."""
        card = self.card(task)
        if card is None:
            return f"{task} by {self.name(task)}: never measured; run `accord classifiers PROJECT --task {task}`"
        return f"{card.line(*labels)} ({PAGE}#{task})"

    def basis(self, **counted: tuple[Task, str]) -> dict[str, Any]:
        """Return what a run keeps beside its figures: for each metric, the card that it rests on, and that card's line.

        Args:
            counted: by metric, the task and the labels that it counts, with blanks between them.
        """
        found: dict[str, dict[str, str]] = {}
        for metric, (task, labels) in counted.items():
            found[metric] = {"card": f"{task} {self.name(task)}", "says": self.line(task, *labels.split())}
        return {"measured_by": found}

    def without_models(self) -> ClassifierSet:
        """Return the set with the default in place of every classifier that is a model in a folder or is asked."""
        kept: dict[str, Any] = {task: "" if needs_model(name) else name for task, name in names(self.config).items()}
        return ClassifierSet(ClassifiersConfig(**kept), self.root)


def of_project(project: Project, ask: Ask | None = None) -> ClassifierSet:
    """Return the classifiers that a project's accord.toml names."""
    return ClassifierSet(ClassifiersConfig(**project.settings.get("classifiers", {})), project.path, ask)


def of_folder(path: Path) -> ClassifierSet:
    """Return the classifiers of a project's folder as far as they need no model to be opened; the default ones where it names none that
    can be had. For what reads a project without asking anything of it, such as the report."""
    try:
        stamp = (path / FILE).stat()
    except OSError:
        return DEFAULT
    return _of_file(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(16)
def _of_file(path: Path, *_: int) -> ClassifierSet:
    """Return the classifiers of a folder whose settings are this old and this long: the report asks once for each run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a command that uses the project says what is old in its settings
            found = of_project(Project.open(path)).without_models()
        found.open("stance")
    except (AccordError, OSError, TypeError):
        return DEFAULT
    return found


def basis_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield for each metric of a run which classifier it rests on and how good that is."""
    for metric, basis in cast("Mapping[str, Any]", summary.get("measured_by", {})).items():
        yield f"{metric}: {basis['says'] if isinstance(basis, dict) else basis}"


DEFAULT = ClassifierSet()
"""The classifiers of a project that names none."""
