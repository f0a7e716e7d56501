"""Bulk insertion of records: first into files while they are read, then into the store in one transaction.

The store is locked only during the final write, and a source that turns out to be broken at its end leaves no trace in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, insert, text, update

from accord.errors import StoreError
from accord.feedback import rows, schema
from accord.feedback.arrivals import Arrivals
from accord.feedback.inserts import add_media, add_ranking_rows, add_rows, batches
from accord.feedback.media import remove_unused
from accord.feedback.postgres_copy import copy_rankings, copy_rows
from accord.feedback.store import ADDING, Store
from accord.records import Demonstration, Labeler, MediaFile, Prompt, Ranking, Response, Thumb

Tell = Callable[[int], object]
Bulk = Callable[[Connection, str, Iterator[Any], Tell], int]
Storable = Prompt | Labeler | Demonstration | Response | Ranking | Thumb
TABLES: tuple[str, ...] = ("labelers", "prompts", "demonstrations", "responses", "rankings", "thumbs")
"""Tables in the order of writing, so that every row finds the rows it refers to."""
IN_ONE_BATCH = 2000
CACHE_KIB = 128 << 10
"""Size of SQLite's page cache during bulk writes: ids are hashes, so every insert goes to another page."""
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class About:
    """An import, for its row in the table of imports."""

    source: str
    digest: str
    format: str
    at: str
    counts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What its rows became."""

    def begin(self, connection: Connection) -> int:
        """Add the import's row and return its number."""
        values = {"source": self.source, "digest": self.digest, "format": self.format, "at": self.at}
        empty = {"counts": "{}", "files": "[]", "undone": "", "why": ""}
        done = connection.execute(insert(schema.imports).values(values | empty))
        return int((done.inserted_primary_key or (0,))[0])

    def end(self, connection: Connection, stored: Stored, more: Mapping[str, Any]) -> None:
        """Write down what the import brought; ``more`` holds the names of its ``files``, and further counts."""
        counts = {**self.counts, **stored.metrics, **{name: value for name, value in more.items() if name != "files"}}
        values = {"counts": json.dumps(counts, ensure_ascii=False), "files": json.dumps(more.get("files", []), ensure_ascii=False)}
        connection.execute(update(schema.imports).where(schema.imports.c.number == stored.number).values(values))


