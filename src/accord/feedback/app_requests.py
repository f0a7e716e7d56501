"""Requests and answers of apps, stored as conversations: kept for feedback, for as many days as the app was told, and purged whole.

Each request is a conversation of its own, because an app sends the whole history every time. A response is found by the id that the app
got. Another app's is not distinguished from none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select, update

from accord.feedback import schema
from accord.feedback.apps import App, NotTaken, Request, enter, pseudonym, request_of
from accord.feedback.audit import note
from accord.feedback.chats import TITLE, Turn, turn_row
from accord.feedback.inserts import batches, insert_rows
from accord.feedback.privacy import erase_unused_prompts
from accord.feedback.queue import digest
from accord.feedback.reactions import found
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn, withdraw, withdraw_erased
from accord.records import Message, conversation_key
from accord.runtime.text_only import refuse_media

PURGE = "retention"
"""Who empties requests whose time is over."""
TRAFFIC = "api traffic"
"""Who accepts a prompt without a person's review; see ``app_prompts``."""
IN_ONE_GO = 100


@dataclass(frozen=True, slots=True)
class Said:
    """One answer to a request."""

    text: str
    model: str = ""
    digest: str = ""
    finish: str = "stop"


def keep(
    connection: Connection,
    app: App,
    user: str,
    response: str,
    asked: Sequence[Message],
    answers: Sequence[Said],
    *,
    kind: str,
    sampling: str = "{}",
    days: float = 0.0,
    now: datetime,
) -> list[Turn]:
    """Store a request with its answers inside a transaction; return the user's last turn and then the answers.

    Args:
        user: the app's name for its end user; empty if it names none.
        response: the id by which the app names the answers.
        asked: ends with a user's message.
        kind: ``answered`` or ``sent``.
        days: how long it is kept; 0 keeps it until it is erased.
    """
    refuse_media(asked, "the store of apps' requests")
    owner = enter(connection, app, user, now=now)
    conversation = "c-" + digest("app", app.name, response)
    lead = asked[0].content if asked[0].role == "system" else ""
    title = " ".join(next(message.content for message in asked if message.role == "user").split())[:TITLE]
    at = now.isoformat()
    row = {"id": conversation, "user": owner, "title": title, "system": lead, "at": at}
    connection.execute(insert(schema.conversations).values(row))
    expires = (now + timedelta(days=days)).timestamp() if days else 0.0
    values = {"conversation": conversation, "app": app.name, "response": response, "kind": kind, "terms": app.terms}
    connection.execute(insert(schema.app_requests).values(**values, fingerprint=conversation_key(asked), at=at, days=days, expires=expires))
    turns, parent = list[Turn](), ""
    for message in asked[1:] if lead else asked:
        id, place = f"m-{digest(conversation, str(len(turns)))}", len(turns) + 1
        turns.append(Turn(id, conversation, place, parent, message.role, message.content, at=at))
        parent = id
    last, how = turns[-1], json.loads(sampling)
    for number, said in enumerate(answers):
        id, place = f"a-{digest(conversation, 'answer', str(number))}", len(turns) + 1
        turns.append(Turn(id, conversation, place, last.id, "assistant", said.text, said.model, said.digest, how, said.finish, at=at))
    insert_rows(connection, schema.turns, [turn_row(turn) for turn in turns])
    return [last, *turns[len(turns) - len(answers) :]]


def answers_of(connection: Connection, app: App, response: str, user: str) -> tuple[Request, str, list[Turn]]:
    """Return an app's request by its response's id, the labeler whose it is, and the answers in order of their index.

    Args:
        user: who gives feedback; empty for whoever the request was for. A request that named nobody becomes theirs.

    Raises:
        NotTaken: the app has no such response for this user (404), or it was deleted or its time is over (410).
    """
    q, c, t = schema.app_requests, schema.conversations, schema.turns
    query = select(q.c.conversation, c.c.user).join(c, c.c.id == q.c.conversation).where(q.c.app == app.name, q.c.response == response)
    row = connection.execute(query).mappings().first() if response.isprintable() else None
    request = request_of(connection, row["conversation"]) if row else None
    nobody = pseudonym(connection, app.name, "")
    who = pseudonym(connection, app.name, user)
    if row is None or request is None or (user and row["user"] not in (who, nobody)):
        raise NotTaken("there is no such response", code="no_such_response", status=404, param="response_id")
    if connection.scalar(select(is_withdrawn("conversation", request.conversation))):
        what = "the response was deleted, or the time for which it is kept is over"
        raise NotTaken(what, code="response_deleted", status=410, param="response_id")
    last = select(func.max(t.c.place)).where(t.c.conversation == request.conversation, t.c.role != "assistant").scalar_subquery()
    answers = select(t).where(t.c.conversation == request.conversation, t.c.place > last).order_by(t.c.place)
    turns = [Turn(**(dict(row) | {"sampling": json.loads(row["sampling"])})) for row in connection.execute(answers).mappings()]
    return request, str(row["user"]), turns


