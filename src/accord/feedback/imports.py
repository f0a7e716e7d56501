"""Imports by their numbers: what each brought, and how one is taken back.

Taking back withdraws records; nothing is deleted. A record that another import brought as well stays, and is the other's from then on.
A prompt or response that something else rests on, such as a sampled response, a ranking or a task, stays too, and is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, exists, false, func, or_, select, text, update

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.arrivals import KINDS
from accord.feedback.audit import note
from accord.feedback.identity import UNDO
from accord.feedback.inserts import batches
from accord.feedback.store import ADDING, Store
from accord.feedback.withdrawals import is_withdrawn, withdraw


@dataclass(frozen=True, slots=True)
class Import:
    """An import as it was noted down."""

    number: int
    source: str
    digest: str
    """sha256 of the file, or over the names and digests of several."""
    format: str
    counts: Mapping[str, Any]
    """What its rows became, as `accord import` printed it."""
    files: Sequence[str]
    """Files of raw text and spans that hold its text, within the project."""
    at: str
    undone: str
    """When it was taken back; empty while it stands."""
    why: str


@dataclass(frozen=True)
class Undone:
    """What taking an import back did."""

    withdrawn: Mapping[str, Sequence[str]]
    """Ids of the withdrawn records, by kind."""
    handed_over: int
    """Records that another import brought as well."""
    kept: Mapping[str, int]
    """Prompts and responses that something else rests on."""
    changed_back: int
    """Prompts that lost what the import had added to them."""
    files: Sequence[str] = field(default_factory=list[str])


def every(store: Store) -> Iterator[Import]:
    """Yield the imports, ordered by number."""
    for row in store.database.rows(select(schema.imports).order_by(schema.imports.c.number)):
        yield _import(row)


def undo(store: Store, number: int, *, by: str, why: str, now: datetime, before_commit: Callable[[Undone], object] = id) -> Undone:
    """Take an import back, in one transaction.

    Args:
        before_commit: called when everything is done; an exception in it rolls everything back.

    Raises:
        StoreError: there is no such import, or it was taken back before.
    """
    i = schema.imports
    with store.write() as connection:
        if not store.database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})  # imports take turns with it
        row = connection.execute(select(i).where(i.c.number == number)).mappings().first()
        if row is None:
            raise StoreError(f"there is no import {number}", hint="`accord imports PROJECT` lists them")
        if row["undone"]:
            raise StoreError(f"import {number} was taken back at {row['undone']}", hint="import its file again to have it back")
        connection.execute(update(i).where(i.c.number == number).values(undone=now.isoformat(), why=why))
        handed_over = sum(_hand_over(connection, table, number) for table in _tables())
        changed_back = _change_back(connection, number)
        withdrawn, kept = dict[str, list[str]](), dict[str, int]()
        for table in _tables():
            rests = _rests(table, number)
            of_it = (table.c.imported == number, ~is_withdrawn(KINDS[table.name], table.c.id))
            ids = list(connection.scalars(select(table.c.id).where(*of_it, ~rests).order_by(table.c.id)))
            if left := connection.scalar(select(func.count()).where(*of_it, rests)):
                kept[table.name] = left
            withdraw(
                connection, KINDS[table.name], ((id, why or f"import {number} was undone") for id in ids), by=f"{UNDO}{number}", now=now
            )
            withdrawn[KINDS[table.name]] = ids
        gone = set(json.loads(row["files"])) - _files_of_others(connection)
        note(connection, who=by, what="undo import", on=f"import {number}: {sum(map(len, withdrawn.values()))} records", why=why, at=now)
        done = Undone(withdrawn, handed_over, kept, changed_back, sorted(gone))
        before_commit(done)
    return done


def import_of(connection: Connection, number: int) -> Import | None:
    """Return an import by its number; None when there is none."""
    row = connection.execute(select(schema.imports).where(schema.imports.c.number == number)).mappings().first()
    return _import(row) if row else None


def _import(row: Mapping[Any, Any]) -> Import:
    return Import(**{**row, "counts": json.loads(row["counts"]), "files": json.loads(row["files"])})


def _tables() -> list[Table]:
    """The tables of imported records, those that rest on others first."""
    return [schema.thumbs, schema.rankings, schema.demonstrations, schema.responses, schema.prompts]


def _hand_over(connection: Connection, table: Table, number: int) -> int:
    """Give the records that another standing import brought as well to the first of those; return how many."""
    repeat, other = schema.import_repeats, schema.imports
    theirs = (repeat.c.kind == KINDS[table.name], repeat.c.record_id == table.c.id, repeat.c.number != number, other.c.undone == "")
    heir = select(func.min(repeat.c.number)).join(other, other.c.number == repeat.c.number).where(*theirs).scalar_subquery()
    one = exists(select(repeat.c.number).join(other, other.c.number == repeat.c.number).where(*theirs))
    return connection.execute(update(table).where(table.c.imported == number, one).values(imported=heir)).rowcount


def _rests(table: Table, number: int) -> Any:
    """Return the SQL condition that something which the import did not bring rests on a record."""
    r, t = schema.responses, schema.tasks
    if table is schema.responses:
        return _rests_on_response(r, number)
    if table is not schema.prompts:
        return false()
    on_it: list[Any] = [exists(select(t.c.id).where(t.c.prompt_id == table.c.id))]
    for other in (schema.responses, schema.demonstrations, schema.rankings, schema.thumbs):
        used = (other.c.prompt_id == table.c.id, other.c.imported != number, ~is_withdrawn(KINDS[other.name], other.c.id))
        on_it.append(exists(select(other.c.id).where(*used)))
    own = r.alias()
    kept = (own.c.prompt_id == table.c.id, own.c.imported == number, ~is_withdrawn("response", own.c.id), _rests_on_response(own, number))
    return or_(*on_it, exists(select(own.c.id).where(*kept)))


def _rests_on_response(r: Any, number: int) -> Any:
    item, k, thumb, shown = schema.ranking_items, schema.rankings, schema.thumbs, schema.task_responses
    of_others = (k.c.imported != number, ~is_withdrawn("ranking", k.c.id))
    ranked = select(k.c.id).join(item, item.c.ranking_id == k.c.id).where(item.c.response_id == r.c.id, *of_others)
    liked = select(thumb.c.id).where(thumb.c.response_id == r.c.id, thumb.c.imported != number, ~is_withdrawn("thumb", thumb.c.id))
    return or_(exists(ranked), exists(liked), exists(select(shown.c.task_id).where(shown.c.response_id == r.c.id)))


def _change_back(connection: Connection, number: int) -> int:
    """Take from prompts the user and the keys of ``extra`` that an import had added, and move back those that it moved to another split.

    What another standing import brought too stays. Return the number of changed prompts.
    """
    p, c, changed = schema.prompts, schema.import_changes, set[str]()
    for change in connection.execute(select(c).where(c.c.number == number).order_by(c.c.id)).mappings().all():
        its = c.c.prompt_id == change["prompt_id"]
        # The changes of an import that was undone are deleted with it, so that all others stand.
        others = connection.execute(select(c.c.user, c.c.extra, c.c.split).where(its, c.c.number != number)).all()
        prompt = connection.execute(select(p.c.user, p.c.extra, p.c.split).where(p.c.id == change["prompt_id"])).mappings().one()
        added = set(json.loads(change["extra"])).difference(*(json.loads(other.extra) for other in others))
        left = {name: value for name, value in json.loads(prompt["extra"]).items() if name not in added}
        alone = change["user"] and all(other.user != change["user"] for other in others)
        user = "" if alone and prompt["user"] == change["user"] else prompt["user"]
        split = change["split"] if change["split"] and not any(other.split for other in others) else prompt["split"]
        extra = json.dumps(left, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        if (user, extra, split) != (prompt["user"], prompt["extra"], prompt["split"]):
            connection.execute(update(p).where(p.c.id == change["prompt_id"]).values(user=user, extra=extra, split=split))
            changed.add(change["prompt_id"])
    connection.execute(delete(c).where(c.c.number == number))
    return len(changed)


def _files_of_others(connection: Connection) -> set[str]:
    found = set[str]()
    for files in connection.scalars(select(schema.imports.c.files).where(schema.imports.c.undone == "")):
        found.update(json.loads(files))
    return found


REMOVED = "remove "
"""How the actor is named who withdraws single records: this, and the record's id."""