@dataclass(frozen=True)
class Stored:
    """What became of the records."""

    arrivals: Arrivals
    labelers: int

    @property
    def number(self) -> int:
        """The import's number."""
        return self.arrivals.number

    @property
    def moved(self) -> Mapping[str, str]:
        """The stored response that an incoming one is, where their ids differ."""
        return self.arrivals.moved

    @property
    def new(self) -> dict[str, int]:
        """Number of new records per kind."""
        return {"labelers": self.labelers, **self.arrivals.new}

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the numbers of new and of known records, and what else is worth saying."""
        found = self.arrivals
        known = {table: count for table, count in found.known.items() if count}
        told = {"already_there": known, "other_extra": found.other_extra, "other_split": found.other_split, "removed_before": found.removed}
        splits = {"held_out": len(found.held_out), "user_in_two_splits": found.user_in_two_splits}
        return self.new | {name: value for name, value in (told | splits).items() if value}


class _Found:
    """Incoming responses by id, read from their file when they are wanted. Only those of prompts that were there can be."""

    def __init__(self, file: IO[str], wanted: Callable[[str], bool]) -> None:
        self.path, self._places = Path(file.name), dict[str, int]()
        file.flush()
        place = 0
        with self.path.open("rb") as lines:
            for line in lines:
                row = json.loads(line)
                if wanted(row["prompt_id"]):
                    self._places[row["id"]] = place
                place += len(line)

    def __call__(self, ids: Iterable[str]) -> dict[str, rows.TableRow]:
        with self.path.open("rb") as file:
            found = dict[str, rows.TableRow]()
            for id in sorted(set(ids), key=self._place):
                file.seek(self._place(id))
                found[id] = json.loads(file.readline())
        return found

    def _place(self, id: str) -> int:
        if id not in self._places:
            raise StoreError(f"the import names a response {id} that it does not bring", hint=rows.UNCHANGED)
        return self._places[id]


class Spool:
    """Rows for the store in files of a folder, one file per table. Use it as a context manager; call ``add`` before ``store``.

    Args:
        split_given: whether somebody chose the split of the rows.
    """

    def __init__(self, folder: Path, *, split_given: bool = True) -> None:
        self.folder, self.counts = folder, dict[str, int].fromkeys(TABLES, 0)
        self.split_given, self._measured = split_given, set[str]()
        self._files: dict[str, IO[str]] = {}
        self._open, self._people = ExitStack(), set[Labeler]()
        self.media: Iterable[MediaFile] = ()
        """The files of pictures in the prompts."""

    def __enter__(self) -> Spool:
        for table in TABLES:
            self._files[table] = self._open.enter_context((self.folder / f"{table}.jsonl").open("w+", encoding="utf-8", newline="\n"))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, records: Iterable[Storable], *, measured: bool = False) -> None:
        """Add records to the files.

        Args:
            measured: whether they are of an evaluation set, so that prompts that its format holds out leave the training split.
        """
        for record in records:
            if measured and isinstance(record, Prompt) and record.split != "train":
                self._measured.add(record.id)
            if isinstance(record, Labeler):
                if record in self._people:
                    continue
                self._people.add(record)
            table, row = _row(record)
            self._files[table].write(_ENCODE(row) + "\n")
            self.counts[table] += 1

    def store(
        self,
        store: Store,
        about: About,
        *,
        before_commit: Callable[[Stored], Mapping[str, Any]] = lambda _: {},
        tell: Callable[[int], object] = id,
    ) -> Stored:
        """Write all rows in one transaction, each record once; what is in the store already is found and not added again.

        Args:
            about: describes the import, which gets the next number.
            before_commit: called when everything was accepted, returns what the import's row says besides; an exception in it rolls
                everything back.
            tell: receives the number of rows as they are written.

        Raises:
            StoreError: an id exists with another content, or the store cannot be written; nothing was stored.
        """
        with store.write() as connection:
            if store.database.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA cache_size=-{CACHE_KIB}")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})
            number = about.begin(connection)
            brought = list(self._media(connection, about.at))
            bulk = self._written if store.database.is_sqlite else self._copied
            stored = self._arrive(connection, Arrivals(connection, number, self._measured, self.split_given), bulk, tell)
            remove_unused(connection, brought)  # those of prompts that were there, or removed before
            about.end(connection, stored, before_commit(stored))
            return stored

    def _media(self, connection: Connection, at: str) -> Iterator[str]:
        """Store the pictures, one after another, and yield their digests."""
        for file in self.media:
            add_media(connection, [file], at=at)
            yield file.digest

    def _arrive(self, connection: Connection, arrivals: Arrivals, bulk: Bulk, tell: Tell) -> Stored:
        """Write table after table: in bulk what belongs to new prompts, with a closer look what belongs to prompts that were there."""
        people = bulk(connection, "labelers", self._rows("labelers"), tell) if self.counts["labelers"] else 0
        for batch in batches(self._rows("prompts"), IN_ONE_BATCH):
            arrivals.prompts(batch)
            tell(len(batch))

        def met(table: str) -> Iterator[Any]:
            return (row for row in self._rows(table) if arrivals.is_met(_prompt_of(row)))

        for table in TABLES[2:]:
            if self.counts[table]:
                fresh = (_numbered(row, arrivals.number) for row in self._rows(table) if not arrivals.is_met(_prompt_of(row)))
                arrivals.new[table] += bulk(connection, table, fresh, tell)
        by_id = _Found(self._files["responses"], arrivals.is_met)
        for batch in batches(met("demonstrations"), IN_ONE_BATCH):
            arrivals.demonstrations(batch)
            tell(len(batch))
        for batch in batches(met("rankings"), IN_ONE_BATCH):
            arrivals.rankings(batch, by_id)
            tell(len(batch))
        for batch in batches(met("thumbs"), IN_ONE_BATCH):
            arrivals.thumbs(batch, by_id)
            tell(len(batch))
        for batch in batches((row for row in met("responses") if not arrivals.is_placed(row["id"])), IN_ONE_BATCH):
            arrivals.responses(batch)
            tell(len(batch))
        return Stored(arrivals, people)

    def _written(self, connection: Connection, table: str, given: Iterator[Any], tell: Tell) -> int:
        added = 0
        for batch in batches(given, IN_ONE_BATCH):
            added += _add(connection, table, batch)
            tell(len(batch))
        return added

    def _copied(self, connection: Connection, table: str, given: Iterator[Any], tell: Tell) -> int:
        if table == "rankings":
            return copy_rankings(connection, given, tell)
        return copy_rows(connection, schema.metadata.tables[table], given, tell)

    def _rows(self, table: str) -> Iterator[Any]:
        file = self._files[table]
        file.seek(0)
        return map(json.loads, file)


def _prompt_of(row: Any) -> str:
    return row[0]["prompt_id"] if isinstance(row, list) else row["prompt_id"]


def _numbered(row: Any, number: int) -> Any:
    """Return a row with the number of its import; a ranking comes with the rows of its items."""
    return [row[0] | {"imported": number}, row[1]] if isinstance(row, list) else row | {"imported": number}


def _add(connection: Connection, table: str, batch: Sequence[Any]) -> int:
    if table == "rankings":
        items: dict[str, Any] = {}
        for row, own in batch:
            if items.setdefault(row["id"], own) != own:
                raise StoreError(f"two different rankings share the id {row['id']}", hint="give each its own id")
        return add_ranking_rows(connection, [row for row, _ in batch], items)
    return add_rows(connection, schema.metadata.tables[table], batch)


def _row(record: Storable) -> tuple[str, Any]:
    match record:
        case Prompt():
            return "prompts", rows.of_prompt(record)
        case Labeler():
            return "labelers", rows.of_labeler(record)
        case Demonstration():
            return "demonstrations", rows.of_demonstration(record)
        case Response():
            return "responses", rows.of_response(record)
        case Ranking():
            return "rankings", (rows.of_ranking(record), rows.of_items(record))
        case Thumb():
            return "thumbs", rows.of_thumb(record)
