"""The card of a classifier: precision and recall per label on labelled texts that no rule and no model was made from.

The sets in ``sets/`` were written by us, one family of phrasings after another, apart from the sentences that the models learned. The
intervals are Wilson's, with 95% coverage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

from accord.data.classifiers.interface import LABELS, NONE, Classifier, Task

SETS = Path(__file__).parent / "sets"
CARDS = Path(__file__).parent / "cards.json"
"""The cards of the classifiers that are installed with Accord; `accord classifiers` writes them."""
ROUGH = 0.8
"""Recall below which a figure is called rough."""
_HARMLESS_OF = {"harm": ("harm", "ordinary"), "injection": ("injection", "ordinary", "harm"), "toxicity": ("toxicity", "ordinary")}
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its right label."""

    text: str
    label: str
    language: str
    set: str
    """The file that it comes from: the task's own, or ``ordinary``."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of so many texts, with its interval."""

    value: float
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Card:
    """What a classifier is worth on a task's set."""

    task: Task
    name: str
    texts: int
    right: Share
    """Texts whose label is right; for tasks that look for something, whether anything is found counts."""
    recall: Mapping[str, Share]
    precision: Mapping[str, Share]
    false_alarms: Share | None
    """Ordinary prompts in which something was found."""
    by_language: Mapping[str, Share]
    measured_on: str = ""
    """Which labelled texts."""
    licence: str = ""
    size: int = 0
    """Bytes of its weights and tables; 0 where it is asked at an address."""

    @property
    def rough(self) -> list[str]:
        """Return the labels whose recall is below ``ROUGH``."""
        return [label for label, share in self.recall.items() if share.value < ROUGH]

    def line(self, *labels: str) -> str:
        """Return what to print beside a figure that counts these labels; without any, one that counts them all."""
        parts = [] if labels else [f"right {self.right}"]
        for label in labels:
            named = f"{label}s: " if len(labels) > 1 else ""
            rough = ", rough" if label in self.rough else ""
            parts.append(f"{named}recall {self.recall[label]}, precision {self.precision[label]}{rough}")
        return f"{self.task} by {self.name}: {'; '.join(parts)}"


def wilson(hits: int, of: int) -> Share:
    """Return a share with Wilson's 95% interval; of nothing it is 0, anywhere from 0 to 1."""
    if not of:
        return Share(0.0, 0.0, 1.0, 0)
    share = hits / of
    middle = (share + _Z * _Z / (2 * of)) / (1 + _Z * _Z / of)
    half = _Z * sqrt(share * (1 - share) / of + _Z * _Z / (4 * of * of)) / (1 + _Z * _Z / of)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half), of)


@cache
def labelled(task: Task) -> tuple[Labelled, ...]:
    """Return the held-out texts of a task; none of ``written``, as a set of ours would be a model's or show one hand."""
    if task == "written":
        return ()
    found = list[Labelled]()
    for name in _HARMLESS_OF.get(task, (task, *(["ordinary"] if task == "personal" else []))):
        for line in (SETS / f"{name}.jsonl").read_text("utf-8").splitlines():
            row: dict[str, str] = json.loads(line)
            if name == task or row["label"] == NONE:
                found.append(Labelled(row["text"], row["label"], row["language"], name))
    return tuple(found)


def measured(task: Task, name: str, classifier: Classifier, rows: Sequence[Labelled] = ()) -> Card:
    """Return a classifier's card.

    Args:
        rows: labelled texts of your own; the task's held-out set when not given.
    """
    own, rows = bool(rows), rows or labelled(task)
    told = [verdict.label for verdict in classifier([row.text for row in rows])]
    pairs = [(row.label, label) for row, label in zip(rows, told, strict=True)]
    finds = NONE in LABELS[task]
    found_label = "anything" if finds else ""
    labels = [found_label] if finds else []
    labels += [label for label in (LABELS[task] or sorted({row.label for row in rows})) if label != NONE]
    if finds and len(labels) == 2:
        labels = labels[1:]

    def is_(label: str, wanted: str) -> bool:
        return label != NONE if wanted == "anything" else label == wanted

    recall, precision = dict[str, Share](), dict[str, Share]()
    for wanted in labels:
        recall[wanted] = wilson(sum(is_(a, wanted) and is_(b, wanted) for a, b in pairs), sum(is_(a, wanted) for a, _ in pairs))
        precision[wanted] = wilson(sum(is_(a, wanted) and is_(b, wanted) for a, b in pairs), sum(is_(b, wanted) for _, b in pairs))
    hits = [(a != NONE) == (b != NONE) if finds else a == b for a, b in pairs]
    ordinary = [label for row, label in zip(rows, told, strict=True) if row.set == "ordinary"]
    languages = sorted({row.language for row in rows}) if task != "language" else []
    by_language: dict[str, Share] = {}
    for language in languages:
        of = [hit for row, hit in zip(rows, hits, strict=True) if row.language == language]
        by_language[language] = wilson(sum(of), len(of))
    alarms = wilson(sum(label != NONE for label in ordinary), len(ordinary)) if ordinary else None
    on = "labelled texts of the project" if own else "the held-out set of Accord"
    return Card(task, name, len(rows), wilson(sum(hits), len(hits)), recall, precision, alarms, by_language, on)


def as_json(card: Card) -> dict[str, Any]:
    """Return a card as plain values."""
    return asdict(card)


def from_json(held: Mapping[str, Any]) -> Card:
    """Return a card from plain values."""
    tables: dict[str, Any] = {}
    for name in ("recall", "precision", "by_language"):
        tables[name] = {label: Share(**share) for label, share in held[name].items()}
    alarms = Share(**held["false_alarms"]) if held["false_alarms"] else None
    about = {name: held[name] for name in ("measured_on", "licence", "size") if name in held}
    return Card(held["task"], held["name"], held["texts"], Share(**held["right"]), false_alarms=alarms, **tables, **about)


def cards(path: Path = CARDS) -> dict[str, Card]:
    """Return the cards of a file by ``TASK NAME``; none if there is no such file."""
    if not path.is_file():
        return {}
    held: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return {f"{row['task']} {row['name']}": from_json(row) for row in held}