def remove(store: Store, id: str, *, by: str, why: str, now: datetime, kind: str = "") -> Mapping[str, Sequence[str]]:
    """Withdraw a record with what cannot be without it, and close the tasks on it; return the withdrawn ids by kind.

    A prompt takes its demonstrations, rankings and thumbs along; a response the thumbs on it, and it leaves the rankings that it is in.

    Args:
        kind: of the record; records of two kinds may have the same id. Empty takes the first.

    Raises:
        StoreError: there is no such record, or it is withdrawn.
    """
    with store.write() as connection:
        kind = kind_of(connection, id, kind)
        if connection.scalar(select(is_withdrawn(kind, id))):
            raise StoreError(f"the {kind} {id} is withdrawn already", hint="nothing was changed")
        withdrawn: dict[str, list[str]] = {kind: [id]}
        t, shown = schema.tasks, schema.task_responses
        if kind == "prompt":
            for table in (schema.demonstrations, schema.rankings, schema.thumbs):
                own = (table.c.prompt_id == id, ~is_withdrawn(KINDS[table.name], table.c.id))
                withdrawn[KINDS[table.name]] = list(connection.scalars(select(table.c.id).where(*own).order_by(table.c.id)))
            connection.execute(update(t).where(t.c.prompt_id == id).values(open=False))
        elif kind == "response":
            liked = (schema.thumbs.c.response_id == id, ~is_withdrawn("thumb", schema.thumbs.c.id))
            withdrawn["thumb"] = list(connection.scalars(select(schema.thumbs.c.id).where(*liked).order_by(schema.thumbs.c.id)))
            of_it = select(shown.c.task_id).where(shown.c.response_id == id)
            connection.execute(update(t).where(t.c.id.in_(of_it)).values(open=False))
        for each, ids in withdrawn.items():
            withdraw(connection, each, ((one, why or f"{kind} {id} was removed") for one in ids), by=f"{REMOVED}{id}"[:120], now=now)
        note(connection, who=by, what="remove", on=f"{kind} {id}"[:320], why=why, at=now)
    return withdrawn


