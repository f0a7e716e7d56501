"""The feedback database: one connection pool, safe transactions, readable errors, and tables of the current version.

A writer on SQLite takes its lock at the start (``BEGIN IMMEDIATE``). The threads of a process queue for it here, so that the busy
timeout only has to wait for other processes. A commit is on disk (synchronous FULL) before ``write`` ends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, func, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from accord.errors import StoreError
from accord.feedback import schema
from accord.runtime import packages

BUSY_SECONDS = 30
"""Seconds that a writer waits for writers of other processes."""
CONNECTIONS = 20
"""Connections per process; a thread waits when none is free."""
UPGRADING = 0x6163636F7264
"""The advisory lock that lets one process at a time create or change the tables of a PostgreSQL database."""


class Database:
    """An open database with the store's tables. Use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = engine.url.database or str(engine.url)
        self._queue = threading.Lock() if self.is_sqlite else None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self, *, wait: float = BUSY_SECONDS) -> Generator[Connection]:
        """Open a write transaction, which happens entirely or not at all. Raises StoreError when the database refuses.

        Args:
            wait: as for ``Store.write``.
        """
        options = {"write": True, "wait": wait}
        with self._turn(wait), errors(self.place, "cannot be written"), self.engine.execution_options(**options).begin() as connection:
            if wait < BUSY_SECONDS and not self.is_sqlite:
                connection.execute(text(f"SET LOCAL lock_timeout = {max(1, round(wait * 1000))}"))
            yield connection

    @contextmanager
    def _turn(self, wait: float) -> Generator[None]:
        """Wait for the threads of this process that write to SQLite."""
        if self._queue is None:
            yield
            return
        if not self._queue.acquire(timeout=wait if wait < BUSY_SECONDS else -1):
            raise StoreError("the store cannot be written: others are writing", where=self.place, hint="try again in a moment")
        try:
            yield
        finally:
            self._queue.release()

    @contextmanager
    def read(self) -> Generator[Connection]:
        """Open a read transaction. Raises StoreError when the database refuses."""
        with errors(self.place, "cannot be read"), self.engine.begin() as connection:
            yield connection

    def rows(self, query: Select[Any]) -> Iterator[Mapping[Any, Any]]:
        """Yield the rows of a query, fetched on demand."""
        with (
            errors(self.place, "cannot be read"),
            self.engine.connect() as connection,
            connection.execution_options(yield_per=2000).execute(query) as result,
        ):
            yield from result.mappings()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def connect(url: str) -> Database:
    """Open a database with the current tables: create them in an empty one, migrate an older one.

    Raises:
        StoreError: the address is invalid, or the database is corrupt, out of reach, of another program or of a newer version.
    """
    database = Database(_engine(url))
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: Database) -> None:
    version = _version(database)
    if version > schema.VERSION:
        what = f"the feedback database has version {version}, newer than {schema.VERSION}, the newest that this accord reads"
        raise StoreError(what, where=database.place, hint="install a newer Accord: pip install -U accord-rlhf")
    if version < schema.VERSION:
        with database.write() as connection:
            bring_forward(connection)


def _version(database: Database) -> int:
    """Return the version of the tables, 0 for an empty database. Raises StoreError when the tables are not ours."""
    with errors(database.place, "cannot be opened"), database.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        version = _stored_version(connection) if schema.meta.name in tables else None
    if tables and version is None:
        raise StoreError("the database belongs to another program", where=database.place, hint="name another file; a new one is created")
    return int(version or 0)


def _stored_version(connection: Connection) -> str | None:
    return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "version"))


def bring_forward(connection: Connection) -> None:
    """Create the tables, or migrate older ones, in the given transaction. A second process finds the work done."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
    if not inspect(connection).has_table(schema.meta.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.meta).values(key="version", value=str(schema.VERSION)))
        connection.execute(insert(schema.alembic_version).values(version_num=f"{schema.VERSION:04}"))
    elif int(_stored_version(connection) or 0) < schema.VERSION:
        from accord.feedback.migrations import upgrade

        upgrade(connection)


def count(connection: Connection, *where: Any) -> int:
    """Return the number of rows that meet ``where``, in the table that it refers to."""
    return connection.scalar(select(func.count()).where(*where)) or 0


def _engine(url: str) -> Engine:
    try:
        sqlite_options: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
        address = make_url(url)
        in_memory = address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:")
        engine = create_engine(address, **({} if in_memory else sqlite_options))
    except (ArgumentError, NoSuchModuleError) as error:
        hint = "for example sqlite:///feedback.sqlite"
        raise StoreError("not the address of a feedback database", where="store", hint=hint) from error
    except ModuleNotFoundError as error:
        hint = packages.install("psycopg") if error.name == "psycopg" else f"pip install {error.name}"
        raise StoreError(f"this kind of store needs the package {error.name}", where="store", hint=hint) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None
    busy = f"busy_timeout={BUSY_SECONDS * 1000}"
    for pragma in (busy, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once. A transaction that reads first could find that another has written since, and fail without waiting."""
    options = connection.get_execution_options()
    if not options.get("write"):
        connection.exec_driver_sql("BEGIN")
        return
    wait = float(options["wait"])
    if wait == BUSY_SECONDS:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout={round(wait * 1000)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


@contextmanager
def errors(place: str, what: str) -> Generator[None]:
    """Turn a database error into a StoreError. The driver's own errors come unwrapped out of the connect event."""
    try:
        yield
    except DBAPIError as error:
        said = " ".join(str(error.orig).split())
        raise StoreError(f"the store {what}: {said}", where=place, hint=_hint(said)) from error
    except PoolTimeout as error:
        raise StoreError(f"the store {what}: every connection is busy", where=place, hint="try again in a moment") from error
    except sqlite3.Error as error:
        raise StoreError(f"the store {what}: {error}", where=place, hint="check that it is a store and writable") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"the store {what}: a text holds half of a surrogate pair", where=place, hint="nothing was stored") from error


def _hint(said: str) -> str:
    if "connection failed" in said or "connection is bad" in said:
        return "is the server running, and is the address right?"
    return ""
