"""The figures of the leads' page: what quality.py and reliability.py say of the answers so far, made ready to be drawn."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from accord.errors import InputError
from accord.feedback import accounts, answers, schema, tasks
from accord.feedback.accounts import Account
from accord.feedback.answers import Answer
from accord.feedback.intervals import Interval
from accord.feedback.quality import Checked, LabelerQuality, labeler_quality
from accord.feedback.reliability import between_groups, contested, reliability, split
from accord.feedback.store import Store
from accord.feedback.web import words
from accord.records import Ranking

RESAMPLES = 200
KEPT_SECONDS = 60.0
"""How old the page's figures may be: they read every answer."""
SHOWN = 8
"""Contested pairs on the page."""


@dataclass(frozen=True)
class Person:
    """A line of the table: somebody who answers, with an account or simulated."""

    id: str
    name: str
    group: str
    account: Account | None
    excluded: bool
    quality: LabelerQuality | None


@dataclass(frozen=True)
class Row:
    """A line of a plot: a name, and where its interval and its dot stand, in the plot's units."""

    name: str
    y: float
    x: float
    low: float
    high: float
    off: bool
    """The whole interval lies on the wrong side of the aim."""


@dataclass(frozen=True)
class Plot:
    """Dots with whiskers over one axis, and the place of the value that is aimed at."""

    title: str
    height: float
    aim: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Picture:
    """Everything that the page shows."""

    people: list[Person]
    counts: Mapping[str, int]
    agreement: Mapping[str, Interval]
    by_version: Mapping[str, tuple[int, Interval]]
    by_group: Mapping[tuple[str, str], Interval]
    contested: list[tuple[str, Mapping[str, float]]]
    """A prompt's id, and each group's share that prefers the first of two responses."""
    plots: list[Plot]


class Cache:
    """The last picture of a store, as long as it is fresh. One thread draws; the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[float, Picture] | None = None

    def get(self, store: Store, now: datetime) -> Picture:
        with self._lock:
            if self._kept is None or not 0 <= now.timestamp() - self._kept[0] < KEPT_SECONDS:
                self._kept = (now.timestamp(), draw(store))
            return self._kept[1]

    def drop(self) -> None:
        self._kept = None


def draw(store: Store) -> Picture:
    """Reads the store and works the figures out."""
    rankings, groups = list(store.rankings()), {person.id: person.group or "–" for person in store.labelers()}
    lines = {line.labeler: line for line in _quality(store, rankings)}
    people = _people(store, lines, groups)
    names = {person.id: person.name for person in people}
    return Picture(
        people,
        store.counts(),
        _agreement(rankings),
        {version: (len(part), _pairwise(part)) for version, part in split(rankings, _version).items()},
        {pair: found.dropped for pair, found in between_groups(rankings, groups, resamples=RESAMPLES).items()},
        [(pair.prompt_id, pair.prefers_first) for pair in contested(rankings, groups)[:SHOWN]],
        _plots([line for line in lines.values() if line.rankings], names),
    )


def _quality(store: Store, rankings: Sequence[Ranking]) -> list[LabelerQuality]:
    said = list(answers.every(store, purposes=("work", "gold", "repeat")))
    lengths = {response.id: len(response.text.split()) for response in store.responses()} if rankings else {}
    read = {r.id: sum(lengths.get(id, 0) for id in r.response_ids) for r in rankings}
    gold = _gold(store, [answer for answer in said if answer.purpose == "gold"])
    repeats = [found for answer in said if answer.purpose == "repeat" and (found := _ranking(answer, answer.payload))]
    seconds = {f"k-{answer.id}": answer.seconds for answer in said if answer.purpose == "work"}
    return labeler_quality(rankings, gold=gold, repeats=repeats, lengths=lengths, seconds=seconds, words=read, resamples=RESAMPLES)


def _gold(store: Store, said: Sequence[Answer]) -> list[Checked]:
    with store.read() as connection:
        expected = {task.id: task.expected for task in tasks.load_all(connection, {answer.task_id for answer in said})}
    pairs = [(_ranking(answer, answer.payload), _ranking(answer, expected[answer.task_id] or {})) for answer in said]
    return [Checked(given, wanted) for given, wanted in pairs if given and wanted]


def _ranking(answer: Answer, payload: Mapping[str, Any]) -> Ranking | None:
    """The ranking that a payload of this answer's task stands for; None for kinds without ranks."""
    ranks: dict[str, int] = payload.get("ranks") or {}
    if len(answer.shown) < 2 or set(ranks) != set(answer.shown):
        return None
    order = tuple(ranks[id] for id in answer.shown)
    return Ranking(answer.id, answer.prompt_id, answer.labeler, answer.shown, order, answer.guideline, answer.at)


def _people(store: Store, lines: Mapping[str, LabelerQuality], groups: Mapping[str, str]) -> list[Person]:
    known = {account.id: account for account in accounts.people(store)}
    with store.read() as connection:
        out = set(connection.scalars(select(schema.excluded.c.labeler)))
    ids = sorted(known.keys() | lines.keys() | out, key=lambda id: (known[id].name if id in known else id, id))
    return [Person(id, known[id].name if id in known else id, groups.get(id, ""), known.get(id), id in out, lines.get(id)) for id in ids]


def _agreement(rankings: Sequence[Ranking]) -> dict[str, Interval]:
    try:
        return reliability(rankings, resamples=RESAMPLES).figures
    except InputError:
        return {}


def _pairwise(rankings: Sequence[Ranking]) -> Interval:
    return _agreement(rankings).get("pairwise_dropped", Interval(math.nan, math.nan, math.nan))


def _version(ranking: Ranking) -> str:
    return f"{ranking.guideline.set} {ranking.guideline.version}"


def _plots(lines: Sequence[LabelerQuality], names: Mapping[str, str]) -> list[Plot]:
    named = [(names.get(line.labeler, line.labeler), line) for line in lines]
    found = [
        _plot(words.AGREEMENT, [(name, line.agreement) for name, line in named], (0.5, 1.0), words.USUAL_AGREEMENT, low_is_off=True),
        _plot(words.POSITION, [(name, line.first_preferred) for name, line in named], (0.0, 1.0), 0.5),
        _plot(words.LENGTH, [(name, line.length.excess) for name, line in named], (-0.5, 0.5), 0.0),
    ]
    return [plot for plot in found if plot.rows]


def _plot(title: str, values: Iterable[tuple[str, Interval]], span: tuple[float, float], aim: float, *, low_is_off: bool = False) -> Plot:
    """Places values of a span on 100 to 300, one line every 18."""
    least, most = span

    def place(value: float) -> float:
        return 100 + 200 * (min(max(value, least), most) - least) / (most - least)

    rows: list[Row] = []
    for name, value in values:
        if not math.isnan(value.mean):
            off = value.high < aim or (value.low > aim and not low_is_off)
            rows.append(Row(name[:14], 18.0 * len(rows) + 12, place(value.mean), place(value.low), place(value.high), off))
    ticks = (least, (least + most) / 2, most)
    marks = tuple((place(tick), f"{tick:.0%}" if least >= 0 or not tick else f"{tick:+.0%}") for tick in ticks)
    return Plot(title, 18.0 * len(rows) + 24, place(aim), marks, tuple(rows))
