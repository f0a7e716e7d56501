"""Accounts of the site: who may use it, and in which role. Access is by invitation. Only the SHA-256 of each secret is stored.

A lead sees everything and manages people, a labeler answers, a viewer sees the metrics, a user talks in the chat. An account's id is
also the labeler's id in the records. It is drawn at random, so that the name can be erased without changing the records.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.audit import note
from accord.feedback.inserts import by_id
from accord.feedback.refusals import Refused
from accord.feedback.store import Store

Role = Literal["lead", "labeler", "viewer", "user"]
SESSION_DAYS = 14
ATTEMPTS = 10
"""Sign-in attempts that one address may make within ``WINDOW``."""
WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Account:
    """A person with access to the site, as far as the site may know them."""

    id: str
    role: Role
    name: str
    group: str
    paused: bool
    revoked: bool
    qualified: bool
    """Whether the person passed the screening, or was invited without one."""
    excluded: bool
    """Whether models do not learn from this labeler's answers."""
    profile: Mapping[str, Any]
    """The person's own choices and statements, for example language and self-reported groups."""
    created: str


def invite(
    store: Store,
    role: Role,
    name: str,
    *,
    by: str,
    now: datetime,
    days: float = 7,
    group: str = "",
    labeler: str = "",
    screened: bool = False,
) -> str:
    """Create an account and return the one-time token of its invitation; the token itself is not stored.

    Args:
        name: the lead's name for the person; erased with their other personal data.
        by: account of the inviting lead, or ``operator`` for the command line.
        days: number of days that the invitation is valid.
        group: of labelers, for agreement and held-out groups.
        labeler: an id that is already in the store, for example of a simulated labeler, or of an account to invite again.
        screened: whether a labeler must do the qualification tasks first.

    Raises:
        Refused: the role does not exist, or ``labeler`` is not in the store.
    """
    if role not in get_args(Role):
        raise Refused("role", detail=role)
    token = secrets.token_urlsafe(24)
    with store.write() as connection:
        if not labeler:
            id = create(connection, role, name, group=group, now=now, screened=screened)
        elif not list(by_id(connection, schema.labelers, {labeler})):
            raise Refused("unknown_labeler", 403, labeler)
        else:
            id = labeler
        if not list(by_id(connection, schema.accounts, {id})):
            connection.execute(insert(schema.accounts).values(_new(id, role, name, now, screened)))
        expires = (now + timedelta(days=days)).timestamp()
        made = {"token": hashed(token), "account": id, "expires": expires, "by": by, "redeemed": ""}
        connection.execute(insert(schema.invitations).values(made))
        note(connection, who=by, what="invite", on=id, why=role, at=now)
    return token


@dataclass(frozen=True, slots=True)
class Ways:
    """How a person can come in: the latest end of the links that are not used yet, and the browsers that are signed in."""

    link_until: float = 0.0
    """Seconds since 1970; 0 when no link waits."""
    devices: int = 0


def ways_in(store: Store, *, now: datetime) -> dict[str, Ways]:
    """Return the open links and live sessions of every account that has any."""
    i, s, at = schema.invitations, schema.sessions, now.timestamp()
    links = select(i.c.account, func.max(i.c.expires).label("expires")).where(i.c.redeemed == "", i.c.expires > at).group_by(i.c.account)
    live = select(s.c.account, func.count().label("devices")).where(s.c.expires > at).group_by(s.c.account)
    with store.read() as connection:
        until = {row.account: row.expires for row in connection.execute(links)}
        devices = {row.account: row.devices for row in connection.execute(live)}
    return {account: Ways(until.get(account, 0.0), devices.get(account, 0)) for account in until.keys() | devices.keys()}


def cancel_links(store: Store, account: str, *, by: str, now: datetime) -> int:
    """End an account's links that nobody has used, and return their number. Signed-in browsers stay signed in."""
    i = schema.invitations
    with store.write() as connection:
        ended = connection.execute(delete(i).where(i.c.account == account, i.c.redeemed == "")).rowcount
        if ended:
            note(connection, who=by, what="uninvite", on=account, why="", at=now)
    return ended


