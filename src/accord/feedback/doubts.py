"""Doubts of labelers: a note to the lead beside a task, the thread that follows, and the rule of the guideline that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from accord.feedback import guidelines, schema
from accord.feedback.audit import note
from accord.feedback.guideline_pictures import Reader
from accord.feedback.guidelines import LANGUAGES, Language
from accord.feedback.inserts import batches
from accord.feedback.queue import digest
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Guideline, GuidelineSet
from accord.runtime.files import write_atomic

LONGEST = 4_000
"""Maximum length of a note in characters."""
HEADINGS: Mapping[Language, str] = {"en": "## Grown from doubts", "zh": "## 由疑问而来"}
"""The part of a guideline where rules are added."""


@dataclass(frozen=True, slots=True)
class Note:
    """One message of a thread."""

    by: str
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule or an example of a guideline that grew from a doubt, and the version in which it came."""

    guideline: Guideline
    doubt: str
    text: str
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A thread between a labeler and the leads about one task."""

    id: str
    task_id: str
    labeler: str
    set: GuidelineSet
    at: str
    settled: str
    """When a lead settled it; empty while it is open."""
    notes: tuple[Note, ...]
    rules: tuple[Rule, ...]

    @property
    def waits(self) -> bool:
        """Whether the labeler has had the last word and no lead has settled it."""
        return not self.settled and bool(self.notes) and self.notes[-1].by == self.labeler

    @property
    def answered(self) -> bool:
        """Whether a lead has had the last word."""
        return bool(self.notes) and self.notes[-1].by != self.labeler


def ask(store: Store, labeler: str, task_id: str, text: str, *, now: datetime) -> str:
    """Add a labeler's note to the thread beside a task, and open the thread if needed; return its id.

    Raises:
        Refused: the task was not given to this labeler (403), or the note is empty or too long (422).
    """
    written, d, a = _written(text), schema.doubts, schema.assignments
    id = "q-" + digest("doubt", task_id, labeler)
    with store.write() as connection:
        mine = select(a.c.task_id).where(a.c.task_id == task_id, a.c.labeler == labeler)
        if connection.scalar(mine) is None:
            raise Refused("not_yours", 403, task_id)
        if connection.scalar(select(d.c.id).where(d.c.id == id)) is None:
            of_task = connection.scalar(select(schema.tasks.c.guideline_set).where(schema.tasks.c.id == task_id))
            values = {"id": id, "task_id": task_id, "labeler": labeler, "guideline_set": of_task}
            connection.execute(insert(d).values(**values, at=now.isoformat(), settled=""))
        connection.execute(update(d).where(d.c.id == id).values(settled=""))
        _add(connection, id, labeler, written, now)
    return id


def reply(store: Store, id: str, text: str, *, by: str, now: datetime) -> None:
    """Add a lead's answer to a thread.

    Raises:
        Refused: there is no such thread (404), or the note is empty or too long (422).
    """
    written = _written(text)
    with store.write() as connection:
        _known(connection, id)
        _add(connection, id, by, written, now)


def settle(store: Store, id: str, *, by: str, now: datetime) -> None:
    """Close a thread, with a row in the audit log; the labeler's next note opens it again. Raises Refused (404) for an unknown one."""
    d = schema.doubts
    with store.write() as connection:
        _known(connection, id)
        connection.execute(update(d).where(d.c.id == id).values(settled=now.isoformat()))
        note(connection, who=by, what="settle", on=id, why="", at=now)


def grow_rule(
    store: Store, project: Path, id: str, texts: Mapping[Language, str], *, by: str, now: datetime, reader: Reader | None = None
) -> Guideline:
    """Add a rule or an example to the guideline of the doubt's task, settle the doubt, and return the guideline's new version.

    The project gets texts of its own for that guideline if it has none. The rule is written below a heading at their end.

    Args:
        texts: by language; a missing one gets the text of the other.
        reader: reads the guideline's pictures.

    Raises:
        Refused: there is no such thread (404), or the rule is empty or too long (422).
    """
    given: dict[Language, str] = {language: " ".join(text.split()) for language, text in texts.items() if text.strip()}
    first = _written(next(iter(given.values()), ""))
    for text in given.values():
        _written(text)
    rules, d = schema.guideline_rules, schema.doubts
    with store.write() as connection:  # one lead at a time: the files are read and written within
        set: GuidelineSet = _known(connection, id)["guideline_set"]
        texts_now: dict[Language, str] = {language: guidelines.load(set, language, project) for language in LANGUAGES}
        for language, text in texts_now.items():
            path = guidelines.path_of(project, set, language)
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, _with_rule(text, HEADINGS[language], given.get(language, first)))
        guideline = guidelines.reference(set, project)
        told = given.get("en", first) if len(given) < 2 else "\n".join(given[language] for language in LANGUAGES)
        values = {"set": set, "version": guideline.version, "doubt": id, "rule": told, "by": by, "at": now.isoformat()}
        connection.execute(insert(rules).values(**values))
        connection.execute(update(d).where(d.c.id == id).values(settled=now.isoformat()))
        note(connection, who=by, what="rule", on=id, why=f"{set} {guideline.version}", at=now)
    guidelines.keep(store, set, now=now, project=project, reader=reader)
    return guideline


