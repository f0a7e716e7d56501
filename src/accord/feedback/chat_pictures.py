"""Pictures that a user adds in the chat: they wait in the store for the user's next message, which takes them along.

A picture is on disk when ``add`` returns. It is gone when its user removes it, or with the message that took it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from accord.feedback import schema
from accord.feedback.inserts import add_media
from accord.feedback.media import remove_unused
from accord.feedback.privacy import clear_log
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Media, MediaFile

WAITING = "draft"
"""The kind of their rows in ``media_uses``, beside the user's id."""


def add(store: Store, user: str, files: Sequence[MediaFile], *, most: int, now: datetime) -> None:
    """Add pictures to a user's next message, all of them or none. One that waits there already is the same picture.

    Args:
        most: the largest number of pictures of a message.

    Raises:
        Refused: there would be too many (422).
    """
    u, a = schema.media_uses, schema.accounts
    with store.write() as connection:
        connection.execute(select(a.c.id).where(a.c.id == user).with_for_update())  # two uploads take turns
        there = {medium.digest for medium in _waiting(connection, user)}
        new = {file.digest: file for file in files if file.digest not in there}
        if len(there) + len(new) > most:
            raise Refused("too_many_pictures", detail=f"{len(there) + len(new)}, {most} at most")
        add_media(connection, new.values(), at=now.isoformat())
        for digest in new:
            connection.execute(insert(u).values(kind=WAITING, record_id=user, digest=digest))


def waiting(store: Store, user: str) -> list[Media]:
    """Return the pictures that wait for a user's next message."""
    with store.read() as connection:
        return _waiting(connection, user)


def remove(store: Store, user: str, digests: Iterable[str]) -> None:
    """Remove pictures that wait for a user's next message."""
    with store.write() as connection:
        _let_go(connection, user, list(digests))
    clear_log(store)


def take(connection: Connection, user: str, digests: Sequence[str]) -> list[Media]:
    """Return pictures that wait for a user's next message, in this order; they wait no longer, and the message notes that it holds them.

    Raises:
        Refused: one of them does not wait there (404), such as somebody else's.
    """
    there = {medium.digest: medium for medium in _waiting(connection, user)}
    if missing := [digest for digest in digests if digest not in there]:
        raise Refused("no_such_picture", 404, missing[0][:64])
    u = schema.media_uses
    connection.execute(delete(u).where(u.c.kind == WAITING, u.c.record_id == user, u.c.digest.in_(digests)))
    return [there[digest] for digest in dict.fromkeys(digests)]


def pixels(store: Store, digests: Iterable[str]) -> int:
    """Return how many pixels pictures have in all."""
    m = schema.media
    with store.read() as connection:
        sizes = connection.execute(select(m.c.digest, m.c.width, m.c.height).where(m.c.digest.in_(set(digests)))).all()
    return sum(size.width * size.height for size in sizes)


def _waiting(connection: Connection, user: str) -> list[Media]:
    u, m = schema.media_uses, schema.media
    query = select(m.c.kind, m.c.digest).join(u, u.c.digest == m.c.digest).where(u.c.kind == WAITING, u.c.record_id == user)
    rows = connection.execute(query.order_by(m.c.added, m.c.digest)).all()
    return [Media("image", row.digest) for row in rows if row.kind == "image"]


def _let_go(connection: Connection, user: str, digests: Sequence[str]) -> None:
    u = schema.media_uses
    connection.execute(delete(u).where(u.c.kind == WAITING, u.c.record_id == user, u.c.digest.in_(digests)))
    remove_unused(connection, digests)