def create(connection: Connection, role: Role, name: str, *, group: str, now: datetime, screened: bool = False) -> str:
    """Create an account of somebody new in the given transaction, and return its id."""
    id = f"p-{secrets.token_hex(6)}"
    kind, group = ("user", group or "users") if role == "user" else ("person", group)
    connection.execute(insert(schema.labelers).values(id=id, kind=kind, group=group))
    connection.execute(insert(schema.accounts).values(_new(id, role, name, now, screened)))
    return id


def redeem(store: Store, token: str, *, now: datetime, days: float = SESSION_DAYS) -> str:
    """Exchange an invitation for a new session and return the session's token. An invitation works once.

    Raises:
        Refused: it is unknown, used, expired or belongs to a revoked account (403, one message for all).
    """
    i = schema.invitations
    with store.write() as connection:
        valid = (i.c.token == hashed(token), i.c.redeemed == "", i.c.expires > now.timestamp())
        account = connection.scalar(select(i.c.account).where(*valid).with_for_update())
        if account is None or _revoked(connection, account):
            raise Refused("bad_link", 403)
        connection.execute(update(i).where(i.c.token == hashed(token)).values(redeemed=now.isoformat()))
        note(connection, who=account, what="redeem", on=account, why="", at=now)
        return begin_session(connection, account, now, days)


def session(store: Store, token: str, *, now: datetime) -> Account | None:
    """Return the account of a session; None when the session is unknown, expired or revoked."""
    s = schema.sessions
    with store.read() as connection:
        id = connection.scalar(select(s.c.account).where(s.c.token == hashed(token), s.c.expires > now.timestamp()))
        found = _accounts(connection, id) if id else []
    return found[0] if found and not found[0].revoked else None


def end_session(store: Store, token: str) -> None:
    """End one session."""
    with store.write() as connection:
        connection.execute(delete(schema.sessions).where(schema.sessions.c.token == hashed(token)))


def revoke(store: Store, account: str, *, by: str, why: str, now: datetime) -> None:
    """End an account's access: its sessions, open invitations and leases. Its answers stay."""
    with store.write() as connection:
        _change(connection, account, by, "revoke", why, now, revoked=True)
        end_access(connection, account)


def pause(store: Store, account: str, *, by: str, why: str, now: datetime) -> None:
    """Stop giving a labeler tasks; the sessions stay open."""
    with store.write() as connection:
        _change(connection, account, by, "pause", why, now, paused=True)


def resume(store: Store, account: str, *, by: str, why: str = "", now: datetime) -> None:
    """Give a paused labeler tasks again, or let a revoked one return by a new invitation."""
    with store.write() as connection:
        _change(connection, account, by, "resume", why, now, paused=False, revoked=False)


def qualify(store: Store, account: str, passed: bool, *, by: str, why: str, now: datetime) -> None:
    """Record that a labeler passed the screening, or has to do it."""
    with store.write() as connection:
        _change(connection, account, by, "qualify", why, now, qualified=passed)


