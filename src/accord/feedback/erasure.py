"""Erasure of a person: their prompts and texts are emptied, training snapshots lose their rows, and the affected models are named.

The weights keep what they learned. The audit log records that somebody was forgotten, but not who.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.audit import note
from accord.feedback.inserts import batches
from accord.feedback.privacy import erase_labeler, erase_user
from accord.feedback.review import voice_of
from accord.feedback.store import Store
from accord.runtime.files import append, write_atomic

_RECORDS = ("metrics.jsonl",)
"""Files of a run that hold only numbers."""
_SHORTEST = 12
"""Shorter texts could be anybody's, so they are not searched for in the samples of runs."""


@dataclass(frozen=True, slots=True)
class Person:
    """The data that a store holds about a person."""

    user: str
    names: frozenset[str]
    """Under which their records stand: a labeler's chats become records of a voice of its own (``review.voice``)."""
    prompts: frozenset[str]
    texts: frozenset[str]
    """What they wrote, if it is long enough to identify them: the last turn of each of their prompts, and their demonstrations."""
    labelers: tuple[str, ...]
    """Those of the names that are labelers (everybody who uses the chat is one)."""
    turns: frozenset[str] = frozenset()
    """Ids of the turns of their chats: what `accord explain` told of one names it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A file of a run that contains rows of a person."""

    path: Path
    digest: str
    """sha256 of the file when a model learned from it; lineage records it."""
    rows: int


def person(store: Store, user: str) -> Person:
    """Return the store's data about a user.

    Raises:
        StoreError: the store holds nothing, or the name is empty.
    """
    p, d, people, t, c = schema.prompts, schema.demonstrations, schema.labelers, schema.turns, schema.conversations
    names = frozenset({user, voice_of(user)}) if user else frozenset[str]()
    with store.read() as connection:
        found = list(connection.execute(select(p.c.id, p.c.messages).where(p.c.user.in_(names))))
        labelers = list(connection.scalars(select(people.c.id).where(people.c.id.in_(names))))
        texts = set(connection.scalars(select(d.c.text).where(d.c.labeler.in_(names))))
        turns = frozenset(connection.scalars(select(t.c.id).join(c, c.c.id == t.c.conversation).where(c.c.user.in_(names))))
    if not found and not labelers:
        raise StoreError(f"the feedback database has no user {user!r}", hint="`accord export PROJECT --what prompts` names the users")
    for _, written in found:
        messages = json.loads(written)
        if messages:
            texts.add(str(messages[-1][1]))
    long = frozenset(text for text in texts if len(text) >= _SHORTEST)
    return Person(user, names, frozenset(id for id, _ in found), long, tuple(sorted(labelers)), turns)


def forget(store: Store, who: Person, *, by: str, why: str, now: datetime) -> dict[str, int]:
    """Empty a person's prompts, the responses to them, their answers and reactions, and their chats.

    Returns:
        The number of emptied rows of each kind.
    """
    emptied = dict[str, int]()
    with store.write() as connection:
        # By the ids that were read before: the steps below empty the user's name on the prompts.
        v = schema.provenance
        for part in batches(sorted(who.prompts)):
            connection.execute(delete(v).where(v.c.prompt_id.in_(part)))
    for labeler in who.labelers:
        _sum(emptied, erase_labeler(store, labeler, by=by, why=why, now=now, answers=True))
    for name in sorted(who.names):
        with store.read() as connection:
            left = connection.scalar(select(func.count()).where(schema.prompts.c.user == name))
        if left:
            _sum(emptied, erase_user(store, name, by=by, why=why, now=now))
    return emptied


