"""Apps that use the API with a key, and their end users, whom the database knows by pseudonyms alone.

An app is the name of a key: a new key of the same name is the same app. An end user is a labeler of kind "user", as a user of the chat is,
so that consent, review, training and erasure treat both alike. A pseudonym follows from a secret of the database, the app and the name that
the app has for the user; the name itself is not stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from accord.errors import StoreError
from accord.feedback import consents, schema
from accord.feedback.inserts import insert_new

SECRET = "pseudonyms"
"""The key of the secret in the table meta."""
GROUP = "users"


class NotTaken(StoreError):
    """An app's request that is understood and not carried out; nothing of it was stored.

    Args:
        code: names the reason for programs.
        status: the HTTP status that fits.
        param: the field at fault.
    """

    def __init__(self, what: str, *, code: str, status: int, param: str = "") -> None:
        super().__init__(what)
        self.code, self.status, self.param = code, status, param


@dataclass(frozen=True, slots=True)
class App:
    """A program with a key."""

    name: str
    terms: str = ""
    """The text by which its users agreed that their feedback and prompts are learned from; empty when the app asks each of them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an app asked or sent, beside the conversation that holds it."""

    conversation: str
    app: str
    response: str
    """The id by which the app names it, e.g. ``chatcmpl-...``."""
    kind: str
    """``answered`` by a model here, or ``sent`` by the app."""
    terms: str
    at: str


def pseudonym(connection: Connection, app: str, user: str) -> str:
    """Return the labeler id of an app's end user; the empty user stands for everybody whom the app does not name."""
    m = schema.meta
    secret = connection.scalar(select(m.c.value).where(m.c.key == SECRET))
    if secret is None:
        insert_new(connection, m, {"key": SECRET, "value": secrets.token_hex(32)})
        secret = connection.execute(select(m.c.value).where(m.c.key == SECRET)).scalar_one()
    name = f"{len(app)}:{app}{user}".encode("utf-8", "surrogatepass")
    return "u-" + hmac.new(bytes.fromhex(secret), name, hashlib.sha256).hexdigest()[:20]


def enter(connection: Connection, app: App, user: str, *, now: datetime) -> str:
    """Return the labeler id of an app's end user, who is added on the first visit and agrees by the app's terms, if it has some."""
    id = pseudonym(connection, app.name, user)
    add_once(connection, id)
    if app.terms and consents.of(connection, id) is None:
        consents.write(connection, id, True, version=version_of(app.terms), now=now)
    return id


def add_once(connection: Connection, id: str) -> None:
    """Add an end user, unless they are there."""
    people = schema.labelers
    if connection.scalar(select(people.c.id).where(people.c.id == id)) is None:
        insert_new(connection, people, {"id": id, "kind": "user", "group": GROUP})


def version_of(terms: str) -> str:
    """Return the version of a text that users agreed to; without terms the app says of each user that they agreed."""
    return "terms-" + hashlib.sha256(terms.encode("utf-8", "surrogatepass")).hexdigest()[:12] if terms else "said-by-the-app"


def request_of(connection: Connection, conversation: str) -> Request | None:
    """Return the app's request that a conversation holds; None for a conversation of the chat."""
    q = schema.app_requests
    row = connection.execute(select(q).where(q.c.conversation == conversation)).mappings().first()
    return Request(row["conversation"], row["app"], row["response"], row["kind"], row["terms"], row["at"]) if row else None
