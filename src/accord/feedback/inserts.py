"""Insertion of records inside a transaction: each id once, and never the same id with another content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from accord.errors import StoreError
from accord.feedback import rows, schema
from accord.records import Demonstration, MediaFile, Prompt, Ranking, Response, Thumb

IN_ONE_QUERY = 500
Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int = IN_ONE_QUERY) -> Iterator[list[Item]]:
    """Yield the items in lists of ``size``; the last one may be shorter."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def add_rows(connection: Connection, table: Table, records: Sequence[rows.TableRow]) -> int:
    """Insert the rows with new ids; refuse an existing id with another content."""
    unique: dict[str, rows.TableRow] = {}
    for row in in_force(connection, records) if table is schema.prompts else records:
        if unique.setdefault(row["id"], row) != row:
            raise StoreError(f"two different {table.name} share the id {row['id']}", hint="give each its own id")
    there = {row["id"]: row for row in by_id(connection, table, set(unique))}
    for id, row in there.items():
        if any(row[name] != value for name, value in unique[id].items() if name not in schema.BOOKKEEPING):
            raise StoreError(f"{table.name}: {id} is in the store with another content", hint=f"{rows.UNCHANGED}; history is not rewritten")
    new = [row for id, row in unique.items() if id not in there]
    insert_rows(connection, table, new)
    if table is schema.prompts:
        note_uses(connection, "prompt", {row["id"]: rows.media_in(row["messages"]) for row in new})
    return len(new)


def in_force(connection: Connection, prompts: Sequence[rows.TableRow]) -> list[rows.TableRow]:
    """Return rows of prompts whose recordings have the transcripts in force: what a person corrected is not brought back by an import.

    A transcript that a model wrote is not in force over another one that comes with the row.
    """
    spoken = {digest for row in prompts for digest in rows.media_in(row["messages"])}
    known = transcripts_in_force(connection, spoken) if spoken else {}
    return [row | {"messages": rows.with_transcripts(row["messages"], known)} for row in prompts] if known else list(prompts)


