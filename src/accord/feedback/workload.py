"""How the work goes: answers and hours of each person, and the progress of each kind of task with an estimate of its end.

Hours are the time in view that the browser counted, corrections included, at most ``LONGEST`` for one answer: without scripts the time
since the page was made is all that is known, and somebody may have left it open overnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from accord.feedback import schema
from accord.feedback.privacy import ERASED
from accord.feedback.queue import KINDS, Kind
from accord.feedback.store import Store

LONGEST = 1_800.0
"""Seconds of one answer that count as work, at most."""
RECENT = timedelta(days=7)
"""The time whose pace the estimates go by."""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Work:
    """What one person has done on the site."""

    answers: int = 0
    """Answers of every kind and purpose, corrections and skipped tasks left out."""
    skipped: int = 0
    today: int = 0
    """Answers since midnight UTC."""
    recent: int = 0
    """Answers of the last seven days."""
    seconds: float = 0.0
    recent_seconds: float = 0.0
    last: str = ""
    """Time of the last answer, ISO 8601 in UTC."""
    kinds: Mapping[Kind, int] = field(default_factory=dict[Kind, int])
    reserved: int = 0
    """Open tasks that only this person gets."""

    @property
    def mean_seconds(self) -> float:
        """Return the mean time per answer, skipped tasks included; 0 without answers."""
        done = self.answers + self.skipped
        return self.seconds / done if done else 0.0

    @property
    def reserved_hours(self) -> float:
        """Return the time that the person's own tasks will take at their pace."""
        return self.reserved * self.mean_seconds / 3600


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one kind of task is. Gold and screening tasks, repeats and tasks on erased prompts are no part of it."""

    kind: Kind
    tasks: int
    wanted: int
    """Answers that the queue asks for: each task as often as its overlap."""
    done: int
    in_hand: int
    """Tasks that somebody has open."""
    recent: int
    """Answers of the last seven days."""
    days: float
    """Days in which ``recent`` came: seven, or those since the first answer."""
    mean_seconds: float

    @property
    def remaining(self) -> int:
        """Return the number of answers that are still wanted."""
        return max(0, self.wanted - self.done)

    @property
    def days_left(self) -> float | None:
        """Return the days until nothing remains at the recent pace; None when nobody has answered lately."""
        if not self.remaining:
            return 0.0
        return self.remaining / (self.recent / self.days) if self.recent else None

    @property
    def hours_left(self) -> float | None:
        """Return the hours of work that remain at the mean time per answer; None without answers."""
        return self.remaining * self.mean_seconds / 3600 if self.mean_seconds else None


def work(store: Store, *, now: datetime) -> dict[str, Work]:
    """Return everybody's work by account; people who have done nothing and wait for nothing are missing."""
    a, t = schema.answers, schema.tasks
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    skip, recent = _skipped(), a.c.at >= (now - RECENT).isoformat()
    first = (a.c.revision == 1) & ~skip
    columns: list[Any] = [
        a.c.labeler,
        t.c.kind,
        _count(first).label("answers"),
        _count((a.c.revision == 1) & skip).label("skipped"),
        _count(first & (a.c.at >= midnight.isoformat())).label("today"),
        _count(first & recent).label("recent"),
        func.sum(_spent()).label("seconds"),
        func.sum(case((recent, _spent()), else_=0.0)).label("recent_seconds"),
        func.max(a.c.at).label("last"),
    ]
    query = select(*columns).join(t, t.c.id == a.c.task_id).group_by(a.c.labeler, t.c.kind)
    own = (t.c.reserved_for != "", t.c.open, t.c.purpose == "work")
    waiting = select(t.c.reserved_for, func.count().label("tasks")).where(*own).group_by(t.c.reserved_for)
    with store.read() as connection:
        lines = connection.execute(query).mappings().all()
        reserved: dict[str, int] = {row.reserved_for: row.tasks for row in connection.execute(waiting)}
    by_person: dict[str, list[Mapping[Any, Any]]] = {labeler: [] for labeler in reserved}
    for line in lines:
        by_person.setdefault(line["labeler"], []).append(line)
    return {labeler: _summed(parts, reserved.get(labeler, 0)) for labeler, parts in by_person.items()}


