"""Assignment of tasks. A task is given to ``overlap`` different labelers.

Choosing a task, counting its labelers and leasing it are one transaction. On SQLite it holds the write lock. On PostgreSQL it locks the
labeler's row and then one task's row, skipping tasks that others hold at the moment. Every other transaction on leases and answers locks
in the same order. The cost does not depend on the number of tasks: the queue is an index.

A labeler who asks again gets the same task until it is answered or skipped, or its lease expires. A task that was given back, or whose
lease expired, returns to the queue and may come to the same labeler again.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, update

from accord.feedback import schema
from accord.feedback.queue import (
    EVERYBODY,
    KINDS,
    PARTS,
    Kind,
    Part,
    Purpose,
    Task,
    add,
    close,
    from_responses,
    load,
    load_all,
    prioritise,
    put,
    shown_order,
    task_id,
    unknown,
)
from accord.feedback.refusals import Refused
from accord.feedback.store import Store

__all__ = [
    "EVERYBODY", "KINDS", "PARTS", "Kind", "Leased", "Part", "Purpose", "Task", "add", "close", "from_responses", "held", "left", "load",
    "load_all", "next_task", "prioritise", "release", "shown_order", "task_id",
    "unknown",
]  # fmt: skip

State = Literal["leased", "answered", "skipped", "retracted", "released", "expired"]
TAKING: tuple[State, ...] = ("leased", "answered")
"""States that count towards a task's overlap."""
FREE: tuple[State, ...] = ("released", "expired")
"""States after which the same labeler may get the task again."""
AHEAD = timedelta(hours=1)
"""A lease that begins later than this from now was given by a clock that was ahead."""
SWEPT = 50
"""Number of expired leases that one call returns to the queue, at most."""
WRITTEN: tuple[Kind, ...] = ("demonstrate", "correct", "prompt")
"""Kinds of task that nobody does twice alike: they are not repeated to measure self-consistency."""
REPEAT_AFTER = 10
"""Number of other tasks before a task is shown again to measure self-consistency."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A task leased to a labeler."""

    task: Task
    order: tuple[str, ...]
    """Response ids in the order in which this labeler sees them."""
    expires: datetime
    revision: int = 0
    """Revision of the labeler's last answer to it; 0 when there is none."""
    given: str = ""
    """When it came to this labeler, ISO 8601 in UTC."""


def next_task(
    store: Store,
    labeler: str,
    *,
    now: datetime,
    lease_seconds: float,
    kinds: Sequence[Kind] | None = None,
    purpose: Literal["work", "qualification"] = "work",
    seed: int = 0,
    gold_rate: float = 0.0,
    repeat_rate: float = 0.0,
) -> Leased | None:
    """Lease the next task to a labeler, or renew the current one; return None when nothing is left for this labeler.

    Args:
        now: UTC.
        lease_seconds: duration of the lease; asking again for the current task restarts it.
        kinds: only tasks of these kinds; None allows all.
        purpose: ``qualification`` serves only screening tasks. ``work`` mixes gold tasks and repeats in.
        seed: fixes the order of responses and which task is followed by a gold or repeated one.
        gold_rate: share of gold tasks in [0, 1], while there are any left for this labeler.
        repeat_rate: share of tasks that show an earlier one again.

    Raises:
        Refused: there is no such labeler.
        StoreError: the store cannot be written.
    """
    wanted = tuple(kinds or KINDS)
    with store.write() as connection:
        lock_labeler(connection, labeler)
        return_expired(connection, now)
        id = _in_hand(connection, labeler, wanted, purpose)
        if id is None:
            mix = _mix(connection, labeler, seed, gold_rate, repeat_rate) if purpose == "work" else "work"
            id = _choose(connection, labeler, wanted, purpose, mix)
        return _lease(connection, labeler, load(connection, id), now, lease_seconds, seed) if id else None


def release(store: Store, labeler: str, task_id: str) -> bool:
    """Return a leased task to the queue unanswered; return False when the labeler does not hold it."""
    with store.write() as connection:
        # The labeler first, then the task: with one order for all, no two transactions wait for each other.
        lock_labeler(connection, labeler)
        lock_task(connection, task_id)
        a = schema.assignments
        mine = select(a.c.state).where(a.c.task_id == task_id, a.c.labeler == labeler)
        if connection.scalar(mine) != "leased":
            return False
        set_state(connection, task_id, labeler, "released")
        return True


