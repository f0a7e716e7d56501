"""The project's numbers for the first page: counts of the store, models by lineage, win rates by runs. Kept, so that no page waits.

The first visit counts. After that a page shows what was counted last, and a thread counts anew: at most a twentieth of the time, so that
a large project costs its site little. What takes no time to count is always current.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from accord.feedback import review
from accord.feedback.counts import Counts, count_records
from accord.feedback.store import Store
from accord.runtime import lineage
from accord.runtime.project import Project

QUICK = 0.1
"""Seconds within which a page counts for itself."""
RARELY = 20.0
"""Least ratio of the time between two countings to the time of one."""
ACCURACIES = ("accuracy_labelers", "heldout_accuracy", "validation_accuracy", "accuracy_heldout_group")
"""Metrics of a model's own run that say how often it orders pairs as people do; the first that is there is shown."""
log = logging.getLogger("accord.site")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often one model was preferred to another, with its interval."""

    other: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Made:
    """A model of the project: what made it, when, and how good it was found."""

    name: str
    stage: str
    at: str
    """The day, or empty for a model that came from elsewhere."""
    accuracy: float | None
    won: WinRate | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the loop shows."""

    counts: Counts
    waiting: int
    """Reactions that wait for a review."""
    models: tuple[Made, ...]
    """Newest first."""
    has_text: bool
    """Whether there is raw text to pretrain on."""
    compared: str
    """The day of the last comparison; empty when there is none."""


class Kept(Generic[Value]):
    """A value that takes long to make, and the last one made."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._at, self._took = 0.0, 0.0
        self._making = False

    def get(self) -> Value:
        """Return the value: made now if that is quick or there is none yet, else the last one, which is renewed behind it."""
        with self._lock:
            if self._value is None:
                return self._renew()
            if self._took <= QUICK:
                return self._renew()
            if not self._making and time.monotonic() - self._at > RARELY * self._took:
                self._making = True
                threading.Thread(target=self._behind, name="figures", daemon=True).start()
            return self._value

    def _renew(self) -> Value:
        began = time.monotonic()
        made = self._make()
        self._value, self._at, self._took = made, time.monotonic(), time.monotonic() - began
        return made

    def _behind(self) -> None:
        began = time.monotonic()
        made: Value | None = None
        try:
            made = self._make()
        except Exception as error:  # the last value stays, and the next visit tries again
            log.error("the project's numbers could not be counted", exc_info=error)
        with self._lock:
            self._value = self._value if made is None else made
            self._at, self._took = time.monotonic(), time.monotonic() - began
            self._making = False


_KEPT: WeakKeyDictionary[Store, Kept[Figures]] = WeakKeyDictionary()
_MAKING = threading.Lock()


def figures(store: Store, project: Project) -> Figures:
    """Return a project's numbers."""
    with _MAKING:
        kept = _KEPT.get(store)
        if kept is None:
            kept = _KEPT[store] = Kept(lambda: counted(store, project))
    return kept.get()


def counted(store: Store, project: Project) -> Figures:
    """Count a project's numbers now."""
    rates, compared = _win_rates(project)
    corpus = project.path / "corpus"
    text = corpus.is_dir() and any(corpus.iterdir())
    models = tuple(_made(project, name, rates) for name in project.models())
    newest_first = sorted(models, key=lambda made: (made.at, made.name), reverse=True)
    return Figures(count_records(store), review.count_waiting(store), tuple(newest_first), text, compared)


def _made(project: Project, name: str, rates: Mapping[str, WinRate]) -> Made:
    record: Mapping[str, Any] = {}
    with contextlib.suppress(Exception):  # a broken lineage.json is the report's to name
        record = lineage.read(project.model(name))
    metrics = _table(record.get("metrics"))
    accuracy = next((float(value) for key in ACCURACIES if isinstance(value := metrics.get(key), int | float)), None)
    return Made(name, str(record.get("stage", "")), str(record.get("at", ""))[:10], accuracy, rates.get(name))


def _win_rates(project: Project) -> tuple[dict[str, WinRate], str]:
    """Return each model's win rate in the newest run that compared it as the first of two, and the day of the newest comparison."""
    found, last = dict[str, WinRate](), ""
    summaries = [project.run(name) / "summary.json" for name in project.runs()]
    for file in sorted((file for file in summaries if file.is_file()), key=lambda file: file.stat().st_mtime):
        rates = _table(_object(file).get("win_rate"))
        for duel, value in rates.items():
            first, _, second = duel.partition("_vs_")
            if second and isinstance(value, list) and len(cast("list[object]", value)) == 3:
                three = [number for number in cast("list[object]", value) if isinstance(number, int | float)]
                if len(three) == 3:
                    found[first] = WinRate(second, *map(float, three))
                    last = time.strftime("%Y-%m-%d", time.gmtime(file.stat().st_mtime))
    return found, last


def _object(file: Path) -> Mapping[str, Any]:
    try:
        return _table(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
