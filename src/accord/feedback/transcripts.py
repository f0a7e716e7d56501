"""The transcripts of recordings: written by a model, corrected by people, taken back by the lead. Every version is kept.

A transcript stands in each record that holds the recording, so that everything that reads the record has the one in force. The table
keeps who wrote it, when, and what was there before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, insert, select, update

from accord.feedback import rows, schema
from accord.feedback.audit import note
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import MEDIUM, Media

MOST_CHARACTERS = 100_000
"""Longest transcript: some ten hours of speech."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a recording's transcript."""

    number: int
    recording: str
    before: str
    text: str
    kind: str
    """Who wrote it: a person, a model, or an import."""
    by: str
    at: str
    undone: str
    """When the lead took it back; empty while it stands."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What became of a correction."""

    text: str
    changed: bool
    """False where the transcript was the same already."""
    meanwhile: str | None = None
    """What somebody else made of it since the page was shown; kept in the history. None where nobody did."""


def versions(store: Store, recording: str = "") -> list[Version]:
    """Return the versions of a recording's transcript, or of all recordings, in the order in which they were written."""
    t = schema.transcripts
    query = select(t).order_by(t.c.number)
    return [Version(**row) for row in store.database.rows(query.where(t.c.recording == recording) if recording else query)]


def corrections(store: Store) -> Iterator[Version]:
    """Yield people's versions that stand, without those of excluded labelers and of recordings whose prompts were all withdrawn."""
    t, x = schema.transcripts, schema.excluded
    query = select(t).where(t.c.kind == "person", t.c.undone == "", ~exists().where(x.c.labeler == t.c.by)).order_by(t.c.number)
    for row in store.database.rows(query):
        with store.read() as connection:
            held = is_held(connection, row["recording"])
        if held:
            yield Version(**row)


def current(connection: Connection, recording: str) -> str | None:
    """Return a recording's transcript as it stands; None where no record in use holds the recording."""
    for kind, id, media in _holding(connection, recording):
        if not _is_gone(connection, kind, id):
            return next(each.alt for each in media if each.digest == recording)
    return None


def is_held(connection: Connection, recording: str) -> bool:
    """Return whether a record in use holds a recording."""
    return current(connection, recording) is not None


def missing(store: Store) -> list[str]:
    """Return the digests of the recordings of prompts in use that have no transcript, in their order."""
    u, m, p = schema.media_uses, schema.media, schema.prompts
    held: Select[Any] = select(*[u.c.record_id, p.c.messages]).join(m, m.c.digest == u.c.digest).join(p, p.c.id == u.c.record_id)
    query: Select[Any] = held.where(u.c.kind == "prompt", m.c.kind == "audio", ~is_withdrawn("prompt", p.c.id)).distinct()
    silent = set[str]()
    for row in store.database.rows(query):
        every = (each for message in rows.messages(row["messages"]) for each in message.media)
        silent.update(each.digest for each in every if each.kind == "audio" and not each.alt.strip())
    return sorted(silent)


def fill(connection: Connection, recording: str, text: str, *, kind: str, by: str, at: str) -> bool:
    """Write a transcript where there is none, inside a transaction; return False where somebody has written one meanwhile."""
    _lock(connection, recording)
    if (before := current(connection, recording)) is None or before.strip():
        return False
    _add(connection, recording, before, text, kind=kind, by=by, at=at)
    return True


def correct(store: Store, recording: str, text: str, *, seen: str, by: str, now: datetime) -> Corrected:
    """Store a person's transcript, in place of the one that stands. The last one wins, and all are kept.

    Args:
        seen: the transcript that the person was shown.

    Raises:
        Refused: the text is empty or too long (422), or no record in use holds the recording (410).
    """
    text = cleaned(text)
    with store.write() as connection:
        _lock(connection, recording)
        before = current(connection, recording)
        if before is None:
            raise Refused("retracted", 410, recording)
        meanwhile = before if cleaned(before, refuse=False) not in (cleaned(seen, refuse=False), text) else None
        if before == text:
            return Corrected(text, changed=False)
        _add(connection, recording, before, text, kind="person", by=by, at=now.isoformat())
        note(connection, who=by, what="correct transcript", on=recording, why="", at=now)
    return Corrected(text, changed=True, meanwhile=meanwhile)


