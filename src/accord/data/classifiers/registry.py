"""Which classifier a task uses: [classifiers] of accord.toml names it, and here it is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from accord.data import languages
from accord.data.classifiers.entities import EntityFolder, holds_entities
from accord.data.classifiers.folder import FolderClassifier
from accord.data.classifiers.interface import LABELS, NONE, TASKS, Classifier, Task, Text, Verdict, words_of
from accord.data.classifiers.rubric import Answer, ByRubric
from accord.data.classifiers.rules import by_rules
from accord.data.classifiers.small import WEIGHTS, Small
from accord.errors import UsageError
from accord.runtime import plugins
from accord.settings import ClassifiersConfig

BUILT_IN: Mapping[Task, tuple[str, ...]] = {
    "stance": ("small", "rules"),
    "harm": ("small", "rules"),
    "injection": ("small", "rules"),
    "toxicity": ("small", "rules"),
    "language": ("py3langid", "rules"),
    "personal": ("rules",),
    "written": ("rules",),
}
"""The classifiers that are installed with Accord, the default first."""
OFF = "off"
"""Name by which `written` says nothing."""
Ask = Callable[[str], Answer]
"""Function from a model's name to what answers questions by it; given where models can be asked."""


def names(config: ClassifiersConfig) -> dict[Task, str]:
    """Return the classifier of each task; an empty setting is the default."""
    chosen: dict[Task, str] = {
        "stance": config.stance,
        "harm": config.harm,
        "injection": config.injection,
        "toxicity": config.toxicity,
        "language": config.language,
        "personal": config.personal,
        "written": config.written,
    }
    found: dict[Task, str] = {task: chosen[task] or BUILT_IN[task][0] for task in TASKS}
    if not config.language and not languages.has_model():
        found["language"] = "rules"
    return found


def needs_model(name: str) -> bool:
    """Return whether a classifier of this name is a model in a folder, or one that is asked."""
    return name.startswith(("folder:", "llm:"))


def opened(task: Task, name: str, *, root: Path | None = None, ask: Ask | None = None) -> Classifier:
    """Open a classifier by its name: one of ours, ``folder:PATH``, ``llm:MODEL``, or a plugin.

    Args:
        root: the folder that a relative PATH is relative to.
        ask: asks a language model; without it ``llm:`` is refused.

    Raises:
        UsageError: there is no such classifier.
        ModelError: the folder holds no model for this task.
    """
    kind, _, which = name.partition(":")
    where = f"[classifiers] {task}"
    if kind == "folder" and which:
        folder = (root or Path()) / which
        return EntityFolder(folder) if task == "personal" and holds_entities(folder) else FolderClassifier(task, folder)
    if kind == "llm" and which:
        if ask is None:
            raise UsageError("this command asks no language model", where=where, hint=f"take another one: {', '.join(BUILT_IN[task])}")
        return ByRubric(task, ask(which))
    if task == "written" and name == OFF:
        return by_nothing
    if name in BUILT_IN[task]:
        if name == "small":
            return Small(task)
        return by_rules(task) if name == "rules" else by_package
    known = plugins.known((*BUILT_IN[task], "folder:PATH", "llm:MODEL"), "classifiers")
    if not plugins.has("classifiers", name):
        raise UsageError(f"there is no classifier {name!r}", where=where, hint=known)
    return _checked(task, name, plugins.load_function("classifiers", name))


def licence_and_size(task: Task, name: str, root: Path | None = None) -> tuple[str, int]:
    """Return a classifier's licence and the bytes of its weights, as far as they can be read: for its card."""
    kind, _, which = name.partition(":")
    if kind == "folder":
        folder = (root or Path()) / which
        return _licence_of(folder / "README.md"), sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if kind == "llm":
        return f"that of {which}", 0
    if name == "py3langid":
        files = metadata.files("py3langid") or []
        return "BSD-3-Clause", sum(file.size or 0 for file in files)
    if name in BUILT_IN[task]:
        return "Apache-2.0", (WEIGHTS / f"{task}.safetensors").stat().st_size if name == "small" else 0
    return f"that of the package {plugins.origin('classifiers', name)}", 0


def _licence_of(model_card: Path) -> str:
    """Return the licence that the head of a model's README.md states."""
    try:
        head = model_card.read_text("utf-8", "replace")[:4000]
    except OSError:
        return "not stated"
    found = re.search(r"^license:[ \t]*([\w.+-]{1,60})", head, re.MULTILINE)
    return found[1] if found else "not stated"


def by_package(texts: Sequence[Text]) -> list[Verdict]:
    """Return the language of each text by py3langid."""
    return [Verdict(languages.language(words_of(text)), 1.0) for text in texts]


def by_nothing(texts: Sequence[Text]) -> list[Verdict]:
    """Return for each text that nothing was found."""
    return [Verdict(NONE, 1.0) for _ in texts]


def _checked(task: Task, name: str, function: Any) -> Classifier:
    """Wrap a plugin so that one verdict per text comes back, with a label of the task."""

    def classified(texts: Sequence[Text]) -> list[Verdict]:
        found = [verdict if isinstance(verdict, Verdict) else Verdict(*verdict) for verdict in function(texts)]
        wrong = [verdict.label for verdict in found if LABELS[task] and verdict.label not in LABELS[task]]
        if len(found) != len(texts) or wrong:
            what = f"{name} gave {f'the label {wrong[0]!r}' if wrong else f'{len(found)} verdicts for {len(texts)} texts'}"
            hint = f"one verdict per text, with a label of {', '.join(LABELS[task]) or 'ISO 639-1'}"
            raise UsageError(what, where=plugins.origin("classifiers", name), hint=hint)
        return found

    return classified
