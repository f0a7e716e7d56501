"""Erasure of personal data. Only this module changes stored texts, and each change is in the audit log; a document that its user removes
from a chat goes by ``documents``, in the same way.

Rows stay, so that counts, ids and other people's work remain valid. Their content is emptied, and readers skip them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, select, update

from accord.feedback import schema
from accord.feedback.accounts import end_access
from accord.feedback.audit import note
from accord.feedback.database import BUSY_SECONDS
from accord.feedback.inserts import batches, by_id
from accord.feedback.media import release
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import withdraw_erased

PATIENCE = 2_000
"""Milliseconds that a reader of the write-ahead log is waited for."""
ERASED = "(erased)"
"""Reserves the task of an erased prompt for nobody."""


def erase_labeler(store: Store, labeler: str, *, by: str, why: str, now: datetime, answers: bool = False) -> dict[str, int]:
    """Erase a labeler's name, group, profile, sessions, drafts and reading history; with ``answers`` also their answers.

    Args:
        answers: also empty their answers, demonstrations and conversations, and withdraw all of their records.

    Returns:
        The number of emptied or removed rows of each kind.

    Raises:
        Refused: there is no such labeler.
    """
    with store.write() as connection:
        if not list(by_id(connection, schema.labelers, {labeler})):
            raise Refused("unknown_labeler", 403, labeler)
        connection.execute(update(schema.labelers).where(schema.labelers.c.id == labeler).values(group=""))
        a = schema.accounts
        emptied = {"accounts": _count(connection, update(a).where(a.c.id == labeler).values(name="", profile="{}", revoked=True))}
        end_access(connection, labeler)
        for table in (schema.drafts, schema.guidelines_read):
            emptied[table.name] = _count(connection, delete(table).where(table.c.labeler == labeler))
        for table in (schema.invitations, schema.identities):
            connection.execute(delete(table).where(table.c.account == labeler))
        if answers:
            emptied |= _erase_said(connection, labeler, by, why, now) | _erase_chats(connection, labeler, (), by, now)
        note(connection, who=by, what="erase", on=labeler, why=why, at=now)
    clear_log(store)
    return emptied


def erase_user(store: Store, user: str, *, by: str, why: str, now: datetime) -> dict[str, int]:
    """Empty and withdraw every prompt of a user, with its responses and demonstrations.

    Args:
        user: the name in the prompts; the audit log keeps the number of prompts, not the name.

    Raises:
        Refused: no prompt is of this user.
    """
    p = schema.prompts
    with store.write() as connection:
        ids = list(connection.scalars(select(p.c.id).where(p.c.user == user)))
        if not user or not ids:
            raise Refused("unknown_labeler", 403, "no prompt is of this user")
        emptied = _erase_prompts(connection, ids, by, now)
        note(connection, who=by, what="erase", on=f"{len(ids)} prompts of a user", why=why, at=now)
    clear_log(store)
    return emptied


def erase_conversations(store: Store, user: str, *, ids: Sequence[str] = (), by: str, why: str, now: datetime) -> dict[str, int]:
    """Empty a user's conversations, the reactions in them, and every record made from them; remove their documents.

    Args:
        ids: of the conversations; all of the user's when empty.

    Raises:
        Refused: one is not this user's (404).
    """
    with store.write() as connection:
        emptied = _erase_chats(connection, user, ids, by, now)
        if ids and emptied["conversations"] != len(set(ids)):
            raise Refused("no_such_turn", 404)
        note(connection, who=by, what="erase", on=f"{emptied['conversations']} conversations of {user}", why=why, at=now)
    clear_log(store)
    return emptied


def _erase_chats(connection: Connection, user: str, ids: Sequence[str], by: str, now: datetime) -> dict[str, int]:
    c, t, r, v = schema.conversations, schema.turns, schema.reactions, schema.reviews
    theirs = [id for id in _ids(connection, c, c.c.user == user) if not ids or id in ids]
    turns, said, made = list[str](), list[str](), set[str]()
    for part in batches(theirs):
        turns += _ids(connection, t, t.c.conversation.in_(part))
    for part in batches(turns):
        said += _ids(connection, r, r.c.turn.in_(part))
    for part in batches(said):
        accepted = select(v.c.records).where(v.c.reaction.in_(part), v.c.verdict == "accepted")
        for records in connection.scalars(accepted):
            made.update(id for kind, id in json.loads(records) if kind == "prompt")
    prompts = sorted(made)
    emptying = ((c, theirs, {"title": "", "system": ""}), (t, turns, {"text": "", "media": ""}), (r, said, {"payload": "{}"}))
    for table, rows, empty in emptying:
        for part in batches(rows):
            connection.execute(update(table).where(table.c.id.in_(part)).values(empty))
    release(connection, "turn", turns)
    if not ids:
        release(connection, "draft", [user])  # pictures of a message that was never sent
    q, d = schema.app_requests, schema.documents
    removed = 0
    for part in batches(theirs):
        removed += _count(connection, delete(d).where(d.c.conversation.in_(part)))
        connection.execute(update(q).where(q.c.conversation.in_(part)).values(fingerprint=""))
    _forget_replies(connection, user)
    withdraw_erased(connection, "conversation", theirs, by=by, now=now)
    withdraw_erased(connection, "reaction", said, by=by, now=now)
    emptied = {"conversations": len(theirs), "turns": len(turns), "documents": removed, "reactions": len(said)}
    return emptied | _erase_prompts(connection, prompts, by, now)


def erase_unused_prompts(connection: Connection, ids: Sequence[str], *, by: str, now: datetime) -> int:
    """Empty those prompts that no response, demonstration, thumb or task is of, inside a transaction; return their number."""
    p, unused = schema.prompts, list[str]()
    uses = (schema.responses, schema.demonstrations, schema.thumbs, schema.tasks)
    for part in batches(ids):
        free = select(p.c.id).where(p.c.id.in_(part), *(~select(t.c.id).where(t.c.prompt_id == p.c.id).exists() for t in uses))
        unused += connection.scalars(free)
    _erase_prompts(connection, unused, by, now)
    v = schema.provenance
    for part in batches(unused):
        connection.execute(delete(v).where(v.c.prompt_id.in_(part)))
    return len(unused)


def _erase_prompts(connection: Connection, ids: Sequence[str], by: str, now: datetime) -> dict[str, int]:
    """Empty prompts with their responses and all records made from them."""
    p, r, d, t, a = schema.prompts, schema.responses, schema.demonstrations, schema.tasks, schema.answers
    emptied = {"prompts": len(ids), "responses": 0, "demonstrations": 0}
    for part in batches(ids):
        connection.execute(update(p).where(p.c.id.in_(part)).values(messages="[]", user="", source="", extra="{}", key=""))
        connection.execute(delete(schema.import_changes).where(schema.import_changes.c.prompt_id.in_(part)))
        release(connection, "prompt", part)
        emptied["responses"] += _count(connection, update(r).where(r.c.prompt_id.in_(part)).values(text="", tokens=""))
        emptied["demonstrations"] += _count(connection, update(d).where(d.c.prompt_id.in_(part)).values(text=""))
        withdraw_erased(connection, "prompt", part, by=by, now=now)
        for kind, table in (("demonstration", d), ("ranking", schema.rankings), ("thumb", schema.thumbs)):
            withdraw_erased(connection, kind, _ids(connection, table, table.c.prompt_id.in_(part)), by=by, now=now)
        of_them = select(t.c.id).where(t.c.prompt_id.in_(part))
        connection.execute(update(t).where(t.c.prompt_id.in_(part)).values(expected=None, fact="", reserved_for=ERASED))
        connection.execute(update(a).where(a.c.task_id.in_(of_them)).values(payload="{}"))
        connection.execute(delete(schema.drafts).where(schema.drafts.c.task_id.in_(of_them)))
        beside = select(schema.doubts.c.id).where(schema.doubts.c.task_id.in_(of_them))
        connection.execute(update(schema.doubt_notes).where(schema.doubt_notes.c.doubt.in_(beside)).values(text=""))
        withdraw_erased(connection, "answer", _ids(connection, a, a.c.task_id.in_(of_them)), by=by, now=now)
        connection.execute(delete(schema.replays).where(schema.replays.c.body.in_(of_them)))
    return emptied


def _forget_replies(connection: Connection, user: str) -> None:
    """Delete the replies about a user that are kept for repeats; those about tasks hold an id alone."""
    said = schema.replays.c.body
    connection.execute(delete(schema.replays).where(said.contains(json.dumps(user), autoescape=True)))


def _erase_said(connection: Connection, labeler: str, by: str, why: str, now: datetime) -> dict[str, int]:
    emptied = dict[str, int]()
    values: tuple[tuple[str, Table, dict[str, Any]], ...] = (
        ("answer", schema.answers, {"payload": "{}"}),
        ("demonstration", schema.demonstrations, {"text": ""}),
        ("ranking", schema.rankings, {}),
    )
    for kind, table, empty in values:
        ids = _ids(connection, table, table.c.labeler == labeler)
        if empty:
            connection.execute(update(table).where(table.c.labeler == labeler).values(empty))
        withdraw_erased(connection, kind, ids, by=by, now=now)
        emptied[table.name] = len(ids)
    connection.execute(update(schema.doubt_notes).where(schema.doubt_notes.c.by == labeler).values(text=""))
    p = schema.prompts
    written = _ids(connection, p, p.c.id.in_(select("p-" + schema.answers.c.id).where(schema.answers.c.labeler == labeler)))
    emptied["prompts"] = _erase_prompts(connection, written, by, now)["prompts"]
    corrected = [f"r-{id}" for id in _ids(connection, schema.answers, schema.answers.c.labeler == labeler)]
    for part in batches(corrected):
        connection.execute(update(schema.responses).where(schema.responses.c.id.in_(part)).values(text=""))
    return emptied


def _ids(connection: Connection, table: Table, where: Any) -> list[str]:
    return list(connection.scalars(select(table.c.id).where(where)))


def _count(connection: Connection, statement: Any) -> int:
    return connection.execute(statement).rowcount


def clear_log(store: Store) -> bool:
    """Truncate SQLite's write-ahead log, which still holds erased text; return whether it could be done.

    In the file itself, free space is overwritten with zeros. A reader in a long transaction, such as an export, holds the log: this
    waits two seconds for it. The log is also gone once every connection is closed.
    """
    if not store.database.is_sqlite:
        return True
    with store.database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={PATIENCE}")
        try:
            busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    return not busy
