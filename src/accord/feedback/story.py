"""A record's whole story: where it came from, who answered, what was said of it, what was changed, and what was taken back.

Every record is told with its prompt: the story of a response or a ranking is that of its prompt, with the record named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, or_, select

from accord.feedback import rows, schema
from accord.feedback.arrivals import KINDS
from accord.feedback.audit import Entry
from accord.feedback.doubts import Doubt, threads
from accord.feedback.imports import Import, import_of, kind_of
from accord.feedback.provenance import Provenance
from accord.feedback.store import Store
from accord.feedback.withdrawals import withdrawn_for
from accord.records import Prompt

MOST = 200
"""Records of a kind that a story shows."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Who took a record back, and why."""

    by: str
    why: str
    at: str


@dataclass(frozen=True, slots=True)
class Part:
    """A response, demonstration or thumb of the prompt."""

    id: str
    text: str
    by: str
    """The model of a response, else the labeler."""
    imported: int
    withdrawn: Withdrawal | None
    up: bool | None = None
    flags: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A response's place in a ranking."""

    response: str
    rank: int
    quality: int | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A ranking of responses to the prompt."""

    id: str
    labeler: str
    items: tuple[Ranked, ...]
    """Best first."""
    guideline: str
    imported: int
    withdrawn: Withdrawal | None
    at: str


@dataclass(frozen=True, slots=True)
class Given:
    """An answer on the labeling site: one revision of it."""

    id: str
    kind: str
    labeler: str
    revision: int
    reason: str
    seconds: float
    withdrawn: Withdrawal | None
    at: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task on the prompt."""

    id: str
    kind: str
    purpose: str
    overlap: int
    taken: int
    open: bool


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is known of a prompt."""

    kind: str
    """Of the record that was asked for: prompt, response, demonstration, ranking or thumb."""
    id: str
    prompt: Prompt
    withdrawn: Withdrawal | None
    imported: Import | None
    """The import that brought the prompt."""
    again: list[int]
    """Imports that brought it as well."""
    provenance: Provenance | None
    responses: list[Part]
    demonstrations: list[Part]
    rankings: list[Judged]
    thumbs: list[Part]
    tasks: list[Waiting]
    answers: list[Given]
    doubts: list[Doubt]
    audit: list[Entry]

    def of(self, response: str) -> str:
        """Return the text of a response; empty when it is not shown."""
        return next((part.text for part in self.responses if part.id == response), "")

    @property
    def ids(self) -> dict[str, list[str]]:
        """Return the ids of the record that was asked for and, of a prompt, of what hangs on it, by kind."""
        if self.kind != "prompt":
            return {self.kind: [self.id]}
        hanging = {"demonstration": self.demonstrations, "ranking": self.rankings, "thumb": self.thumbs}
        return {"prompt": [self.id]} | {kind: [part.id for part in parts] for kind, parts in hanging.items()}


def told(store: Store, id: str, *, kind: str = "") -> Story:
    """Return the story of a record.

    Args:
        kind: prompt, response, demonstration, ranking or thumb; records of two kinds may have the same id. Empty takes the first.

    Raises:
        StoreError: there is no such record.
    """
    with store.read() as connection:
        kind = kind_of(connection, id, kind)
        prompt_id = id if kind == "prompt" else _prompt_of(connection, kind, id)
        p, v, repeat = schema.prompts, schema.provenance, schema.import_repeats
        row = connection.execute(select(p).where(p.c.id == prompt_id)).mappings().one()
        papers = connection.execute(select(v).where(v.c.prompt_id == prompt_id)).mappings().first()
        again = select(repeat.c.number).where(repeat.c.kind == "prompt", repeat.c.record_id == prompt_id).order_by(repeat.c.number)
        d, t = schema.demonstrations, schema.thumbs
        tasks, doubt = _tasks(connection, prompt_id), schema.doubts
        asked = connection.scalars(select(doubt.c.task_id).distinct().where(doubt.c.task_id.in_([task.id for task in tasks]))).all()
        story = Story(
            kind,
            id,
            rows.prompt(row),
            _withdrawal(connection, "prompt", prompt_id),
            import_of(connection, row["imported"]),
            list(connection.scalars(again)),
            Provenance(**papers) if papers else None,
            _responses(connection, prompt_id),
            [_part(connection, "demonstration", found, found["labeler"]) for found in _of(connection, select(d), d, prompt_id)],
            _rankings(connection, prompt_id),
            [_part(connection, "thumb", found, found["labeler"]) for found in _of(connection, select(t), t, prompt_id)],
            tasks,
            _answers(connection, prompt_id),
            [],
            _audit(connection, prompt_id, id),
        )
    for task in asked:
        story.doubts.extend(threads(store, task_id=task))
    return story


def _prompt_of(connection: Connection, kind: str, id: str) -> str:
    table = next(table for table in schema.metadata.sorted_tables if KINDS.get(table.name) == kind)
    return connection.execute(select(table.c.prompt_id).where(table.c.id == id)).scalar_one()


def _of(connection: Connection, query: Select[Any], table: Any, prompt: str) -> list[Mapping[Any, Any]]:
    return list(connection.execute(query.where(table.c.prompt_id == prompt).order_by(table.c.id).limit(MOST)).mappings())


def _withdrawal(connection: Connection, kind: str, id: str) -> Withdrawal | None:
    found = withdrawn_for(connection, kind, id)
    return Withdrawal(*found) if found else None


def _part(connection: Connection, kind: str, row: Mapping[Any, Any], by: str) -> Part:
    gone = _withdrawal(connection, kind, row["id"])
    text = row["text"] if "text" in row else row["response_id"]
    flags = tuple(json.loads(row["flags"])) if row.get("flags") else ()
    return Part(row["id"], text, by, row["imported"], gone, row.get("up"), flags, row.get("at", ""))


def _responses(connection: Connection, prompt: str) -> list[Part]:
    r = schema.responses
    return [_part(connection, "response", row, row["model"]) for row in _of(connection, select(r), r, prompt)]


def _rankings(connection: Connection, prompt: str) -> list[Judged]:
    k, item, found = schema.rankings, schema.ranking_items, list[Judged]()
    for row in _of(connection, select(k), k, prompt):
        query = select(item).where(item.c.ranking_id == row["id"]).order_by(item.c.rank, item.c.position)
        items = tuple(
            Ranked(one["response_id"], one["rank"], one["quality"], tuple(json.loads(one["flags"] or "[]")))
            for one in connection.execute(query).mappings()
        )
        guideline = f"{row['guideline_set']} {row['guideline_version']}"
        gone = _withdrawal(connection, "ranking", row["id"])
        found.append(Judged(row["id"], row["labeler"], items, guideline, row["imported"], gone, row["at"]))
    return found


def _tasks(connection: Connection, prompt: str) -> list[Waiting]:
    t = schema.tasks
    names = ("id", "kind", "purpose", "overlap", "taken", "open")
    return [Waiting(**{name: row[name] for name in names}) for row in _of(connection, select(t), t, prompt)]


def _answers(connection: Connection, prompt: str) -> list[Given]:
    a, t = schema.answers, schema.tasks
    query = select(a, t.c.kind).join(t, t.c.id == a.c.task_id).where(t.c.prompt_id == prompt).order_by(a.c.at, a.c.id).limit(MOST)
    found = list[Given]()
    for row in connection.execute(query).mappings():
        reason = str(json.loads(row["payload"]).get("reason") or "")
        gone = _withdrawal(connection, "answer", row["id"])
        found.append(Given(row["id"], row["kind"], row["labeler"], row["revision"], reason, row["seconds"], gone, row["at"]))
    return found


def _audit(connection: Connection, prompt: str, id: str) -> list[Entry]:
    """Return the operations on the record or its prompt, which the log names by id, alone or after the kind."""
    named = {each for one in (prompt, id) for each in (one, *(f"{kind} {one}"[:320] for kind in KINDS.values()))}
    log = schema.audit
    query = select(log).where(or_(log.c.on.in_(sorted(named)))).order_by(log.c.number).limit(MOST)
    return [Entry(**row) for row in connection.execute(query).mappings()]
