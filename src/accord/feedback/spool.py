"""Bulk insertion of records: first into files while they are read, then into the store in one transaction.

The store is locked only during the final write, and a source that turns out to be broken at its end leaves no trace in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, text

from accord.errors import StoreError
from accord.feedback import rows, schema
from accord.feedback.inserts import add_ranking_rows, add_rows, batches
from accord.feedback.postgres_copy import copy_rankings, copy_rows
from accord.feedback.store import ADDING, Store
from accord.records import Demonstration, Labeler, Prompt, Ranking, Response, Thumb

Storable = Prompt | Labeler | Demonstration | Response | Ranking | Thumb
TABLES: tuple[str, ...] = ("labelers", "prompts", "demonstrations", "responses", "rankings", "thumbs")
"""Tables in the order of writing, so that every row finds the rows it refers to."""
IN_ONE_BATCH = 2000
CACHE_KIB = 128 << 10
"""Size of SQLite's page cache during bulk writes: ids are hashes, so every insert goes to another page."""
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Spool:
    """Rows for the store in files of a folder, one file per table. Use it as a context manager; call ``add`` before ``store``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.counts = folder, dict[str, int].fromkeys(TABLES, 0)
        self._files: dict[str, IO[str]] = {}
        self._open, self._people = ExitStack(), set[Labeler]()

    def __enter__(self) -> Spool:
        for table in TABLES:
            self._files[table] = self._open.enter_context((self.folder / f"{table}.jsonl").open("w+", encoding="utf-8", newline="\n"))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, records: Iterable[Storable]) -> None:
        """Add records to the files."""
        for record in records:
            if isinstance(record, Labeler):
                if record in self._people:
                    continue
                self._people.add(record)
            table, row = _row(record)
            self._files[table].write(_ENCODE(row) + "\n")
            self.counts[table] += 1

    def store(
        self, store: Store, *, before_commit: Callable[[], object] = lambda: None, tell: Callable[[int], object] = id
    ) -> dict[str, int]:
        """Write all rows in one transaction, each record once by its id; return the number of new ones per kind.

        Args:
            before_commit: called when everything was accepted; an exception in it rolls everything back.
            tell: receives the number of rows as they are written.

        Raises:
            StoreError: an id exists with another content, or the store cannot be written; nothing was stored.
        """
        with store.write() as connection:
            if store.database.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA cache_size=-{CACHE_KIB}")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})
            write = self._written if store.database.is_sqlite else self._copied
            added = {table: write(connection, table, tell) if self.counts[table] else 0 for table in TABLES}
            before_commit()
            return added

    def _written(self, connection: Connection, table: str, tell: Callable[[int], object]) -> int:
        added = 0
        for batch in batches(self._rows(table), IN_ONE_BATCH):
            added += _add(connection, table, batch)
            tell(len(batch))
        return added

    def _copied(self, connection: Connection, table: str, tell: Callable[[int], object]) -> int:
        if table == "rankings":
            return copy_rankings(connection, self._rows(table), tell)
        return copy_rows(connection, schema.metadata.tables[table], self._rows(table), tell)

    def _rows(self, table: str) -> Iterator[Any]:
        file = self._files[table]
        file.seek(0)
        return map(json.loads, file)


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
