"""Conversations with a model, kept for the person who had them. A turn that was acknowledged is on disk.

The turns of a conversation are a tree: what was edited or asked again is a brother of what stood there before, and nothing is
overwritten. Every answer says which model gave it, by name and digest. Only erasure (``accord.feedback.privacy``) empties a text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select

from accord.feedback import schema
from accord.feedback.queue import digest
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import Message, Role, Sampling

TITLE = 80
"""Characters of what was asked first that name a conversation in its list."""
LONGEST_KEY = 80


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one person talked about with a model."""

    id: str
    user: str
    """The account's id."""
    title: str
    system: str
    """The system prompt; empty when there is none."""
    at: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that the person or a model said."""

    id: str
    conversation: str
    place: int
    """Counts the turns of a conversation in the order in which they were stored, from 1."""
    parent: str
    """The turn that it answers; empty for the first."""
    role: Role
    text: str
    model: str = ""
    digest: str = ""
    """Of the weights that said it."""
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    finish: str = ""
    """stop, length, stopped (by the person) or error; empty for what a person said."""
    pair: str = ""
    """What two answers that were shown side by side have in common."""
    trial: str = ""
    """The trial of two models that the pair belongs to."""
    at: str = ""

    @property
    def signature(self) -> str:
        """Which version of which model said it."""
        return f"{self.model}@{self.digest[:12]}" if self.digest else self.model


def begin(store: Store, user: str, text: str, *, system: str, key: str, now: datetime) -> Turn:
    """Starts a conversation with what a person says first; on disk when this returns. The same key is the same conversation.

    Raises:
        Refused: the key is none (422).
    """
    id = digest("conversation", user, _key(key))
    with store.write() as connection:
        if connection.scalar(select(schema.conversations.c.id).where(schema.conversations.c.id == id)) is None:
            title = " ".join(text.split())[:TITLE]
            values = {"id": id, "user": user, "title": title, "system": system, "at": now.isoformat()}
            connection.execute(insert(schema.conversations).values(values))
        return _said(connection, user, id, text, "", key, now)


def say(store: Store, user: str, conversation: str, text: str, *, parent: str, key: str, now: datetime) -> Turn:
    """Adds what a person says; on disk when this returns. The same key is the same turn.

    Args:
        parent: the answer that it follows; for an edited turn the one before that turn, empty for the first.

    Raises:
        Refused: the conversation is not this person's, or the parent is no answer in it (404), or the key is none (422).
    """
    with store.write() as connection:
        _owned(connection, user, conversation)
        if parent:
            before = _one(connection, user, parent)
            if before.conversation != conversation or before.role != "assistant":
                raise Refused("no_such_turn", 404, parent)
        return _said(connection, user, conversation, text, _none_or(parent), key, now)


def answer(
    store: Store,
    asked: Turn,
    text: str,
    *,
    model: str,
    digest: str,
    sampling: Sampling,
    seed: int,
    finish: str,
    id: str,
    pair: str = "",
    trial: str = "",
    now: datetime,
) -> Turn:
    """Adds what a model said to a person's turn; on disk when this returns.

    Raises:
        Refused: the conversation was deleted in the meantime (404).
    """
    with store.write() as connection:
        if connection.scalar(select(is_withdrawn("conversation", asked.conversation))):
            raise Refused("no_such_turn", 404, asked.conversation)
        turn = Turn(
            id,
            asked.conversation,
            _next_place(connection, asked.conversation),
            asked.id,
            "assistant",
            text,
            model,
            digest,
            dataclasses.asdict(sampling) | {"seed": seed},
            finish,
            pair,
            trial,
            now.isoformat(),
        )
        connection.execute(insert(schema.turns).values(_row(turn)))
        return turn


def listed(store: Store, user: str, *, limit: int = 200) -> list[Conversation]:
    """A person's conversations, newest first."""
    c = schema.conversations
    query = select(c).where(c.c.user == user, ~is_withdrawn("conversation", c.c.id)).order_by(c.c.at.desc(), c.c.id).limit(limit)
    with store.read() as connection:
        return [Conversation(**row) for row in connection.execute(query).mappings()]


def opened(store: Store, user: str, id: str) -> tuple[Conversation, list[Turn]]:
    """A person's conversation with all its turns in the order in which they were stored.

    Raises:
        Refused: there is none of this person's (404); another's looks the same.
    """
    with store.read() as connection:
        found = _owned(connection, user, id)
        query = select(schema.turns).where(schema.turns.c.conversation == id).order_by(schema.turns.c.place)
        return found, [_turn(row) for row in connection.execute(query).mappings()]


