"""Pictures and recordings in the database: stored once by their digest, read by it, and removed with the last record that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, delete, select

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.inserts import batches
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import MEDIUM, Media, MediaFile, Message
from accord.runtime import media_files


def read_media(store: Store, digest: str) -> bytes:
    """Return the bytes of a picture or a recording. Raises StoreError when there is none of this digest."""
    return media_file(store, digest).content


def media_file(store: Store, digest: str) -> MediaFile:
    """Return a picture or a recording with its type and size. Raises StoreError when there is none of this digest."""
    m = schema.media
    with store.read() as connection:
        row = connection.execute(select(m.c.kind, m.c.mime, m.c.content, m.c.width, m.c.height).where(m.c.digest == digest)).first()
    if row is None:
        raise StoreError(f"the store has no picture or recording {digest[:12]}", hint="`accord forget` removes those that nothing holds")
    return MediaFile(row.kind, row.mime, bytes(row.content), row.width, row.height)


def short_name(file: MediaFile) -> str:
    """Return the name under which somebody saves a picture or a recording."""
    return media_files.file_name(file.digest[:12], file.mime)


def files_of(store: Store, messages: Iterable[Message]) -> Iterator[MediaFile]:
    """Yield the files of the pictures and recordings in messages, each once."""
    for digest in dict.fromkeys(each.digest for message in messages for each in message.media):
        yield media_file(store, digest)


def is_shown_to(store: Store, person: str, digest: str) -> bool:
    """Return whether a person sees a record with this picture or recording: a task that was given to them, their own conversation, or
    their next message in it."""
    u, a, q, t, c = schema.media_uses, schema.assignments, schema.tasks, schema.turns, schema.conversations
    held = u.c.digest == digest
    given = select(a.c.task_id).join(q, q.c.id == a.c.task_id).join(u, u.c.record_id == q.c.prompt_id)
    given = given.where(held, u.c.kind == "prompt", a.c.labeler == person)
    own = select(t.c.id).join(u, u.c.record_id == t.c.id).join(c, c.c.id == t.c.conversation)
    own = own.where(held, u.c.kind == "turn", c.c.user == person, ~is_withdrawn("conversation", c.c.id))
    waiting = select(u.c.digest).where(held, u.c.kind == "draft", u.c.record_id == person)
    with store.read() as connection:
        return any(connection.execute(query.limit(1)).first() is not None for query in (given, own, waiting))


def brought_along(store: Store, line: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """Return a line of an export with the pictures and recordings that its messages name: as data URLs, or as files in a folder.

    Args:
        folder: where the files go, named relative to the folder around it; None for data URLs.
    """
    for message in (*line.get("messages", ()), line):
        for media in message.get("media", ()):
            file = media_file(store, media["digest"])
            if folder is None:
                media["data"] = media_files.data_url(file)
            else:
                media["file"] = f"{folder.name}/{media_files.keep(folder, file).name}"
    return line


def keep_beside(store: Store, snapshot: Path) -> list[Path]:
    """Write the files that a snapshot's rows name into ``media/`` beside it, and return their paths."""
    folder, kept = snapshot.parent / media_files.FOLDER, list[Path]()
    for digest in dict.fromkeys(digests_in(snapshot)):
        path = media_files.path_in(folder, digest)
        kept.append(path or media_files.keep(folder, media_file(store, digest)))
    return kept


def leave_named(run: Path) -> list[str]:
    """Remove the files in a run's ``media/`` that no row of its files names any more; return their names."""
    kept, gone = {digest for path in run.glob("*.jsonl") for digest in digests_in(path)}, list[str]()
    for path in sorted((run / media_files.FOLDER).glob("*")):
        if path.stem not in kept:
            path.unlink()
            gone.append(path.name)
    return gone


def digests_in(snapshot: Path) -> Iterator[str]:
    """Yield the digests of the pictures and recordings in a file of JSON lines."""
    return (str(media["digest"]) for media in _media_in(snapshot))


def recordings_in(snapshot: Path) -> Iterator[Media]:
    """Yield the recordings in a file of JSON lines, with their transcripts."""
    return (Media("audio", media["digest"], media.get("alt", "")) for media in _media_in(snapshot) if media["kind"] == "audio")


def _media_in(snapshot: Path) -> Iterator[Mapping[str, Any]]:
    with snapshot.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if MEDIUM in line:
                yield from _named(json.loads(line))


def _named(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the media in the messages of a JSON value."""
    if isinstance(value, list):
        for part in cast("list[Any]", value):
            yield from _named(part)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if isinstance(fields.get("content"), str):
            yield from fields.get("media", ())
        for part in fields.values():
            yield from _named(part)


def release(connection: Connection, kind: str, ids: Iterable[str]) -> int:
    """Let go of the pictures and recordings of erased records; those that no other record holds are removed. Return their number."""
    u, held = schema.media_uses, set[str]()
    for part in batches(ids):
        theirs = (u.c.kind == kind, u.c.record_id.in_(part))
        held.update(connection.scalars(select(u.c.digest).where(*theirs)))
        connection.execute(delete(u).where(*theirs))
    return remove_unused(connection, held)


def remove_unused(connection: Connection, digests: Iterable[str]) -> int:
    """Remove those of the pictures and recordings that no record holds, with their transcripts; return their number."""
    m, u, t, removed = schema.media, schema.media_uses, schema.transcripts, 0
    for part in batches(sorted(set(digests))):
        held = select(u.c.digest).where(u.c.digest == t.c.recording).exists()
        connection.execute(delete(t).where(t.c.recording.in_(part), ~held))
        unused = ~select(u.c.digest).where(u.c.digest == m.c.digest).exists()
        removed += connection.execute(delete(m).where(m.c.digest.in_(part), unused)).rowcount
    return removed
