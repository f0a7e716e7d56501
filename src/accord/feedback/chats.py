"""Conversations with a model, stored for the user who had them. An acknowledged turn is on disk.

The turns of a conversation form a tree: an edited message or a regenerated response is a sibling of the earlier one, and nothing is
overwritten. Every response records the name and digest of its model. Only erasure (``accord.feedback.privacy``) empties a text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from accord.feedback import chat_pictures, schema
from accord.feedback.inserts import add_media, note_uses
from accord.feedback.queue import digest
from accord.feedback.refusals import Refused
from accord.feedback.rows import media as media_of
from accord.feedback.rows import of_media
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import MEDIUM, Media, MediaFile, Message, Role, Sampling, composed, pieces

ARENA = "arena"
"""The trial of pairs that were drawn in the arena."""
QUOTED = "quoted"
"""The finish of a response that quotes the conversation's documents. Models do not learn from it: they did not write it, and a prompt
has no documents."""
TITLE = 80
"""Characters of the first message that name a conversation in the list."""
LONGEST_TITLE = 120
LONGEST_KEY = 80
LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True)
class Conversation:
    """A user's conversation with a model."""

    id: str
    user: str
    """The account's id."""
    title: str
    system: str
    """The system prompt; empty when there is none."""
    at: str
    pinned: bool = False
    """Whether its user keeps it on top of the list."""
    model: str = ""
    """The model that its user chose to answer in it; empty when the site chooses."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the user or the model."""

    id: str
    conversation: str
    place: int
    """Number of the turn in its conversation, in order of storage from 1."""
    parent: str
    """The turn that it answers; empty for the first."""
    role: Role
    text: str
    model: str = ""
    digest: str = ""
    """Digest of the weights that produced it."""
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    finish: str = ""
    """One of stop, length, stopped (by the user), quoted (from documents), withheld and error; empty for a user's message."""
    pair: str = ""
    """An id shared by two responses shown side by side."""
    trial: str = ""
    """The trial of two models that the pair belongs to."""
    at: str = ""
    media: tuple[Media, ...] = ()
    """Pictures and recordings of a user's message, at the places in its text that ``Message`` describes."""

    @property
    def signature(self) -> str:
        """Return the model and version that produced the turn."""
        return f"{self.model}@{self.digest[:12]}" if self.digest else self.model


def begin(
    store: Store,
    user: str,
    text: str,
    *,
    system: str,
    key: str,
    now: datetime,
    media: Sequence[Media] = (),
    files: Sequence[MediaFile] = (),
    added: Sequence[str] = (),
) -> Turn:
    """Start a conversation with a user's first message; it is on disk when this returns. The same key is the same conversation.

    Args:
        media: pictures and recordings at the places in the text, as in a ``Message``.
        files: those of them that may be new to the store.
        added: digests of pictures that the user added to this message (``chat_pictures``); they go before its text.

    Raises:
        Refused: the key is invalid (422), or a picture was not added (404).
    """
    with store.write() as connection:
        id = begun(connection, user, text.replace(MEDIUM, "") if media else text, system, key, now)
        return _said(connection, user, id, text, "", key, now, media, files, added)


def say(
    store: Store,
    user: str,
    conversation: str,
    text: str,
    *,
    parent: str,
    key: str,
    now: datetime,
    media: Sequence[Media] = (),
    files: Sequence[MediaFile] = (),
    added: Sequence[str] = (),
) -> Turn:
    """Add a user's message; it is on disk when this returns. The same key is the same turn.

    Args:
        media: pictures and recordings at the places in the text, as in a ``Message``.
        files: those of them that may be new to the store.
        added: digests of pictures that the user added to this message (``chat_pictures``); they go before its text.
        parent: the response that it follows; for an edited message the response before the original, empty for the first.

    Raises:
        Refused: the conversation is not this user's, the parent is not a response in it, a picture was not added (404), or the key is
            invalid (422).
    """
    with store.write() as connection:
        owned(connection, user, conversation)
        if parent:
            before = _one(connection, user, parent)
            if before.conversation != conversation or before.role != "assistant":
                raise Refused("no_such_turn", 404, parent)
        return _said(connection, user, conversation, text, _none_or(parent), key, now, media, files, added)


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
    """Add a model's response to a user's message; it is on disk when this returns.

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
        connection.execute(insert(schema.turns).values(turn_row(turn)))
        return turn


def listed(store: Store, user: str, *, limit: int = 200) -> list[Conversation]:
    """Return a user's conversations, newest first."""
    c = schema.conversations
    query = select(c).where(c.c.user == user, ~is_withdrawn("conversation", c.c.id)).order_by(c.c.at.desc(), c.c.id).limit(limit)
    with store.read() as connection:
        return [Conversation(**row) for row in connection.execute(query).mappings()]