def transcripts_in_force(connection: Connection, recordings: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Return the transcripts of those recordings whose transcript was written or corrected here, and whether a person did.

    Locks these recordings against a correction that comes meanwhile, until the transaction ends.
    """
    t, m, found = schema.transcripts, schema.media, dict[str, tuple[str, bool]]()
    for part in batches(sorted(recordings)):
        connection.execute(select(m.c.digest).where(m.c.digest.in_(part)).order_by(m.c.digest).with_for_update(read=True)).all()
        query = select(t.c.recording, t.c.text, t.c.kind).where(t.c.recording.in_(part), t.c.undone == "").order_by(t.c.number)
        found |= {row.recording: (row.text, row.kind == "person") for row in connection.execute(query)}
    return found


def note_uses(connection: Connection, kind: str, uses: Mapping[str, Iterable[str]]) -> None:
    """Note which pictures and recordings, by their digests, new records of a kind hold.

    Raises:
        StoreError: one of them is not stored; media are added before the records that hold them.
    """
    found = [(id, digest) for id, digests in uses.items() for digest in dict.fromkeys(digests)]
    there, m = set[str](), schema.media
    for part in batches(sorted({digest for _, digest in found})):
        there.update(connection.scalars(select(m.c.digest).where(m.c.digest.in_(part))))
    for id, digest in found:
        if digest not in there:
            what = f"{kind} {id}: the store has no picture or recording {digest[:12]}"
            raise StoreError(what, hint=f"{rows.UNCHANGED}; add its file with the record")
    insert_rows(connection, schema.media_uses, [{"kind": kind, "record_id": id, "digest": digest} for id, digest in found])


def add_media(connection: Connection, files: Iterable[MediaFile], *, at: str = "") -> int:
    """Store the files of pictures and recordings, each once by its digest; return the number of new ones.

    Args:
        at: when they came, ISO 8601; empty where nobody asks.
    """
    m, added = schema.media, 0
    for each in files:
        digest = each.digest
        if connection.scalar(select(m.c.digest).where(m.c.digest == digest)) is None:
            row = {"digest": digest, "kind": each.kind, "mime": each.mime, "width": each.width, "height": each.height}
            insert_new(connection, m, row | {"content": each.content, "added": at})
            added += 1
    return added


def add_demonstrations(connection: Connection, demonstrations: Sequence[Demonstration]) -> int:
    known(connection, schema.labelers, {d.labeler for d in demonstrations}, "labeler")
    return add_rows(connection, schema.demonstrations, [rows.of_demonstration(d) for d in demonstrations])


def add_responses(connection: Connection, responses: Sequence[Response]) -> int:
    known(connection, schema.prompts, {response.prompt_id for response in responses}, "prompt")
    return add_rows(connection, schema.responses, [rows.of_response(response) for response in responses])


def add_rankings(connection: Connection, rankings: Sequence[Ranking]) -> int:
    known(connection, schema.labelers, {r.labeler for r in rankings}, "labeler")
    known(connection, schema.prompts, {r.prompt_id for r in rankings}, "prompt")
    wanted: set[str] = set()
    for ranking in rankings:
        wanted.update(ranking.response_ids)
    owners = {row["id"]: row["prompt_id"] for row in by_id(connection, schema.responses, wanted)}
    unique: dict[str, Ranking] = {}
    for ranking in rankings:
        rows.check_ranking(ranking, owners)
        if unique.setdefault(ranking.id, ranking) != ranking:
            raise StoreError(f"two different rankings share the id {ranking.id}", hint=rows.UNCHANGED)
    return add_ranking_rows(connection, [rows.of_ranking(r) for r in unique.values()], {id: rows.of_items(r) for id, r in unique.items()})


def add_thumbs(connection: Connection, thumbs: Sequence[Thumb]) -> int:
    known(connection, schema.labelers, {thumb.labeler for thumb in thumbs}, "labeler")
    return add_rows(connection, schema.thumbs, [rows.of_thumb(thumb) for thumb in thumbs])


def add_ranking_rows(connection: Connection, rankings: Sequence[rows.TableRow], items: Mapping[str, Sequence[rows.TableRow]]) -> int:
    """Insert rankings with new ids and their items; refuse an existing id with other items."""
    before = {row["id"] for row in by_id(connection, schema.rankings, set(items))}
    added = add_rows(connection, schema.rankings, rankings)
    new_items = list[rows.TableRow]()
    for id, own in items.items():
        if id not in before:
            new_items += own
    insert_rows(connection, schema.ranking_items, new_items)
    _same_items(connection, {id: items[id] for id in before})
    return added


def insert_rows(connection: Connection, table: Table, records: Sequence[rows.TableRow]) -> None:
    if records:
        connection.execute(insert(table), list(records))


def insert_new(connection: Connection, table: Table, row: rows.TableRow) -> None:
    """Insert a row unless its key is there, also when another transaction inserts the same at this moment."""
    made = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    connection.execute(made.values(dict(row)).on_conflict_do_nothing())


def by_id(connection: Connection, table: Table, ids: set[str]) -> Iterator[Mapping[Any, Any]]:
    for part in batches(sorted(ids)):
        yield from connection.execute(select(table).where(table.c.id.in_(part))).mappings()


def prompts_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Prompt]:
    """Return the existing prompts among the ids."""
    return {row["id"]: rows.prompt(row) for row in by_id(connection, schema.prompts, set(ids))}


def responses_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Response]:
    """Return the existing responses among the ids."""
    return {row["id"]: rows.response(row) for row in by_id(connection, schema.responses, set(ids))}


def known(connection: Connection, table: Table, ids: set[str], what: str) -> None:
    missing = sorted(ids - {row["id"] for row in by_id(connection, table, ids)})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StoreError(f"the store knows no {what} {missing[0]}{more}", hint=rows.UNCHANGED)


def _same_items(connection: Connection, items: Mapping[str, Sequence[rows.TableRow]]) -> None:
    """Refuse stored rankings, by id, whose items are others than the given ones."""
    item = schema.ranking_items
    for part in batches(sorted(items)):
        stored: dict[str, list[rows.TableRow]] = {id: [] for id in part}
        query = select(item).where(item.c.ranking_id.in_(part)).order_by(item.c.ranking_id, item.c.position)
        for row in connection.execute(query).mappings():
            stored[row["ranking_id"]].append(dict(row))
        for id, own in stored.items():
            if own != list(items[id]):
                raise StoreError(f"rankings: {id} is in the store with another content", hint=f"{rows.UNCHANGED}; history is not rewritten")