def one(store: Store, user: str, id: str) -> Turn:
    """A turn in a conversation of this person's. Raises Refused (404) when there is none."""
    with store.read() as connection:
        return _one(connection, user, id)


def told(connection: Connection, turn: str) -> tuple[Conversation, list[Turn]]:
    """Whoever's conversation a turn stands in, with the turns from the first to this one: for a review."""
    t, c = schema.turns, schema.conversations
    id = connection.scalar(select(t.c.conversation).where(t.c.id == turn))
    found = Conversation(**connection.execute(select(c).where(c.c.id == id)).mappings().one())
    turns = [_turn(row) for row in connection.execute(select(t).where(t.c.conversation == id)).mappings()]
    return found, path(turns, turn)


def recent(store: Store, user: str, *, now: datetime, window: timedelta) -> int:
    """How many turns a person has said within the last while."""
    t, c = schema.turns, schema.conversations
    query = select(func.count()).select_from(t.join(c, c.c.id == t.c.conversation))
    query = query.where(c.c.user == user, t.c.role == "user", t.c.at > (now - window).isoformat())
    with store.read() as connection:
        return connection.scalar(query) or 0


def path(turns: Sequence[Turn], id: str) -> list[Turn]:
    """The turns from the first to this one."""
    known, found = {turn.id: turn for turn in turns}, list[Turn]()
    while id:
        found.append(known[id])
        id = known[id].parent
    return found[::-1]


def newest_below(turns: Sequence[Turn], id: str) -> Turn:
    """The end of the branch that goes on from a turn, newest child first; of the whole conversation for an empty id."""
    below = {id}
    last = next((turn for turn in turns if turn.id == id), turns[-1])
    for turn in turns:  # in the order of their places, so that parents come first
        if not id or turn.parent in below:
            below.add(turn.id)
            last = turn
    return last


def messages(conversation: Conversation, said: Sequence[Turn]) -> tuple[Message, ...]:
    """What a model is given to answer."""
    system = (Message("system", conversation.system),) if conversation.system else ()
    return (*system, *(Message(turn.role, turn.text) for turn in said))


def _said(connection: Connection, user: str, conversation: str, text: str, parent: str, key: str, now: datetime) -> Turn:
    id = digest("turn", user, _key(key))
    there = connection.execute(select(schema.turns).where(schema.turns.c.id == id)).mappings().first()
    if there is not None:
        return _turn(there)
    turn = Turn(id, conversation, _next_place(connection, conversation), parent, "user", text, at=now.isoformat())
    connection.execute(insert(schema.turns).values(_row(turn)))
    return turn


def _owned(connection: Connection, user: str, id: str) -> Conversation:
    c = schema.conversations
    query = select(c).where(c.c.id == _none_or(id), c.c.user == user, ~is_withdrawn("conversation", c.c.id))
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Refused("no_such_turn", 404, id)
    return Conversation(**row)


def _one(connection: Connection, user: str, id: str) -> Turn:
    t, c = schema.turns, schema.conversations
    query = select(t).join(c, c.c.id == t.c.conversation)
    query = query.where(t.c.id == _none_or(id), c.c.user == user, ~is_withdrawn("conversation", c.c.id))
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Refused("no_such_turn", 404, id)
    return _turn(row)


def _next_place(connection: Connection, conversation: str) -> int:
    t, c = schema.turns, schema.conversations
    connection.execute(select(c.c.id).where(c.c.id == conversation).with_for_update())  # one writer after the other
    return (connection.scalar(select(func.max(t.c.place)).where(t.c.conversation == conversation)) or 0) + 1


def _key(key: str) -> str:
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise Refused("malformed", detail="key")
    return key


def _none_or(id: str) -> str:
    """An id as it was given, or one that nothing has: what a browser sends may hold what a database does not take."""
    return id if id.isprintable() and id.isascii() else "-"


def _row(turn: Turn) -> dict[str, Any]:
    return dataclasses.asdict(turn) | {"sampling": json.dumps(turn.sampling)}


def _turn(row: Mapping[Any, Any]) -> Turn:
    return Turn(**(dict(row) | {"sampling": json.loads(row["sampling"])}))