def change_profile(store: Store, account: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Change a person's stored choices and statements in one transaction, so that what two requests change at once both stays.

    Args:
        change: takes the profile as it is, and returns what it becomes.
    """
    a = schema.accounts
    with store.write() as connection:
        written = connection.scalar(select(a.c.profile).where(a.c.id == account))
        if written is None:
            return
        before: dict[str, Any] = json.loads(written)
        if (after := dict(change(dict(before)))) != before:
            profile = json.dumps(after, ensure_ascii=False, sort_keys=True)
            connection.execute(update(a).where(a.c.id == account).values(profile=profile))


def exclude(store: Store, labeler: str, *, by: str, why: str, now: datetime) -> None:
    """Exclude all of a labeler's answers from training until ``include``; the records stay."""
    with store.write() as connection:
        if not list(by_id(connection, schema.labelers, {labeler})):
            raise Refused("unknown_labeler", 403, labeler)
        if not connection.scalar(select(func.count()).where(schema.excluded.c.labeler == labeler)):
            connection.execute(insert(schema.excluded).values(labeler=labeler, by=by, why=why, at=now.isoformat()))
        note(connection, who=by, what="exclude", on=labeler, why=why, at=now)


def include(store: Store, labeler: str, *, by: str, why: str = "", now: datetime) -> None:
    """Use an excluded labeler's records again."""
    with store.write() as connection:
        connection.execute(delete(schema.excluded).where(schema.excluded.c.labeler == labeler))
        note(connection, who=by, what="include", on=labeler, why=why, at=now)


def people(store: Store) -> list[Account]:
    """Return every account in order of creation."""
    with store.read() as connection:
        return _accounts(connection)


def account(store: Store, id: str) -> Account | None:
    """Return one account."""
    with store.read() as connection:
        return next(iter(_accounts(connection, id)), None)


def attempt(
    store: Store, who: str, *, now: datetime, limit: int = ATTEMPTS, window: timedelta = WINDOW, key: str = "too_many_attempts"
) -> None:
    """Count an attempt of somebody: a failed sign-in of an address, or a turn of a user. Attempts of a clock that was ahead do not count.

    Args:
        key: names the message of the refusal.

    Raises:
        Refused: there were ``limit`` attempts within ``window`` before this one (429).
    """
    a, who, since = schema.attempts, hashed(who), (now - window).timestamp()
    with store.write() as connection:
        # Of all addresses, since a made-up one never comes back; and those of a clock that was ahead.
        longest = max(window, WINDOW)
        connection.execute(delete(a).where((a.c.at <= (now - longest).timestamp()) | (a.c.at > (now + longest).timestamp())))
        lately = (a.c.at > since) & (a.c.at <= (now + window).timestamp())
        if (connection.scalar(select(func.count()).where(a.c.who == who, lately)) or 0) >= limit:
            raise Refused(key, 429)
        connection.execute(insert(a).values(who=who, at=now.timestamp()))


def hashed(token: str) -> str:
    """Return the stored form of a secret. Tokens are 192 random bits, so no salt or slow hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def end_access(connection: Connection, account: str) -> None:
    """End the sessions, open invitations and leases of an account."""
    i = schema.invitations
    connection.execute(delete(schema.sessions).where(schema.sessions.c.account == account))
    connection.execute(delete(i).where(i.c.account == account, i.c.redeemed == ""))
    a = schema.assignments  # run out at once; the next sweep returns them
    connection.execute(update(a).where(a.c.labeler == account, a.c.state == "leased").values(expires=0.0))


def _new(id: str, role: str, name: str, now: datetime, screened: bool) -> dict[str, Any]:
    values = {"id": id, "role": role, "name": name, "created": now.isoformat(), "profile": "{}"}
    return values | {"paused": False, "revoked": False, "qualified": not screened}


def begin_session(connection: Connection, account: str, now: datetime, days: float) -> str:
    """Begin a session in the given transaction, and return its token."""
    token, expires = secrets.token_urlsafe(24), (now + timedelta(days=days)).timestamp()
    values = {"token": hashed(token), "account": account, "created": now.isoformat(), "expires": expires}
    connection.execute(insert(schema.sessions).values(values))
    return token


def _revoked(connection: Connection, account: str) -> bool:
    return bool(connection.scalar(select(schema.accounts.c.revoked).where(schema.accounts.c.id == account)))


def _change(connection: Connection, account: str, by: str, what: str, why: str, now: datetime, **values: Any) -> None:
    table = schema.accounts
    if connection.execute(update(table).where(table.c.id == account).values(**values)).rowcount == 0:
        raise StoreError(f"there is no account {account}", hint="`accord labelers list` shows them")
    note(connection, who=by, what=what, on=account, why=why, at=now)


def _accounts(connection: Connection, id: str | None = None) -> list[Account]:
    a, person, out = schema.accounts, schema.labelers, schema.excluded
    query = (
        select(a, person.c.group, out.c.labeler.label("out")).join(person, person.c.id == a.c.id).outerjoin(out, out.c.labeler == a.c.id)
    )
    if id is not None:
        query = query.where(a.c.id == id)
    return [
        Account(
            id=row["id"],
            role=row["role"],
            name=row["name"],
            group=row["group"],
            paused=row["paused"],
            revoked=row["revoked"],
            qualified=row["qualified"],
            excluded=row["out"] is not None,
            profile=json.loads(row["profile"]),
            created=row["created"],
        )
        for row in connection.execute(query.order_by(a.c.created, a.c.id)).mappings()
    ]
