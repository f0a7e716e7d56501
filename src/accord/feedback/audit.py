"""The audit log: who did what to whom, and why. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

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
        yield Entry(row["number"], row["who"], row["what"], row["on"], row["why"], row["at"])
