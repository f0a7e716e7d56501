"""Webhooks: events are queued in the transaction that they report, and sent by `accord serve` (``accord.serving.apps.webhooks``).

An event names ids and holds no text. The queue is in the database, so that it survives a restart, and bounded: beyond ``MOST_WAITING`` the
oldest is given up. A webhook may get an event twice, after a crash between its arrival and the note of it, and recognises it by its id.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from accord.feedback import consents, schema

Event = Literal["answer.stored", "review.needed", "round.ready"]
EVENTS: tuple[Event, ...] = get_args(Event)
MOST_WAITING = 10_000
"""Events that wait for one webhook."""
MOST_HOOKS = 20
"""Webhooks of one app."""
ATTEMPTS = 8
PER_HOOK = 10
"""Events that one webhook is sent at once: a webhook with many that wait leaves room for the others."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 3600.0
"""Seconds before the second attempt, and at most; each wait is four times the one before."""
KEPT_DONE = 1_000
"""Finished deliveries that are kept to look at."""


@dataclass(frozen=True, slots=True)
class Hook:
    """An address that is told of events."""

    id: str
    app: str
    url: str
    secret: str
    """Signs what is sent."""
    events: tuple[Event, ...]
    at: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a webhook."""

    number: int
    url: str
    secret: str
    body: str
    attempts: int


def subscribe(connection: Connection, app: str, url: str, events: Sequence[Event], *, now: datetime) -> Hook:
    """Add a webhook inside a transaction."""
    hook = Hook(f"w-{secrets.token_hex(8)}", app, url, f"whsec-{secrets.token_urlsafe(32)}", tuple(dict.fromkeys(events)), now.isoformat())
    values = {"id": hook.id, "app": app, "url": url, "secret": hook.secret, "events": json.dumps(hook.events), "at": hook.at, "ended": ""}
    connection.execute(insert(schema.webhooks).values(values))
    return hook


def hooks(connection: Connection, app: str | None = None) -> list[Hook]:
    """Return the working webhooks, of one app or of all."""
    w = schema.webhooks
    query = select(w).where(w.c.ended == "").order_by(w.c.at, w.c.id)
    rows = connection.execute(query if app is None else query.where(w.c.app == app)).mappings()
    return [Hook(row["id"], row["app"], row["url"], row["secret"], tuple(json.loads(row["events"])), row["at"]) for row in rows]


def unsubscribe(connection: Connection, app: str, id: str, *, now: datetime) -> bool:
    """End a webhook with what waits for it; return False when the app has none of this id."""
    w, d = schema.webhooks, schema.deliveries
    ended = update(w).where(w.c.id == id, w.c.app == app, w.c.ended == "").values(ended=now.isoformat(), secret="")
    if connection.execute(ended).rowcount == 0:
        return False
    connection.execute(update(d).where(d.c.webhook == id, d.c.state == "waiting").values(state="given up", said="the webhook was removed"))
    return True


def emit(connection: Connection, event: Event, data: Mapping[str, Any], *, now: datetime) -> None:
    """Queue an event for every webhook that wants it, inside the transaction that it reports."""
    d = schema.deliveries
    for hook in hooks(connection):
        if event not in hook.events:
            continue
        waiting = (d.c.webhook == hook.id, d.c.state == "waiting")
        if (connection.scalar(select(func.count()).where(*waiting)) or 0) >= MOST_WAITING:
            oldest = connection.scalar(select(func.min(d.c.number)).where(*waiting))
            connection.execute(update(d).where(d.c.number == oldest).values(state="given up", said="too many waited"))
        body = json.dumps({"id": f"evt-{secrets.token_hex(10)}", "event": event, "at": now.isoformat(), "data": dict(data)})
        values = {"webhook": hook.id, "body": body, "state": "waiting", "attempts": 0, "due": now.timestamp(), "said": ""}
        connection.execute(insert(d).values(values))


def review_needed(connection: Connection, user: str, reactions: Sequence[str], *, now: datetime) -> None:
    """Tell that reactions wait for a lead, if their user agreed to it."""
    given = consents.of(connection, user)
    if given and given.given and reactions:
        emit(connection, "review.needed", {"reactions": list(reactions)}, now=now)


def due(connection: Connection, apps: Collection[str], *, now: datetime, limit: int = 50) -> list[Delivery]:
    """Return what is to be sent to these apps now: the oldest event of each webhook first, then the second of each, and so on."""
    d, w = schema.deliveries, schema.webhooks
    turn = func.row_number().over(partition_by=d.c.webhook, order_by=(d.c.due, d.c.number)).label("turn")
    query = select(d.c.number, w.c.url, w.c.secret, d.c.body, d.c.attempts, d.c.due, turn).join(w, w.c.id == d.c.webhook)
    query = query.where(d.c.state == "waiting", d.c.due <= now.timestamp(), w.c.ended == "", w.c.app.in_(sorted(apps)))
    found = query.subquery()
    first = select(found).where(found.c.turn <= PER_HOOK).order_by(found.c.turn, found.c.due, found.c.number).limit(limit)
    return [Delivery(row.number, row.url, row.secret, row.body, row.attempts) for row in connection.execute(first)]


def finish(connection: Connection, delivery: Delivery, said: str, *, sent: bool, now: datetime) -> None:
    """Note an attempt inside a transaction: the event arrived, is tried again later, or is given up."""
    d, attempts = schema.deliveries, delivery.attempts + 1
    state = "sent" if sent else "waiting" if attempts < ATTEMPTS else "given up"
    wait = min(FIRST_WAIT * 4**delivery.attempts, LONGEST_WAIT)
    values = {"state": state, "attempts": attempts, "due": now.timestamp() + wait, "said": said[:400]}
    connection.execute(update(d).where(d.c.number == delivery.number, d.c.state == "waiting").values(values))
    newest = connection.scalar(select(func.max(d.c.number))) or 0
    connection.execute(delete(d).where(d.c.state != "waiting", d.c.number <= newest - KEPT_DONE))
