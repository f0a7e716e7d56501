"""Leaving records out of everything that is learned, and taking them in again: the rows stay, the readers pass over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from accord.feedback import schema
from accord.feedback.inserts import batches


def withdraw(connection: Connection, kind: str, reasons: Iterable[tuple[str, str]], *, by: str, now: datetime) -> int:
    """Withdraws records of a kind for a reason each; those that are withdrawn already stay as they are. Returns how many were new.

    Args:
        kind: prompt, demonstration, ranking, answer, thumb ...
        reasons: record id and why.
    """
    w, added = schema.withdrawn, 0
    for part in batches(reasons):
        there = set(connection.scalars(select(w.c.record_id).where(w.c.kind == kind, w.c.record_id.in_([id for id, _ in part]))))
        rest = {"kind": kind, "replaced_by": "", "by": by, "at": now.isoformat()}
        if new := [{"record_id": id, "why": why, **rest} for id, why in part if id not in there]:
            connection.execute(insert(w), new)
        added += len(new)
    return added


def take_back(connection: Connection, kind: str, *, by: str) -> int:
    """Takes in again what one actor withdrew; what was erased is not there to come back. Returns how many."""
    w = schema.withdrawn
    return connection.execute(delete(w).where(w.c.kind == kind, w.c.by == by, w.c.why != "erased")).rowcount


def withdrawn_ids(connection: Connection, kind: str, ids: Iterable[str]) -> Iterator[str]:
    """Those of the ids that are withdrawn."""
    w = schema.withdrawn
    for part in batches(ids):
        yield from connection.scalars(select(w.c.record_id).where(w.c.kind == kind, w.c.record_id.in_(part)))


def reasons(connection: Connection, kind: str) -> Mapping[str, int]:
    """How many records of a kind are withdrawn, by reason."""
    w = schema.withdrawn
    query = select(w.c.why, func.count()).where(w.c.kind == kind).group_by(w.c.why).order_by(w.c.why)
    return {str(why): int(count) for why, count in connection.execute(query)}
