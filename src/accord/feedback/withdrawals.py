"""Withdrawal and restoration of records: the rows stay, and the readers skip them.

Whether a record was withdrawn is decided only here: ``is_withdrawn`` in a query, ``withdrawn_ids`` for given ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, delete, func, insert, select, update

from accord.feedback import schema
from accord.feedback.inserts import batches

ERASED = "erased"
"""A reason that ``restore`` never undoes: the record is empty."""


def is_withdrawn(kind: str, id: Any) -> ColumnElement[bool]:
    """Return the SQL condition that a record was withdrawn.

    Args:
        kind: prompt, response, demonstration, ranking, answer, thumb, reaction or conversation.
        id: a column of the query around it, or a single id.
    """
    w = schema.withdrawn
    return select(w.c.record_id).where(w.c.kind == kind, w.c.record_id == id).exists()


def is_in_use(kind: str, id: Any) -> ColumnElement[bool]:
    """Return the SQL condition that a record was not withdrawn, for a column that a large join reads.

    NOT IN rather than NOT EXISTS: PostgreSQL compares every two rows for a second NOT EXISTS while the table is empty.
    """
    w = schema.withdrawn
    return id.not_in(select(w.c.record_id).where(w.c.kind == kind))


def withdrawn_by(kind: str, id: Any) -> ScalarSelect[str]:
    """Return the SQL value of who withdrew a record; NULL while it is in use."""
    w = schema.withdrawn
    return select(w.c.by).where(w.c.kind == kind, w.c.record_id == id).scalar_subquery()


def withdrawn_for(connection: Connection, kind: str, id: str) -> tuple[str, str, str] | None:
    """Return who withdrew a record, why and when; None while it is in use."""
    w = schema.withdrawn
    row = connection.execute(select(w.c.by, w.c.why, w.c.at).where(w.c.kind == kind, w.c.record_id == id)).first()
    return (row.by, row.why, row.at) if row else None


def withdrawn_ids(connection: Connection, kind: str, ids: Iterable[str]) -> Iterator[str]:
    """Yield the withdrawn ids among the given ones."""
    w = schema.withdrawn
    for part in batches(ids):
        yield from connection.scalars(select(w.c.record_id).where(w.c.kind == kind, w.c.record_id.in_(part)))


def withdrawn_counts(connection: Connection, *, but_by: str) -> list[tuple[str, int]]:
    """Return how many records of each kind were withdrawn, by anybody but ``but_by``."""
    w = schema.withdrawn
    query = select(w.c.kind, func.count()).where(w.c.by != but_by).group_by(w.c.kind).order_by(w.c.kind)
    return [(kind, count) for kind, count in connection.execute(query)]


def withdraw(
    connection: Connection, kind: str, reasons: Iterable[tuple[str, str]], *, by: str, now: datetime, replaced_by: str = ""
) -> int:
    """Withdraw records of a kind, each with a reason; already withdrawn ones stay as they are. Return the number of new ones.

    Args:
        kind: as for ``is_withdrawn``.
        reasons: reason for each record id.
        replaced_by: the record that replaces them.
    """
    added = 0
    for part in batches(reasons):
        there = set(withdrawn_ids(connection, kind, [id for id, _ in part]))
        rest = {"kind": kind, "replaced_by": replaced_by, "by": by, "at": now.isoformat()}
        if new := [{"record_id": id, "why": why, **rest} for id, why in part if id not in there]:
            connection.execute(insert(schema.withdrawn), new)
        added += len(new)
    return added


def withdraw_erased(connection: Connection, kind: str, ids: Iterable[str], *, by: str, now: datetime) -> None:
    """Withdraw records permanently, including those already withdrawn for another reason, so that no ``restore`` brings them back."""
    w = schema.withdrawn
    for part in batches(ids):
        known = update(w).where(w.c.kind == kind, w.c.record_id.in_(part))
        connection.execute(known.values(why=ERASED, by=by, at=now.isoformat()))
        withdraw(connection, kind, [(id, ERASED) for id in part], by=by, now=now)


def restore(connection: Connection, kind: str, *, by: str) -> int:
    """Restore the records that one actor withdrew, except erased ones. Return their number."""
    w = schema.withdrawn
    return connection.execute(delete(w).where(w.c.kind == kind, w.c.by == by, w.c.why != ERASED)).rowcount


def restore_undone(connection: Connection, kind: str, ids: Sequence[str], by: str) -> list[str]:
    """Restore those of the given records that an actor of this beginning withdrew; return their ids."""
    w = schema.withdrawn
    theirs = (w.c.kind == kind, w.c.record_id.in_(ids), w.c.by.startswith(by, autoescape=True), w.c.why != ERASED)
    restored = list(connection.scalars(select(w.c.record_id).where(*theirs)))
    connection.execute(delete(w).where(w.c.kind == kind, w.c.record_id.in_(restored)))
    return restored


def reasons(connection: Connection, kind: str) -> Mapping[str, int]:
    """Return the number of withdrawn records of a kind, by reason."""
    w = schema.withdrawn
    query = select(w.c.why, func.count()).where(w.c.kind == kind).group_by(w.c.why).order_by(w.c.why)
    return {str(why): int(count) for why, count in connection.execute(query)}