def searched(store: Store, user: str, wanted: str = "", *, limit: int, offset: int = 0) -> list[Conversation]:
    """Return a part of a user's conversations, pinned ones first, then the newest.

    Args:
        wanted: words that stand together in the title or in a turn, in whatever case; empty for all conversations.
    """
    c, t = schema.conversations, schema.turns
    query = select(c).where(c.c.user == user, ~is_withdrawn("conversation", c.c.id))
    if words := "".join(character for character in wanted if character.isprintable())[:LONGEST_SEARCH].strip().lower():
        said = select(t.c.id).where(t.c.conversation == c.c.id, func.lower(t.c.text).contains(words, autoescape=True)).exists()
        query = query.where(func.lower(c.c.title).contains(words, autoescape=True) | said)
    query = query.order_by(c.c.pinned.desc(), c.c.at.desc(), c.c.id).limit(limit).offset(offset)
    with store.read() as connection:
        return [Conversation(**row) for row in connection.execute(query).mappings()]


def change(store: Store, user: str, id: str, *, title: str | None = None, pinned: bool | None = None, model: str | None = None) -> None:
    """Change what a user chose for a conversation; None leaves a choice as it is.

    Raises:
        Refused: the user has no such conversation (404).
    """
    given = {"title": title, "pinned": pinned, "model": model}
    values = {name: value for name, value in given.items() if value is not None}
    with store.write() as connection:
        owned(connection, user, id)
        if values:
            connection.execute(update(schema.conversations).where(schema.conversations.c.id == id).values(values))


def opened(store: Store, user: str, id: str) -> tuple[Conversation, list[Turn]]:
    """Return a user's conversation with all its turns in order of storage.

    Raises:
        Refused: the user has no such conversation (404); another user's is not distinguished from none.
    """
    with store.read() as connection:
        found = owned(connection, user, id)
        query = select(schema.turns).where(schema.turns.c.conversation == id).order_by(schema.turns.c.place)
        return found, [_turn(row) for row in connection.execute(query).mappings()]


def one(store: Store, user: str, id: str) -> Turn:
    """Return a turn in one of this user's conversations. Raises Refused (404) when there is none."""
    with store.read() as connection:
        return _one(connection, user, id)


