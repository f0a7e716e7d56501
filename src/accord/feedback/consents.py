"""Consent of chat users to learning from their reactions. No answer means no consent; each answer is a row."""

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
"""The text that users agree to. It is translated where it is shown; a changed text is another version."""
VERSION = hashlib.sha256(TEXT.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Consent:
    """A user's last answer."""

    given: bool
    version: str
    at: str


def answer(store: Store, user: str, given: bool, *, now: datetime) -> None:
    """Store a user's answer, with an audit row. ``review.lapse`` carries out the consequences of a refusal."""
    with store.write() as connection:
        write(connection, user, given, now=now)


def write(connection: Connection, user: str, given: bool, *, version: str = VERSION, now: datetime) -> None:
    """Store an answer inside a transaction.

    Args:
        version: names the text that the user answered; an app has one of its own.
    """
    connection.execute(insert(schema.consents).values(user=user, given=given, version=version, at=now.isoformat()))
    note(connection, who=user, what="consent" if given else "refuse consent", on=user, why=version, at=now)


def current(store: Store, user: str) -> Consent | None:
    """Return a user's last answer; None if they were never asked or have not answered."""
    with store.read() as connection:
        return of(connection, user)


def of(connection: Connection, user: str) -> Consent | None:
    """Return the same as ``current``, inside a transaction."""
    c = schema.consents
    row = connection.execute(select(c).where(c.c.user == user).order_by(c.c.number.desc()).limit(1)).mappings().first()
    return Consent(row["given"], row["version"], row["at"]) if row else None