def undo(store: Store, number: int, *, by: str, why: str = "", now: datetime) -> str:
    """Take a version back; return the transcript that stands then: the last one that was not taken back, or the first before them all.

    Raises:
        Refused: there is no such version, or it was taken back (404).
    """
    t = schema.transcripts
    with store.write() as connection:
        recording = connection.scalar(select(t.c.recording).where(t.c.number == number, t.c.undone == ""))
        if recording is None:
            raise Refused("no_such_record", 404, f"version {number} of a transcript")
        _lock(connection, recording)
        connection.execute(update(t).where(t.c.number == number).values(undone=now.isoformat()))
        stands = select(t.c.text).where(t.c.recording == recording, t.c.undone == "").order_by(t.c.number.desc()).limit(1)
        text = connection.scalar(stands)
        if text is None:
            text = connection.scalar(select(t.c.before).where(t.c.recording == recording).order_by(t.c.number).limit(1)) or ""
        _write(connection, recording, text)
        note(connection, who=by, what="undo transcript", on=recording, why=why, at=now)
    return text


def cleaned(text: str, *, refuse: bool = True) -> str:
    """Return a transcript as it is stored: \\n between lines, no blanks at its ends, no mark of a picture's place.

    Raises:
        Refused: it is empty, or too long (422).
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace(MEDIUM, "").strip()
    if refuse and not text:
        raise Refused("transcript_missing", 422)
    if refuse and len(text) > MOST_CHARACTERS:
        raise Refused("too_long", 422, f"{len(text)} characters")
    return text


def _add(connection: Connection, recording: str, before: str, text: str, *, kind: str, by: str, at: str) -> None:
    row = {"recording": recording, "before": before, "text": text, "kind": kind, "by": by, "at": at, "undone": ""}
    connection.execute(insert(schema.transcripts).values(row))
    _write(connection, recording, text)


def _lock(connection: Connection, recording: str) -> None:
    """Let corrections of a recording take turns, and imports of it wait."""
    m = schema.media
    connection.execute(select(m.c.digest).where(m.c.digest == recording).with_for_update()).all()


def _write(connection: Connection, recording: str, text: str) -> None:
    """Put a transcript into every record that holds the recording."""
    p, t, known = schema.prompts, schema.turns, {recording: (text, True)}
    for kind, id in _uses(connection, recording):
        if kind == "prompt":
            written = connection.scalar(select(p.c.messages).where(p.c.id == id))
            new = rows.with_transcripts(written or "[]", known)
            connection.execute(update(p).where(p.c.id == id).values(messages=new))
        elif kind == "turn" and (written := connection.scalar(select(t.c.media).where(t.c.id == id))):
            media = rows.media(json.loads(written))
            new = json.dumps(rows.of_media(rows.media_with_transcripts(media, known)), ensure_ascii=False)
            connection.execute(update(t).where(t.c.id == id).values(media=new))


def _uses(connection: Connection, recording: str) -> list[tuple[str, str]]:
    u = schema.media_uses
    query = select(u.c.kind, u.c.record_id).where(u.c.digest == recording).order_by(u.c.kind, u.c.record_id)
    return [(row.kind, row.record_id) for row in connection.execute(query)]


def _holding(connection: Connection, recording: str) -> Iterator[tuple[str, str, tuple[Media, ...]]]:
    """Yield the prompts and turns that hold a recording, with their media."""
    p, t = schema.prompts, schema.turns
    for kind, id in _uses(connection, recording):
        if kind == "prompt" and (written := connection.scalar(select(p.c.messages).where(p.c.id == id))):
            yield kind, id, tuple(each for message in rows.messages(written) for each in message.media)
        elif kind == "turn" and (written := connection.scalar(select(t.c.media).where(t.c.id == id))):
            yield kind, id, rows.media(json.loads(written))


def _is_gone(connection: Connection, kind: str, id: str) -> bool:
    """Return whether a prompt was withdrawn, or a turn's conversation deleted."""
    t = schema.turns
    if kind == "turn":
        kind, id = "conversation", connection.scalar(select(t.c.conversation).where(t.c.id == id)) or ""
    return bool(connection.scalar(select(is_withdrawn(kind, id))))


def brought(connection: Connection, given: Mapping[str, str], *, by: str, at: str) -> int:
    """Fill the transcripts that an import brought for recordings that had none; return their number."""
    return sum(fill(connection, digest, text, kind="import", by=by, at=at) for digest, text in sorted(given.items()) if text.strip())


def spoken(written: Iterable[str]) -> dict[str, str]:
    """Return the transcripts in conversations as the table of prompts holds them, by recording."""
    found = dict[str, str]()
    for conversation in written:
        if MEDIUM in conversation:
            every = (each for message in rows.messages(conversation) for each in message.media)
            found |= {each.digest: each.alt for each in every if each.kind == "audio" and each.alt.strip()}
    return found