def out_of_documents(turn: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether a response quotes documents, or comes after one that does: what is before a response would be its prompt."""
    one, before = schema.turns.alias(), schema.turns.alias()
    query = select(one.c.id).join(before, before.c.conversation == one.c.conversation)
    return query.where(one.c.id == turn, before.c.finish == QUOTED, before.c.place <= one.c.place).exists()


def kept_alone(store: Store, user: str) -> set[str]:
    """Return the turns of a user that models never learn from, because documents are quoted in them or before them."""
    t, c = schema.turns, schema.conversations
    with store.read() as connection:
        return set(connection.scalars(select(t.c.id).join(c, c.c.id == t.c.conversation).where(c.c.user == user, out_of_documents(t.c.id))))


def told(connection: Connection, turn: str) -> tuple[Conversation, list[Turn]]:
    """Return a turn's conversation, whoever's it is, with the turns from the first to this one, for review."""
    t, c = schema.turns, schema.conversations
    id = connection.scalar(select(t.c.conversation).where(t.c.id == turn))
    found = Conversation(**connection.execute(select(c).where(c.c.id == id)).mappings().one())
    turns = [_turn(row) for row in connection.execute(select(t).where(t.c.conversation == id)).mappings()]
    return found, path(turns, turn)


def begun(connection: Connection, user: str, title: str, system: str, key: str, now: datetime) -> str:
    """Start a conversation inside a transaction, and return its id. The same key is the same conversation."""
    id = digest("conversation", user, _key(key))
    if connection.scalar(select(schema.conversations.c.id).where(schema.conversations.c.id == id)) is None:
        values = {"id": id, "user": user, "title": " ".join(title.split())[:TITLE], "system": system, "at": now.isoformat()}
        connection.execute(insert(schema.conversations).values(values))
    return id


def owned(connection: Connection, user: str, id: str) -> Conversation:
    """Return a user's conversation inside a transaction. Raises Refused (404) when the user has none of this id."""
    c = schema.conversations
    query = select(c).where(c.c.id == _none_or(id), c.c.user == user, ~is_withdrawn("conversation", c.c.id))
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Refused("no_such_turn", 404, id)
    return Conversation(**row)


def has_answers(store: Store, user: str) -> bool:
    """Return whether a user was ever given an answer, in whatever conversation."""
    t, c = schema.turns, schema.conversations
    query = select(t.c.id).join(c, c.c.id == t.c.conversation).where(c.c.user == user, t.c.role == "assistant").limit(1)
    with store.read() as connection:
        return connection.scalar(query) is not None


def path(turns: Sequence[Turn], id: str) -> list[Turn]:
    """Return the turns from the first to this one."""
    known, found = {turn.id: turn for turn in turns}, list[Turn]()
    while id:
        found.append(known[id])
        id = known[id].parent
    return found[::-1]


def newest_below(turns: Sequence[Turn], id: str) -> Turn:
    """Return the end of the branch that continues from a turn, newest child first; for an empty id, of the whole conversation."""
    below = {id}
    last = next((turn for turn in turns if turn.id == id), turns[-1])
    for turn in turns:  # in the order of their places, so that parents come first
        if not id or turn.parent in below:
            below.add(turn.id)
            last = turn
    return last


def messages(conversation: Conversation, said: Sequence[Turn]) -> tuple[Message, ...]:
    """Return the messages that a model receives."""
    system = (Message("system", conversation.system),) if conversation.system else ()
    return (*system, *(Message(turn.role, turn.text, media=turn.media) for turn in said))


def _said(
    connection: Connection,
    user: str,
    conversation: str,
    text: str,
    parent: str,
    key: str,
    now: datetime,
    media: Sequence[Media] = (),
    files: Sequence[MediaFile] = (),
    added: Sequence[str] = (),
) -> Turn:
    id = digest("turn", user, _key(key))
    there = connection.execute(select(schema.turns).where(schema.turns.c.id == id)).mappings().first()
    if there is not None:
        return _turn(there)
    message = Message("user", text, media=tuple(media))
    if added:
        message = composed("user", [*chat_pictures.take(connection, user, added), *pieces(message)])
    text, given = message.content, message.media
    turn = Turn(id, conversation, _next_place(connection, conversation), parent, "user", text, at=now.isoformat(), media=given)
    connection.execute(insert(schema.turns).values(turn_row(turn)))
    add_media(connection, files, at=turn.at)
    note_uses(connection, "turn", {id: [each.digest for each in given]})
    return turn


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
    """Return an id as given, or one that never exists if the database could not hold it, since browsers may send anything."""
    return id if id.isprintable() and id.isascii() else "-"


def turn_row(turn: Turn) -> dict[str, Any]:
    """Return a turn as a row of its table."""
    media = json.dumps(of_media(turn.media), ensure_ascii=False) if turn.media else ""
    return dataclasses.asdict(turn) | {"sampling": json.dumps(turn.sampling), "media": media}


def _turn(row: Mapping[Any, Any]) -> Turn:
    fields: dict[str, Any] = dict(row)
    fields["sampling"] = json.loads(row["sampling"])
    fields["media"] = media_of(json.loads(row["media"])) if row["media"] else ()
    return Turn(**fields)