def _sum(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, count in more.items():
        counts[kind] = counts.get(kind, 0) + count


def traces(runs: Path, who: Person) -> list[Trace]:
    """Return the files of runs that contain rows of a person: training snapshots and samples."""
    found: list[Trace] = []
    for path in sorted(runs.glob("*/*.jsonl")):
        if path.name in _RECORDS:
            continue
        count = sum(_theirs(row, who) for _, row in _rows(path))
        if count:
            with path.open("rb") as file:
                found.append(Trace(path, hashlib.file_digest(file, "sha256").hexdigest(), count))
    return found


def remove(found: Sequence[Trace], who: Person, *, now: datetime) -> None:
    """Rewrite the files without the person's rows, each file atomically."""
    for trace in found:
        # The log comes first: a kill in between leaves the line twice, and never a snapshot that changed without a word.
        append(trace.path.parent / "log.txt", f"{now:%Y-%m-%dT%H:%M:%SZ} {trace.rows} rows of a forgotten user left {trace.path.name}\n")
        write_atomic(trace.path, "".join(line for line, row in _rows(trace.path) if not _theirs(row, who)))


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            try:
                yield line, json.loads(line)
            except ValueError:
                yield line, None


def _theirs(row: Any, who: Person) -> bool:
    if not isinstance(row, Mapping):
        return False
    prompt: Any = row.get("prompt")
    if isinstance(prompt, Mapping) and (prompt.get("id") in who.prompts or prompt.get("user") in who.names):
        return True
    if isinstance(prompt, str) and any(text in prompt for text in who.texts):
        return True
    ids: Collection[Any] = (row.get("id"), row.get("prompt_id"))
    return any(id in who.prompts for id in ids) or row.get("labeler") in who.names or row.get("user") in who.names


_DIGEST = re.compile(r"[0-9a-f]{64}")
"""The name of a picture or a recording, whose digits mean nothing."""
Change = Callable[[str], str]
"""Returns a text without its personal data; the same text if it holds none."""


def rewrite(store: Store, change: Change, *, by: str, why: str, now: datetime) -> dict[str, int]:
    """Replace personal data in every stored text: prompts, responses, demonstrations, answers, chats. Ids stay, so the source file of a
    prompt can no longer be imported over it.

    Returns:
        The number of changed rows of each kind.
    """
    changed = dict[str, int]()
    with store.write() as connection:
        for table, columns, emptied in _TEXTS:
            changed[table.name] = _rewrite(connection, table, columns, emptied, change)
        note(connection, who=by, what="redact", on=f"{sum(changed.values())} rows", why=why, at=now)
    return changed


def _rewrite(connection: Connection, table: Any, columns: Sequence[str], emptied: Mapping[str, str], change: Change) -> int:
    # All ids are read first, because the rows change under the loop.
    (key,) = table.primary_key
    ids, count = list(connection.scalars(select(key).order_by(key))), 0
    for part in batches(ids):
        for row in list(connection.execute(select(table).where(key.in_(part))).mappings()):
            new = {name: value for name in columns if (value := clean(row[name], change)) != row[name]}
            if new:
                connection.execute(update(table).where(key == row[key.name]).values(**new, **emptied))
                count += 1
    return count


def clean(text: str | None, change: Change) -> str | None:
    """Return a text after a change, or the strings inside it if it is a JSON value."""
    if not text or text[0] not in "[{":
        return change(text) if text else text
    try:
        value: object = json.loads(text)
    except ValueError:
        return change(text)  # it only looks like JSON
    new = _inside(value, change)
    return text if new == value else json.dumps(new, ensure_ascii=False)


def _inside(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return value if _DIGEST.fullmatch(value) else change(value)
    if isinstance(value, list):
        return [_inside(part, change) for part in value]
    return {key: _inside(part, change) for key, part in value.items()} if isinstance(value, dict) else value


_TEXTS: tuple[tuple[Any, tuple[str, ...], Mapping[str, str]], ...] = (
    (schema.prompts, ("messages", "extra"), {}),
    (schema.responses, ("text",), {"tokens": ""}),
    (schema.demonstrations, ("text",), {}),
    (schema.answers, ("payload",), {}),
    (schema.tasks, ("expected", "fact"), {}),
    (schema.conversations, ("title", "system"), {}),
    (schema.turns, ("text", "media"), {}),
    (schema.documents, ("name", "text"), {}),
    (schema.reactions, ("payload",), {}),
    (schema.doubt_notes, ("text",), {}),
    (schema.guideline_rules, ("rule",), {}),
    (schema.transcripts, ("before", "text"), {}),
)
