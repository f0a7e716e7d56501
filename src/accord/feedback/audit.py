"""The audit log: who did what to whom, and why. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from accord.feedback import schema
from accord.feedback.store import Store

OPERATOR = "operator"
"""The actor of changes made on the command line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation that changed which records count, or a person's rights."""

    number: int
    who: str
    what: str
    """One of invite, uninvite, redeem, role, pause, resume, revoke, qualify, exclude, include, retract, erase, score, settle, rule."""
    on: str
    why: str
    at: str


def note(connection: Connection, *, who: str, what: str, on: str, why: str, at: datetime) -> None:
    """Add a row to the audit log, inside the transaction that it reports."""
    connection.execute(insert(schema.audit).values(who=who, what=what, on=on, why=why, at=at.isoformat()))


def audit(store: Store, *, who: str, what: str, on: str, why: str = "", at: datetime) -> None:
    """Add a row to the audit log in a transaction of its own."""
    with store.write() as connection:
        note(connection, who=who, what=what, on=on, why=why, at=at)


def entries(store: Store, on: str = "") -> Iterator[Entry]:
    """Return the audit log, oldest row first; with ``on`` only what was done to one account or record."""
    query = select(schema.audit).order_by(schema.audit.c.number)
    for row in store.database.rows(query.where(schema.audit.c.on == on) if on else query):
        yield _entry(row)


def newest(store: Store, *, who: str = "", what: str = "", on: str = "", before: int = 0, limit: int = 100) -> list[Entry]:
    """Return rows of the audit log, newest first.

    Args:
        who, what, on: only rows with exactly this; empty allows all.
        before: the number of the last row already seen; older ones follow.
    """
    a = schema.audit
    query = select(a).order_by(a.c.number.desc()).limit(limit)
    for column, wanted in ((a.c.who, who), (a.c.what, what), (a.c.on, on)):
        query = query.where(column == wanted) if wanted else query
    if before:
        query = query.where(a.c.number < before)
    with store.read() as connection:
        return [_entry(row) for row in connection.execute(query).mappings()]


def kinds(store: Store) -> list[str]:
    """Return the kinds of operations that the log has, in alphabetical order."""
    with store.read() as connection:
        return sorted(connection.scalars(select(schema.audit.c.what).distinct()))


def _entry(row: Mapping[Any, Any]) -> Entry:
    return Entry(row["number"], row["who"], row["what"], row["on"], row["why"], row["at"])