def threads(store: Store, *, labeler: str = "", task_id: str = "") -> list[Doubt]:
    """Return threads, those that wait for a lead first, then the newest.

    Args:
        labeler: only this labeler's.
        task_id: only those beside this task.
    """
    d = schema.doubts
    query: Select[Any] = select(d).order_by(d.c.at.desc(), d.c.id)
    if labeler:
        query = query.where(d.c.labeler == labeler)
    if task_id:
        query = query.where(d.c.task_id == task_id)
    with store.read() as connection:
        rows = connection.execute(query).mappings().all()
        ids = [row["id"] for row in rows]
        notes, rules = _notes(connection, ids), _rules(connection, ids)
    found = [
        Doubt(
            row["id"],
            row["task_id"],
            row["labeler"],
            row["guideline_set"],
            row["at"],
            row["settled"],
            tuple(notes.get(row["id"], ())),
            tuple(rules.get(row["id"], ())),
        )
        for row in rows
    ]
    return sorted(found, key=lambda doubt: not doubt.waits)


def waiting(store: Store) -> int:
    """Return the number of threads that wait for a lead."""
    return sum(doubt.waits for doubt in threads(store))


def rules_of(store: Store, set: GuidelineSet) -> list[Rule]:
    """Return the rules of a guideline that grew from doubts, newest first."""
    r = schema.guideline_rules
    with store.read() as connection:
        rows = connection.execute(select(r).where(r.c.set == set).order_by(r.c.number.desc())).mappings().all()
    return [_rule(row) for row in rows]


def _with_rule(text: str, heading: str, rule: str) -> str:
    body = text.rstrip("\n")
    return f"{body}\n- {rule}\n" if heading in body else f"{body}\n\n{heading}\n- {rule}\n"


def _written(text: str) -> str:
    if not text.strip():
        raise Refused("nothing_said")
    if len(text) > LONGEST:
        raise Refused("too_long")
    return text.strip()


def _add(connection: Connection, id: str, by: str, text: str, now: datetime) -> None:
    connection.execute(insert(schema.doubt_notes).values(doubt=id, by=by, text=text, at=now.isoformat()))


def _known(connection: Connection, id: str) -> Mapping[Any, Any]:
    row = connection.execute(select(schema.doubts).where(schema.doubts.c.id == id).with_for_update()).mappings().first()
    if row is None:
        raise Refused("no_such_doubt", 404, id)
    return row


def _notes(connection: Connection, ids: list[str]) -> dict[str, list[Note]]:
    n, found = schema.doubt_notes, dict[str, list[Note]]()
    for row in _of(connection, select(n).order_by(n.c.number), n.c.doubt, ids):
        found.setdefault(row["doubt"], []).append(Note(row["by"], row["text"], row["at"]))
    return found


def _rules(connection: Connection, ids: list[str]) -> dict[str, list[Rule]]:
    r, found = schema.guideline_rules, dict[str, list[Rule]]()
    for row in _of(connection, select(r).order_by(r.c.number), r.c.doubt, ids):
        found.setdefault(row["doubt"], []).append(_rule(row))
    return found


def _of(connection: Connection, query: Select[Any], column: Any, ids: list[str]) -> Iterator[Mapping[Any, Any]]:
    for part in batches(ids):
        yield from connection.execute(query.where(column.in_(part))).mappings()


def _rule(row: Mapping[Any, Any]) -> Rule:
    return Rule(Guideline(row["set"], row["version"]), row["doubt"], row["rule"], row["by"], row["at"])
