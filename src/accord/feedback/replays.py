"""Replies kept for idempotency keys, so that a request that arrives twice is carried out once and answered twice alike.

A reply is stored in the transaction that carries out its request: after a crash either both are there or neither. A refused request leaves
none, and is decided anew when it comes again.

A reply that holds texts or a secret is kept as the id of what it shows, and is written again from the database: what is erased there is not
left here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from accord.feedback import schema
from accord.feedback.apps import NotTaken

LONGEST_KEY = 255
DAYS = 7
"""How long a reply is kept; a repeat after that is a new request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it was given."""

    status: int
    body: str


def earlier(connection: Connection, app: str, key: str, request: bytes, *, now: datetime) -> Reply | None:
    """Return the reply to an earlier request with the same key, inside a write transaction; None for a new one.

    Args:
        request: route and body.

    Raises:
        NotTaken: the key is no key (400), or came with another request before (422).
    """
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        what = f"an idempotency key has 1 to {LONGEST_KEY} printable characters"
        raise NotTaken(what, code="invalid_value", status=400, param="Idempotency-Key")
    r = schema.replays
    row = connection.execute(select(r).where(r.c.id == _id(app, key))).mappings().first()
    if row is None:
        return None
    if row["at"] <= _oldest(now):
        connection.execute(delete(r).where(r.c.id == row["id"]))
        return None
    if row["request"] != _digest(request):
        what = "this idempotency key came with another request before; give each request a key of its own"
        raise NotTaken(what, code="idempotency_key_reused", status=422, param="Idempotency-Key")
    return Reply(row["status"], row["body"])


def keep(connection: Connection, app: str, key: str, request: bytes, reply: Reply, *, now: datetime) -> None:
    """Store a reply in the transaction of its request."""
    values = {"id": _id(app, key), "request": _digest(request), "status": reply.status, "body": reply.body, "at": now.timestamp()}
    connection.execute(insert(schema.replays).values(values))


def purge(connection: Connection, *, now: datetime) -> int:
    """Delete the replies whose days are over, inside a transaction; return their number."""
    r = schema.replays
    return connection.execute(delete(r).where(r.c.at <= _oldest(now))).rowcount


def _oldest(now: datetime) -> float:
    return (now - timedelta(days=DAYS)).timestamp()


def _id(app: str, key: str) -> str:
    return _digest(f"{len(app)}:{app}{key}".encode("utf-8", "surrogatepass"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