def progress(store: Store, *, now: datetime) -> list[Progress]:
    """Return the progress of each kind of which there are tasks, in the order of ``KINDS``."""
    a, t, given = schema.answers, schema.tasks, schema.assignments
    # A task that is closed asks for no more answers than it got: it was done, or taken out of the queue.
    asked = case((t.c.open, t.c.overlap), else_=t.c.taken)
    counted = (t.c.purpose == "work", t.c.reserved_for != ERASED)
    queued = select(t.c.kind, func.count().label("tasks"), func.sum(asked).label("wanted")).where(*counted).group_by(t.c.kind)
    states = select(t.c.kind, given.c.state, func.count().label("count")).join(t, t.c.id == given.c.task_id)
    states = states.where(*counted, given.c.state.in_(("answered", "leased"))).group_by(t.c.kind, given.c.state)
    since = (now - RECENT).isoformat()
    paced = select(
        t.c.kind,
        _count((a.c.at >= since) & (a.c.revision == 1)).label("recent"),
        func.min(a.c.at).label("first"),
        # Corrections are time of the answer that they correct.
        func.coalesce(func.sum(_spent()) / func.nullif(_count(a.c.revision == 1), 0), 0.0).label("mean"),
    )
    paced = paced.join(t, t.c.id == a.c.task_id).where(t.c.purpose == "work", ~_skipped()).group_by(t.c.kind)
    with store.read() as connection:
        totals = {row["kind"]: row for row in connection.execute(queued).mappings()}
        counts = {(row["kind"], row["state"]): row["count"] for row in connection.execute(states).mappings()}
        paces = {row["kind"]: row for row in connection.execute(paced).mappings()}
    found = list[Progress]()
    for kind in KINDS:
        if kind in totals:
            total, pace = totals[kind], paces.get(kind)
            found.append(
                Progress(
                    kind=kind,
                    tasks=total["tasks"],
                    wanted=int(total["wanted"]),
                    done=counts.get((kind, "answered"), 0),
                    in_hand=counts.get((kind, "leased"), 0),
                    recent=int(pace["recent"]) if pace else 0,
                    days=_days_since(pace["first"], now) if pace else RECENT.days,
                    mean_seconds=float(pace["mean"]) if pace else 0.0,
                )
            )
    return found


def daily(store: Store, labeler: str, *, now: datetime, days: int = 14) -> list[tuple[str, int, float]]:
    """Return a person's last days, oldest first: the date in UTC, the answers, and the seconds."""
    a = schema.answers
    day = func.substr(a.c.at, 1, 10)
    since = (now - timedelta(days=days - 1)).date().isoformat()
    query = select(day, _count((a.c.revision == 1) & ~_skipped()), func.sum(_spent())).where(a.c.labeler == labeler, a.c.at >= since)
    with store.read() as connection:
        known = {date: (int(count), float(seconds)) for date, count, seconds in connection.execute(query.group_by(day))}
    dates = [(now - timedelta(days=back)).date().isoformat() for back in reversed(range(days))]
    return [(date, *known.get(date, (0, 0.0))) for date in dates]


def _summed(parts: list[Mapping[Any, Any]], reserved: int) -> Work:
    kinds: dict[Kind, int] = {part["kind"]: int(part["answers"]) for part in parts if part["answers"]}
    return Work(
        answers=sum(int(part["answers"]) for part in parts),
        skipped=sum(int(part["skipped"]) for part in parts),
        today=sum(int(part["today"]) for part in parts),
        recent=sum(int(part["recent"]) for part in parts),
        seconds=sum(float(part["seconds"]) for part in parts),
        recent_seconds=sum(float(part["recent_seconds"]) for part in parts),
        last=max((part["last"] for part in parts), default=""),
        kinds={kind: kinds[kind] for kind in KINDS if kind in kinds},
        reserved=reserved,
    )


def _days_since(first: str, now: datetime) -> float:
    """Return the days since the first answer, from one to seven, so that a start yesterday is not spread over a week."""
    return min(max((now - datetime.fromisoformat(first)).total_seconds() / DAY, 1.0), float(RECENT.days))


def _skipped() -> ColumnElement[bool]:
    return schema.answers.c.payload.like('{"skip"%')


def _spent() -> ColumnElement[float]:
    seconds = schema.answers.c.seconds
    return case((seconds > LONGEST, LONGEST), else_=seconds)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
