"""Whether what a person says of answers may be learned from. Without a word there is no consent; each word is a row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from accord.feedback import schema
from accord.feedback.audit import note
from accord.feedback.store import Store

TEXT = (
    "What I say about answers, together with the conversation before them, may be used to train the next models, once a person has "
    "looked at it and personal data has been taken out. I can take this back at any time; then it is used no more."
)
"""What is agreed to. It is translated where it is shown; a changed word is another version."""
VERSION = hashlib.sha256(TEXT.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Consent:
    """A person's last word."""

    given: bool
    version: str
    at: str


def answer(store: Store, user: str, given: bool, *, now: datetime) -> None:
    """Keeps a person's word, with an audit row. What follows from a no is done by ``reviewing.lapse``."""
    with store.write() as connection:
        connection.execute(insert(schema.consents).values(user=user, given=given, version=VERSION, at=now.isoformat()))
        note(connection, who=user, what="consent" if given else "refuse consent", on=user, why=VERSION, at=now)


def current(store: Store, user: str) -> Consent | None:
    """A person's last word; None when they were never asked or have not answered."""
    with store.read() as connection:
        return of(connection, user)


def of(connection: Connection, user: str) -> Consent | None:
    """As ``current``, inside a transaction."""
    c = schema.consents
    row = connection.execute(select(c).where(c.c.user == user).order_by(c.c.number.desc()).limit(1)).mappings().first()
    return Consent(row["given"], row["version"], row["at"]) if row else None