def held(store: Store, labeler: str, task_id: str) -> Leased | None:
    """Return a task given to this labeler, answered or not, as it was shown; None when it was never given."""
    a = schema.assignments
    with store.read() as connection:
        row = connection.execute(select(a).where(a.c.task_id == task_id, a.c.labeler == labeler)).mappings().first()
        if row is None:
            return None
        expires = datetime.fromtimestamp(row["expires"], UTC)
        shown, revision = tuple(json.loads(row["shown"])), last_revision(connection, task_id, labeler)
        return Leased(load(connection, task_id), shown, expires, revision, row["at"])


def left(store: Store, labeler: str, *, kinds: Sequence[Kind] | None = None, most: int = 1000) -> int:
    """Return the number of tasks available to this labeler, counted up to ``most``."""
    t = schema.tasks
    mine = t.c.reserved_for.in_(("", labeler))
    query = select(t.c.id).where(mine, t.c.purpose == "work", t.c.kind.in_(tuple(kinds or KINDS)), t.c.open, _unseen(labeler))
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(query.limit(most).subquery())) or 0


def lock_labeler(connection: Connection, labeler: str) -> None:
    """Serialise this labeler's transactions. Raises Refused when there is no such labeler."""
    table = schema.labelers
    # FOR NO KEY UPDATE on PostgreSQL: rows that refer to this one can still be inserted. SQLite has one writer at a time anyway.
    if connection.scalar(select(table.c.id).where(table.c.id == labeler).with_for_update(key_share=True)) is None:
        raise Refused("unknown_labeler", 403, labeler)


def lock_task(connection: Connection, task_id: str) -> Mapping[Any, Any] | None:
    """Lock and return a task's row until the end of the transaction."""
    table = schema.tasks
    return connection.execute(select(table).where(table.c.id == task_id).with_for_update(key_share=True)).mappings().first()


def return_expired(connection: Connection, now: datetime) -> int:
    """Return expired leases to the queue, and those of a clock that was ahead, ``SWEPT`` at most.

    Tasks that others hold are left for the next time.
    """
    a, t = schema.assignments, schema.tasks
    ahead = (now + AHEAD).isoformat()
    over = (a.c.state == "leased", (a.c.expires <= now.timestamp()) | (a.c.at > ahead))
    found = connection.scalars(select(a.c.task_id).where(*over).order_by(a.c.expires).limit(SWEPT)).all()
    if not found:
        return 0
    locked = connection.scalars(select(t.c.id).where(t.c.id.in_(found)).with_for_update(key_share=True, skip_locked=True)).all()
    done = connection.execute(update(a).where(a.c.task_id.in_(locked), *over).values(state="expired")).rowcount
    for id in locked:
        recount(connection, id)
    return done


def set_state(connection: Connection, task_id: str, labeler: str, state: State) -> None:
    """Change the state of a labeler's assignment and recount the task. The task must be locked."""
    a = schema.assignments
    connection.execute(update(a).where(a.c.task_id == task_id, a.c.labeler == labeler).values(state=state))
    recount(connection, task_id)


def recount(connection: Connection, task_id: str) -> None:
    """Count who has a task or has answered it, and open or close it. The task must be locked."""
    a, t = schema.assignments, schema.tasks
    taken = connection.scalar(select(func.count()).where(a.c.task_id == task_id, a.c.state.in_(TAKING))) or 0
    connection.execute(update(t).where(t.c.id == task_id).values(taken=taken, open=t.c.overlap > taken))


def last_revision(connection: Connection, task_id: str, labeler: str) -> int:
    """Return the revision of the labeler's last answer to a task, 0 when there is none."""
    a = schema.answers
    return connection.scalar(select(func.max(a.c.revision)).where(a.c.task_id == task_id, a.c.labeler == labeler)) or 0


def _in_hand(connection: Connection, labeler: str, kinds: tuple[Kind, ...], purpose: str) -> str | None:
    """Lock and return the task that the labeler has not answered yet."""
    a, t = schema.assignments, schema.tasks
    query = select(t.c.id).join(a, a.c.task_id == t.c.id).where(a.c.labeler == labeler, a.c.state == "leased", t.c.kind.in_(kinds))
    query = query.where(t.c.purpose == purpose if purpose != "work" else t.c.purpose != "qualification").order_by(a.c.at, t.c.id).limit(1)
    id = connection.scalar(query)
    return id if id is None or lock_task(connection, id) else None


def _mix(connection: Connection, labeler: str, seed: int, gold_rate: float, repeat_rate: float) -> Literal["work", "gold", "repeat"]:
    """Draw the purpose of the labeler's next task, from the seed and the number of earlier ones."""
    if gold_rate <= 0 and repeat_rate <= 0:
        return "work"
    n = connection.scalar(select(func.count()).where(schema.assignments.c.labeler == labeler)) or 0
    drawn = random.Random(f"mix {seed} {labeler} {n}").random()
    return "gold" if drawn < gold_rate else "repeat" if drawn < gold_rate + repeat_rate else "work"


