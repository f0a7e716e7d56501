"""The feedback database: one connection pool, safe transactions, readable errors, and tables of the current version.

A writer on SQLite takes its lock at the start (``BEGIN IMMEDIATE``). The threads of a process queue for it here, so that the busy
timeout only has to wait for other processes. A commit is on disk (synchronous FULL) before ``write`` ends.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, func, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from accord.errors import StoreError
from accord.feedback import schema
from accord.runtime import packages
from accord.runtime.files import OWNER_ONLY, clean, temporary
from accord.runtime.store_address import without_password

BUSY_SECONDS = 30
"""Seconds that a writer waits for writers of other processes."""
BEING_MADE = 10.0
"""Seconds in which a database of 0 bytes may be one that another process is making."""
ANSWER_SECONDS = 30.0
"""Longest wait of a page for an answer of the database."""
CONNECTIONS = 20
"""Connections per process; a thread waits when none is free."""
_PATIENCE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How long to wait for a PostgreSQL server that neither answers nor closes: seconds, and milliseconds for what was sent."""
_LIMITS = "-c idle_in_transaction_session_timeout=600s -c lock_timeout=60s"
"""The server's limits for a client of ours that went silent, and for a lock that another holds."""
LONGEST_ANSWER = 1800.0
"""Seconds until a command gives up a PostgreSQL server that says nothing to one statement; servers give it less."""
MOVED = "moved"
"""The key in ``meta`` under which a store that moved away says where it is now."""
ARRIVING = "arriving"
"""The key in ``meta`` with which a database says that it is being filled by a move."""
UPGRADING = 0x6163636F7264
"""The advisory lock that lets one process at a time create or change the tables of a PostgreSQL database."""


class Database:
    """An open database with the store's tables. Use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = engine.url.database or without_password(str(engine.url))
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


def connect(url: str, *, seconds: float = LONGEST_ANSWER) -> Database:
    """Open a database with the current tables: create them in an empty one, migrate an older one.

    Args:
        seconds: longest wait for an answer of a PostgreSQL server that neither answers nor closes.

    Raises:
        StoreError: the address is invalid, or the database is corrupt, out of reach, of another program or of a newer version.
    """
    database = Database(_engine(url, seconds))
    try:
        _check_log(database)
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def unprepared(url: str, *, moving: bool = False) -> Generator[Database]:
    """Open a database for a copy of a whole store: one without tables stays so, and an older one is migrated.

    Args:
        moving: whether a move may have begun or ended here.

    Raises:
        StoreError: as ``connect`` does.
    """
    database = Database(_engine(url, LONGEST_ANSWER))
    try:
        _check_log(database)
        if _version(database):
            _prepare(database, moving=moving)
        yield database
    finally:
        database.close()


def _check_log(database: Database) -> None:
    """Make sure that SQLite loses nothing of a damaged log without a word, before its first connection reads it."""
    place = Path(database.place)
    if database.is_sqlite and place.with_name(f"{place.name}-wal").is_file():
        from accord.feedback.write_ahead import refuse_damage

        refuse_damage(place)


def _prepare(database: Database, *, moving: bool = False) -> None:
    version = _version(database)
    if version > schema.VERSION:
        what = f"the feedback database has version {version}, newer than {schema.VERSION}, the newest that this accord reads"
        raise StoreError(what, where=database.place, hint="install a newer Accord: pip install -U accord-rlhf")
    if version < schema.VERSION:
        with database.write() as connection:
            bring_forward(connection)
    if moving:
        return
    if place := noted(database, MOVED):
        hint = f"if accord.toml still names this one: accord move-store PROJECT --to {place}"
        raise StoreError(f"the store has moved to {place}", where=database.place, hint=hint)
    if noted(database, ARRIVING):
        raise StoreError("a move into this database was not finished", where=database.place, hint="run `accord move-store` again")


def noted(database: Database, key: str) -> str:
    """Return what a store's table ``meta`` says under a key; empty when nothing."""
    with errors(database.place, "cannot be read"), database.engine.connect() as connection:
        return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == key)) or ""


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


