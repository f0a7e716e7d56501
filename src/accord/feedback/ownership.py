"""Rights of chat users over their data: see all of it, export it, delete it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from accord.feedback import chats, consents, documents, reactions, schema, tastes
from accord.feedback.media import media_file
from accord.feedback.privacy import erase_conversations
from accord.feedback.store import Store
from accord.runtime.media_files import data_url


def exported(store: Store, user: str) -> dict[str, Any]:
    """Return all of a user's data as JSON values: account, consents, conversations with their turns and documents, reactions."""
    c = schema.consents
    with store.read() as connection:
        query = select(c.c.given, c.c.version, c.c.at).where(c.c.user == user).order_by(c.c.number)
        given = [dict(row) for row in connection.execute(query).mappings()]
    conversations = list[dict[str, Any]]()
    for listed in chats.listed(store, user, limit=1_000_000):
        conversation, turns = chats.opened(store, user, listed.id)
        conversations.append(whole(store, conversation, turns))
    return {
        "user": user,
        "consents": given,
        "consent_text": consents.TEXT,
        "conversations": conversations,
        "taste": dataclasses.asdict(tastes.of(store, user)),
        "reactions": [dataclasses.asdict(reaction) for reaction in reactions.own(store, user)],
    }


def whole(store: Store, conversation: chats.Conversation, turns: Sequence[chats.Turn]) -> dict[str, Any]:
    """Return a conversation as its author takes it along, as JSON values: with every turn and the text of every document."""
    added = [dataclasses.asdict(document) for document in documents.texts(store, conversation.user, conversation.id)]
    said = [_with_pictures(store, dataclasses.asdict(taken_along(store, turn))) for turn in turns]
    return dataclasses.asdict(conversation) | {"turns": said, "documents": added}


def _with_pictures(store: Store, turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn with the pictures and recordings that it names, as data URLs."""
    return turn | {"media": [each | {"data": data_url(media_file(store, each["digest"]))} for each in turn["media"]]}


def taken_along(store: Store, turn: chats.Turn) -> chats.Turn:
    """Return a turn as its author takes it along: a pair names its models once it has its vote."""
    unnamed = bool(turn.pair) and not reactions.has_voted(store, turn)
    return dataclasses.replace(turn, model="", digest="") if unnamed else turn


def delete(store: Store, user: str, *, conversations: Sequence[str] = (), now: datetime) -> dict[str, int]:
    """Empty a user's conversations, all if none is named, and everything made from them; the audit log records the deletion.

    Raises:
        Refused: one is not this user's (404).
    """
    if not conversations:
        tastes.forget(store, user)
    return erase_conversations(store, user, ids=conversations, by=user, why="deleted by the user", now=now)