def claim(connection: Connection, app: App, request: Request, owner: str, user: str, *, now: datetime) -> str:
    """Return the labeler of a request after its user was named: one that was nobody's becomes this user's, so that it goes with them."""
    if not user:
        return owner
    id = enter(connection, app, user, now=now)
    if owner != id:
        r, t, c = schema.reactions, schema.turns, schema.conversations
        connection.execute(update(c).where(c.c.id == request.conversation).values(user=id))
        of_it = select(t.c.id).where(t.c.conversation == request.conversation)
        connection.execute(update(r).where(r.c.turn.in_(of_it), r.c.user == owner).values(user=id))
    return id


def renew(connection: Connection, request: Request, *, now: datetime) -> None:
    """Start a request's days anew, so that a lead has time to review the feedback that came for it."""
    q = schema.app_requests
    mine = q.c.conversation == request.conversation
    row = connection.execute(select(q.c.days, q.c.expires).where(mine)).one()
    if row.days:
        later = max(row.expires, (now + timedelta(days=row.days)).timestamp())
        connection.execute(update(q).where(mine).values(expires=later))


def asked_before(connection: Connection, turn: str) -> list[tuple[str, str]]:
    """Return the messages before an answer as role and text, for the comparison of two requests."""
    t, c = schema.turns, schema.conversations
    row = (
        connection.execute(select(t.c.conversation, c.c.system).join(c, c.c.id == t.c.conversation).where(t.c.id == turn)).mappings().one()
    )
    last = select(func.max(t.c.place)).where(t.c.conversation == row["conversation"], t.c.role != "assistant").scalar_subquery()
    query = select(t.c.role, t.c.text).where(t.c.conversation == row["conversation"], t.c.place <= last).order_by(t.c.place)
    return [("system", row["system"]), *((role, text) for role, text in connection.execute(query))]


def purge(store: Store, *, now: datetime) -> dict[str, int]:
    """Empty the requests whose time is over, each whole or not at all; return the number of emptied rows of each kind.

    Records that a lead accepted stay, as do prompts of the traffic that something was made of. The rest goes, feedback that waits
    included.
    """
    q, emptied = schema.app_requests, {"conversations": 0, "turns": 0, "reactions": 0, "prompts": 0}
    query = select(q.c.conversation).where(q.c.expires > 0, q.c.expires <= now.timestamp(), ~is_withdrawn("conversation", q.c.conversation))
    while True:
        with store.write() as connection:
            due = list(connection.scalars(query.order_by(q.c.expires, q.c.conversation).limit(IN_ONE_GO)))
            if not due:
                break
            for kind, count in _empty(connection, due, now).items():
                emptied[kind] += count
            note(connection, who=PURGE, what="purge", on=f"{len(due)} requests of apps", why="their time is over", at=now)
    return emptied


def _empty(connection: Connection, conversations: Sequence[str], now: datetime) -> dict[str, int]:
    c, t, r, v = schema.conversations, schema.turns, schema.reactions, schema.reviews
    connection.execute(update(c).where(c.c.id.in_(conversations)).values(title="", system=""))
    turns = list(connection.scalars(select(t.c.id).where(t.c.conversation.in_(conversations))))
    said = list[str]()
    unused = 0
    for part in batches(turns):
        connection.execute(update(t).where(t.c.id.in_(part)).values(text=""))
        for reaction in found(connection, r.c.turn.in_(part)):
            said.append(reaction.id)
            if reaction.state != "accepted":
                withdraw(connection, "reaction", [(reaction.id, PURGE)], by=PURGE, now=now)
                continue
            records = select(v.c.records).where(v.c.reaction == reaction.id, v.c.verdict == "accepted", v.c.by == TRAFFIC)
            prompts = [id for text in connection.scalars(records) for kind, id in json.loads(text) if kind == "prompt"]
            unused += erase_unused_prompts(connection, prompts, by=PURGE, now=now)
    for part in batches(said):
        connection.execute(update(r).where(r.c.id.in_(part)).values(payload="{}"))
    q = schema.app_requests
    connection.execute(update(q).where(q.c.conversation.in_(conversations)).values(fingerprint=""))
    withdraw_erased(connection, "conversation", conversations, by=PURGE, now=now)
    return {"conversations": len(conversations), "turns": len(turns), "reactions": len(said), "prompts": unused}