def _choose(connection: Connection, labeler: str, kinds: tuple[Kind, ...], purpose: str, mix: str) -> str | None:
    """Lock a task to give and return its id. Gold tasks and repeats come between work, never after its end."""
    work = _first(connection, labeler, kinds, purpose)
    if work is None or mix == "work":
        return work
    other = _first(connection, labeler, kinds, "gold") if mix == "gold" else _repeat(connection, labeler, kinds)
    return other or work


def _first(connection: Connection, labeler: str, kinds: tuple[Kind, ...], purpose: str) -> str | None:
    """Return the most urgent open task that the labeler has not seen: reserved ones first, then all others.

    Kinds are compared by the head of each one's queue. If others hold all remaining tasks at this moment, wait for them.
    """
    for owner in (labeler, ""):
        heads: dict[Kind, tuple[float, int]] = {}
        for kind in kinds:
            if head := _head(connection, labeler, owner, kind, purpose):
                heads[kind] = head
        for wait in (False, True):
            for kind in sorted(heads, key=heads.__getitem__):
                query = _candidates(labeler, owner, kind, purpose).with_for_update(key_share=True, skip_locked=not wait)
                if row := connection.execute(query).first():
                    return row.id
    return None


def _head(connection: Connection, labeler: str, owner: str, kind: Kind, purpose: str) -> tuple[float, int] | None:
    row = connection.execute(_candidates(labeler, owner, kind, purpose)).first()
    return (-row.priority, row.place) if row else None


def _candidates(labeler: str, owner: str, kind: Kind, purpose: str) -> Any:
    t = schema.tasks
    query = select(t.c.id, t.c.priority, t.c.place)
    query = query.where(t.c.reserved_for == owner, t.c.purpose == purpose, t.c.kind == kind, t.c.open, _unseen(labeler))
    return query.order_by(t.c.priority.desc(), t.c.place, t.c.id).limit(1)


def _unseen(labeler: str) -> ColumnElement[bool]:
    a, t = schema.assignments, schema.tasks
    return ~exists().where(a.c.task_id == t.c.id, a.c.labeler == labeler, a.c.state.not_in(FREE))


def _repeat(connection: Connection, labeler: str, kinds: tuple[Kind, ...]) -> str | None:
    """Create a task that repeats one answered at least ``REPEAT_AFTER`` answers ago; each is repeated once."""
    a, t = schema.answers, schema.tasks
    mine = select(a.c.task_id).join(t, t.c.id == a.c.task_id).where(a.c.labeler == labeler, a.c.revision == 1)
    mine = mine.where(t.c.purpose == "work", t.c.kind.in_(kinds), t.c.kind.not_in(WRITTEN)).order_by(a.c.at, a.c.id)
    number = (connection.scalar(select(func.count()).select_from(mine.subquery())) or 0) - REPEAT_AFTER
    shown = connection.scalar(select(func.count()).where(t.c.reserved_for == labeler, t.c.purpose == "repeat")) or 0
    original = connection.scalar(mine.offset(shown).limit(1)) if shown < number else None
    if original is None:
        return None
    task = load(connection, original)
    # A name at random: from one that follows from the original, its labeler could tell a check from new work.
    again = replace(task, id="t-" + secrets.token_hex(10), purpose="repeat", overlap=1, reserved_for=labeler, repeats=original)
    put(connection, [again], 0)
    return again.id


def _lease(connection: Connection, labeler: str, task: Task, now: datetime, seconds: float, seed: int) -> Leased:
    """Lease a task to a labeler; a task already leased keeps the order in which it was shown."""
    a, expires = schema.assignments, now.timestamp() + seconds
    mine = (a.c.task_id == task.id, a.c.labeler == labeler)
    row = connection.execute(select(a).where(*mine)).mappings().first()
    order = tuple(json.loads(row["shown"])) if row and row["state"] == "leased" else shown_order(seed, labeler, task)
    values = {"state": "leased", "expires": expires, "shown": json.dumps(order), "at": now.isoformat()}
    if row is None:
        connection.execute(insert(a).values(task_id=task.id, labeler=labeler, **values))
    else:
        # A task still in hand keeps the time at which it was given: tasks in hand are ordered by it.
        connection.execute(update(a).where(*mine).values(values | ({"at": row["at"]} if row["state"] == "leased" else {})))
    recount(connection, task.id)
    return Leased(task, order, datetime.fromtimestamp(expires, UTC), last_revision(connection, task.id, labeler))