def kind_of(connection: Connection, id: str, kind: str = "") -> str:
    """Return the kind of the record with an id, the first that has one unless a kind is named. Raises StoreError when there is none."""
    for table in reversed(_tables()):
        if kind in ("", KINDS[table.name]) and connection.scalar(select(table.c.id).where(table.c.id == id)) is not None:
            return KINDS[table.name]
    hint = "`accord export PROJECT --what rankings` shows the ids of rankings and their responses"
    raise StoreError(f"the database has no prompt, response, ranking, demonstration or thumb {id}", hint=hint)


@dataclass(frozen=True)
class Records:
    """Records as rows of snapshots show them: a ranking there has no id of its own."""

    ids: frozenset[str]
    """Of prompts, responses and demonstrations."""
    judged: frozenset[tuple[str, frozenset[str]]]
    """Labeler and responses of rankings and thumbs."""

    def in_row(self, row: Any) -> bool:
        """Return whether a snapshot's row is one of the records, or holds one."""
        if not isinstance(row, Mapping):
            return False
        fields = cast("Mapping[str, Any]", row)
        responses: list[Any] = [*fields.get("responses", ()), fields.get("response")]
        answered = frozenset[str](_id_of(response) for response in responses if response)
        named = {_id_of(fields), _id_of(fields.get("prompt")), *answered} - {""}
        return bool(named & self.ids) or (str(fields.get("labeler", "")), answered) in self.judged


def _id_of(value: Any) -> str:
    return str(cast("Mapping[str, Any]", value).get("id", "")) if isinstance(value, Mapping) else ""


def as_rows_show(store: Store, withdrawn: Mapping[str, Sequence[str]]) -> Records:
    """Return withdrawn records as rows of snapshots show them."""
    k, item, thumb = schema.rankings, schema.ranking_items, schema.thumbs
    rankings: dict[str, tuple[str, set[str]]] = {}
    judged = set[tuple[str, frozenset[str]]]()
    with store.read() as connection:
        for part in batches(withdrawn.get("ranking", ())):
            query = select(k.c.id, k.c.labeler, item.c.response_id).join(item, item.c.ranking_id == k.c.id).where(k.c.id.in_(part))
            for id, labeler, response in connection.execute(query):
                rankings.setdefault(id, (labeler, set()))[1].add(response)
        for part in batches(withdrawn.get("thumb", ())):
            for labeler, response in connection.execute(select(thumb.c.labeler, thumb.c.response_id).where(thumb.c.id.in_(part))):
                judged.add((labeler, frozenset([response])))
    judged |= {(labeler, frozenset(responses)) for labeler, responses in rankings.values()}
    ids = frozenset(id for kind in ("prompt", "response", "demonstration") for id in withdrawn.get(kind, ()))
    return Records(ids, frozenset(judged))
