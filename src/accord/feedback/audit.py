"""Who did what to whom, and why: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from accord.feedback import schema
from accord.feedback.store import Store

OPERATOR = "operator"
"""Who acts when a command of the terminal changes something."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation that changed what counts or who may do what."""

    number: int
    who: str
    what: str
    """invite, redeem, role, pause, resume, revoke, qualify, exclude, include, retract, erase, score."""
    on: str
    why: str
    at: str


def note(connection: Connection, *, who: str, what: str, on: str, why: str, at: datetime) -> None:
    """Adds a row to the audit inside the transaction of what it tells of."""
    connection.execute(insert(schema.audit).values(who=who, what=what, on=on, why=why, at=at.isoformat()))


def audit(store: Store, *, who: str, what: str, on: str, why: str = "", at: datetime) -> None:
    """Adds a row to the audit on its own."""
    with store.write() as connection:
        note(connection, who=who, what=what, on=on, why=why, at=at)


def entries(store: Store) -> Iterator[Entry]:
    """The audit from its beginning."""
    for row in store.database.rows(select(schema.audit).order_by(schema.audit.c.number)):
        yield Entry(row["number"], row["who"], row["what"], row["on"], row["why"], row["at"])
