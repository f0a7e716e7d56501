"""`accord classifiers`: what each classifier is worth, on labelled texts of ours or of yours, and the page of their cards.

Needs no project for the classifiers that are installed with Accord. With a project it measures those that [classifiers] names, and leaves
their cards in the project, where every figure that rests on them finds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, shows
from accord.commands.models import asks
from accord.data.classifiers.interface import ABOUT, LABELS, TASKS, Task
from accord.data.classifiers.measure import CARDS, Card, Labelled, as_json, cards, labelled, measured
from accord.data.classifiers.project_set import MEASURED
from accord.data.classifiers.registry import BUILT_IN, OFF, licence_and_size, names, opened
from accord.errors import InputError, UsageError
from accord.runtime.files import write_atomic
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import ClassifiersConfig

START, END = "<!-- cards: written by accord classifiers --write -->", "<!-- end of the cards -->"


def _show(metrics: Mapping[str, Any]) -> None:
    """Print a line per classifier and label."""
    table("classifiers on held-out texts", ["task", "by", "label", "recall", "precision"], metrics["rows"])


@shows(_show)
def classifiers(
    project: Annotated[str, Parameter(help="Project whose [classifiers] are measured; those installed with Accord when not given.")] = "",
    *,
    task: Annotated[tuple[Task, ...], Parameter(help=f"{', '.join(TASKS)}; all of them when not given.", negative="")] = (),
    file: Annotated[Path | None, Parameter(help="Your own labelled texts: JSON lines with text, label, language.")] = None,
    write: Annotated[Path | None, Parameter(help="A page with the marks of docs/classifiers.md, for the cards.")] = None,
    flags: ComputeFlags = Compute(),
    config: Annotated[ClassifiersConfig, Flat] = ClassifiersConfig(),
) -> dict[str, Any]:
    """Measure precision and recall of the classifiers, with intervals.

    Example: accord classifiers my-project --task stance

    Raises:
        UsageError: there is no such classifier, or `--file` is given for several tasks.
        InputError: the file holds no labelled texts, or the page has no marks.
    """
    tasks, rows = task or TASKS, tuple[Labelled, ...]()
    if file is not None:
        if len(tasks) != 1:
            raise UsageError("one file of labelled texts is of one task", where="classifiers", hint="name it: --task stance")
        rows = read_labelled(file, tasks[0])
    home = Project.open(project) if project else None
    found = list[Card]()
    for each in tasks:
        for name in [names(config)[each]] if home else BUILT_IN[each]:
            if not (rows or labelled(each)):
                found += _measured_elsewhere(each, name, asked=bool(task))
                continue
            ask = asks(home, config.address, flags.dtype) if home else None
            root = home.path if home else None
            card = measured(each, name, opened(each, name, root=root, ask=ask), rows)
            licence, size = licence_and_size(each, name, root)
            found.append(replace(card, licence=licence, size=size))
    if home and file is None:
        kept = cards(home.path / MEASURED) | {f"{card.task} {card.name}": card for card in found}
        write_atomic(home.path / MEASURED, json.dumps([as_json(card) for card in kept.values()], ensure_ascii=False, indent=1) + "\n")
    if write is not None:
        write_page(write, found)
        if home is None and file is None:
            write_atomic(CARDS, json.dumps([as_json(card) for card in found], ensure_ascii=False, indent=1) + "\n")
    lines: list[tuple[str, str, str, str, str]] = []
    for card in found:
        if card.task == "language":
            lines.append((card.task, card.name, "all", str(card.right), ""))
            continue
        lines += [(card.task, card.name, label, str(card.recall[label]), str(card.precision[label])) for label in card.recall]
    return {"rows": lines, "cards": [as_json(card) for card in found]}


def _measured_elsewhere(task: Task, name: str, *, asked: bool) -> list[Card]:
    """Return the shipped card of a task that has no held-out set of ours.

    Raises:
        UsageError: the task was asked for, and this classifier has no card.
    """
    shipped = cards().get(f"{task} {name}")
    if shipped is None and asked and name != OFF:
        what = f"Accord brings no labelled texts for {task}"
        raise UsageError(what, where=f"classifiers --task {task}", hint="give your own with --file")
    return [shipped] if shipped else []


def read_labelled(file: Path, task: Task) -> tuple[Labelled, ...]:
    """Return the labelled texts of a file.

    Raises:
        InputError: it cannot be read, or a row has no text or no label of the task.
    """
    found = list[Labelled]()
    try:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            row: Any = json.loads(line)
            text, label = row.get("text"), row.get("label")
            if not isinstance(text, str) or not isinstance(label, str) or (LABELS[task] and label not in LABELS[task]):
                hint = f'a row is {{"text": ..., "label": ...}} with a label of {", ".join(LABELS[task]) or "ISO 639-1"}'
                raise InputError("no text with a label of the task", where=f"{file}:{number}", hint=hint)
            found.append(Labelled(text, label, str(row.get("language", "")), task))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"it cannot be read: {error}", where=str(file), hint="give JSON lines in UTF-8") from error
    if not found:
        raise InputError("it holds no rows", where=str(file), hint="give JSON lines with text and label")
    return tuple(found)


def write_page(page: Path, found: list[Card]) -> None:
    """Write the cards between the marks of a page.

    Raises:
        InputError: the page has no marks.
    """
    text = page.read_text("utf-8") if page.is_file() else ""
    if START not in text or END not in text:
        raise InputError("the page has no marks for the cards", where=str(page), hint=f"put {START} and {END} into it")
    head, tail = text.split(START)[0], text.split(END)[1]
    write_atomic(page, f"{head}{START}\n{page_of(found)}{END}{tail}")


def page_of(found: list[Card]) -> str:
    """Return the cards as tables in Markdown, a section per task."""
    parts = list[str]()
    tasks: dict[Task, None] = dict.fromkeys(card.task for card in found)
    for task in tasks:
        parts.append(f"\n### {task}\n\nTells {'' if task == 'language' else 'whether '}{ABOUT[task]}.\n")
        for card in (each for each in found if each.task == task):
            by = ", ".join(f"{language} {share}" for language, share in card.by_language.items())
            on = "people's texts" if task == "written" else "ordinary prompts"
            alarms = f" False alarms on {on}: {card.false_alarms}." if card.false_alarms else ""
            of_languages = f" By language: {by}." if by else ""
            size = f", {card.size / 1e6:.2g} MB" if card.size else ""
            about = f" {card.licence}{size}." if card.licence else ""
            parts.append(f"\n**`{card.name}`**: {card.texts} texts, right {card.right}.{alarms}{of_languages}{about}\n")
            if task == "language":
                missed = ", ".join(f"{label} {share.value:.0%}" for label, share in card.recall.items() if share.value < 1)
                parts.append(f"\nRecall below 100%: {missed}.\n")
                continue
            parts.append("\n| label | recall | precision | |\n|---|---|---|---|\n")
            for label, share in card.recall.items():
                parts.append(f"| {label} | {share} of {share.of} | {card.precision[label]} | {'rough' if label in card.rough else ''} |\n")
    return "".join(parts) + "\n"
