"""Documents that a user adds to a conversation: their texts, which the conversation's answers then quote. The files are not kept.

A document is on disk when ``add`` returns, and gone when it is removed, with its conversation, or with its user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from accord.feedback import chats, schema
from accord.feedback.audit import note
from accord.feedback.privacy import clear_log
from accord.feedback.queue import digest
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn

MOST_CHARACTERS = 400_000
"""Characters of all documents of a conversation."""
MOST_OF_USER = 200
"""Documents of all conversations of a user."""


@dataclass(frozen=True, slots=True)
class Read:
    """A document's text as it was read from a file."""

    name: str
    text: str
    pages: int
    """0 for a file without pages."""
    blank: int
    """Pages without text: pictures, or nothing."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A stored document without its text."""

    id: str
    conversation: str
    name: str
    pages: int
    blank: int
    characters: int
    at: str


@dataclass(frozen=True, slots=True)
class Document(Listed):
    """A stored document."""

    text: str


def add(
    store: Store, user: str, conversation: str, read: Sequence[Read], *, most: int, now: datetime, system: str = "", key: str = ""
) -> str:
    """Add documents to a user's conversation, all of them or none, and return its id. The same text in it again is the same document.

    Args:
        conversation: empty for a new one, which is named after its first document.
        most: the largest number of documents of a conversation.
        system: the system prompt of a new conversation.
        key: of a new conversation; the same key is the same conversation.

    Raises:
        Refused: the user has no such conversation (404); there would be too many documents, or too much text (422).
    """
    d = schema.documents
    with store.write() as connection:
        conversation = conversation or chats.begun(connection, user, read[0].name, system, key, now)
        chats.owned(connection, user, conversation)
        c = schema.conversations
        connection.execute(select(c.c.id).where(c.c.id == conversation).with_for_update())  # two uploads take turns
        chats.owned(connection, user, conversation)  # an erasure that it waited for has ended: nothing is added behind it
        there = _listed(connection, user, conversation)
        known, made = {document.id for document in there}, dict[str, Document]()
        for one in read:
            id = digest("document", conversation, one.name, one.text)
            if id not in known:
                made[id] = Document(id, conversation, one.name, one.pages, one.blank, len(one.text), now.isoformat(), one.text)
        if len(there) + len(made) > most:
            raise Refused("too_many_documents", detail=f"{len(there) + len(made)}, {most} at most")
        if sum(one.characters for one in (*there, *made.values())) > MOST_CHARACTERS:
            raise Refused("too_much_text")
        if len(_listed(connection, user)) + len(made) > MOST_OF_USER:
            raise Refused("documents_full")
        place = connection.scalar(select(func.max(d.c.place)).where(d.c.conversation == conversation)) or 0
        for number, document in enumerate(made.values(), place + 1):
            connection.execute(insert(d).values(asdict(document) | {"place": number}))
        return conversation


def listed(store: Store, user: str, conversation: str = "") -> list[Listed]:
    """Return the documents of a user's conversation in the order in which they were added; of all of them when none is named."""
    with store.read() as connection:
        return _listed(connection, user, conversation)


def texts(store: Store, user: str, conversation: str) -> list[Document]:
    """Return the documents of a user's conversation with their texts."""
    d = schema.documents
    with store.read() as connection:
        chats.owned(connection, user, conversation)
        rows = connection.execute(select(d).where(d.c.conversation == conversation).order_by(d.c.place)).mappings()
        return [Document(**{key: value for key, value in row.items() if key != "place"}) for row in rows]


def remove(store: Store, user: str, conversation: str, id: str, *, now: datetime) -> None:
    """Remove a document of a user's conversation; the audit log records it. Raises Refused (404) when there is none of this id."""
    d = schema.documents
    with store.write() as connection:
        chats.owned(connection, user, conversation)
        theirs = d.c.id == (id if id.isprintable() and id.isascii() else "-")
        if not connection.execute(delete(d).where(theirs, d.c.conversation == conversation)).rowcount:
            raise Refused("no_such_document", 404, id)
        note(connection, who=user, what="erase", on=f"a document of {user}", why="removed by the user", at=now)
    clear_log(store)


def _listed(connection: Connection, user: str, conversation: str = "") -> list[Listed]:
    d, c = schema.documents, schema.conversations
    columns = (d.c.id, d.c.conversation, d.c.name, d.c.pages, d.c.blank, d.c.characters, d.c.at)
    query = select(*columns).join(c, c.c.id == d.c.conversation).where(c.c.user == user, ~is_withdrawn("conversation", c.c.id))
    if conversation:
        query = query.where(c.c.id == conversation)
    return [Listed(**row) for row in connection.execute(query.order_by(c.c.at.desc(), c.c.id, d.c.place)).mappings()]