def _engine(url: str, seconds: float) -> Engine:
    try:
        pool: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
        address = make_url(url)
        in_memory = address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:")
        if address.get_backend_name() == "postgresql":
            pool |= {"connect_args": _patience(address)}
        engine = create_engine(address, **({} if in_memory else pool))
    except (ArgumentError, NoSuchModuleError) as error:
        hint = "for example sqlite:///feedback.sqlite"
        raise StoreError("not the address of a feedback database", where="store", hint=hint) from error
    except ModuleNotFoundError as error:
        hint = packages.install("psycopg") if error.name == "psycopg" else f"pip install {error.name}"
        raise StoreError(f"this kind of store needs the package {error.name}", where="store", hint=hint) from error
    if engine.dialect.name == "sqlite":
        _own(address.database or "")
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        from accord.feedback.postgres_deadline import connector

        event.listen(engine, "do_connect", connector(seconds))
    return engine


def _patience(address: URL) -> dict[str, Any]:
    """Return the limits of a connection to PostgreSQL; what the address says itself goes before ours."""
    given = address.query.get("options", "")
    limits = f"{_LIMITS} {given if isinstance(given, str) else ' '.join(given)}".strip()
    return {key: value for key, value in _PATIENCE.items() if key not in address.query} | {"options": limits}


def _own(place: str) -> None:
    """Create a file of SQLite's that is not there yet so that only its owner may read it; its log files get the same rights."""
    if place in ("", ":memory:") or place.startswith("file:"):
        return
    try:
        if not Path(place).exists():
            _make(Path(place))
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
    except FileExistsError:
        _refuse_emptied(Path(place))
    except OSError:
        return  # it cannot be created, which opening it will tell


_MAKING = threading.Lock()
"""Lets one thread at a time prepare a file; another process has another name for its own."""


def _make(file: Path) -> None:
    """Give a new file its name with SQLite's head in it, so that a kill leaves none of 0 bytes; where links are unknown, do nothing."""
    clean(file.parent, file.name)
    unfinished = temporary(file)
    with _MAKING, suppress(OSError, sqlite3.Error):
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            os.link(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


def _refuse_emptied(file: Path) -> None:
    """Raise StoreError for a database of 0 bytes, which held something once. One that another process creates now is empty for a moment."""
    with suppress(OSError):
        told, log = file.stat(), file.with_name(f"{file.name}-wal")
        logged = log.stat().st_size if log.exists() else 0
        if file.is_file() and not told.st_size and not logged and abs(time.time() - told.st_mtime) > BEING_MADE:
            hint = "restore it from a backup (accord restore); if it never held anything, delete the file"
            raise StoreError("the feedback database is empty, 0 bytes long: what it held is lost", where=str(file), hint=hint)


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


LOG_AT_LEAST = 1 << 16
"""Bytes that SQLite needs to open its write-ahead log."""


@contextmanager
def errors(place: str, what: str) -> Generator[None]:
    """Turn a database error into a StoreError. The driver's own errors come unwrapped out of the connect event."""
    try:
        yield
    except DBAPIError as error:
        said = without_password(" ".join(str(error.orig).split()))
        if "disk I/O error" in said and _full(place):  # SQLite's words when its log cannot be made
            said = "the disk is full"
        if "unable to open database file" in said and _read_only(place):  # as when it may not make its log
            said = "the disk is read-only"
        raise StoreError(f"the store {what}: {said}", where=place, hint=_hint(said)) from error
    except PoolTimeout as error:
        raise StoreError(f"the store {what}: every connection is busy", where=place, hint="try again in a moment") from error
    except sqlite3.Error as error:
        said = "the disk is read-only" if _read_only(place) else str(error)
        hint = _hint(said) or "check that it is a store and writable"
        raise StoreError(f"the store {what}: {said}", where=place, hint=hint) from error
    except UnicodeEncodeError as error:
        raise StoreError(f"the store {what}: a text holds half of a surrogate pair", where=place, hint="nothing was stored") from error


def _hint(said: str) -> str:
    if "connection failed" in said or "connection is bad" in said:
        return "is the server running, and is the address right?"
    if "disk is full" in said:
        return "free some space, then run the same command again; what was acknowledged is there"
    if "readonly" in said or "read-only" in said:
        return "make the disk and the file writable, or work on a copy elsewhere; nothing was changed"
    if "malformed" in said or "not a database" in said:
        return "the file is damaged; keep it, and make a new project of the last backup: `accord restore`"
    return ""


def _full(place: str) -> bool:
    """Return whether the disk of a database's file has no room left for its log."""
    try:
        return shutil.disk_usage(Path(place).parent).free < LOG_AT_LEAST
    except (OSError, ValueError):
        return False


def _read_only(place: str) -> bool:
    """Return whether a database's file is there, in a folder that cannot be written."""
    path = Path(place)
    return path.is_file() and not os.access(path.parent, os.W_OK)
