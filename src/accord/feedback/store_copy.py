"""Whole stores as lines, for backups and moves: every row of every table, the same on SQLite and PostgreSQL, to a digest and back.

A line is a row as JSON, and a table's lines are in the order of its key. The same rows give the same bytes on both databases.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, Connection, LargeBinary, MetaData, Table, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from accord.errors import InputError, StoreError
from accord.feedback import schema
from accord.feedback.database import Database, bring_forward, errors
from accord.feedback.inserts import IN_ONE_QUERY, batches

BOOKS = frozenset({"meta", "alembic_version"})
"""Tables about the store itself, which a copy gets anew."""
PASSING = frozenset({"sessions", "attempts"})
"""Tables about browsers that are signed in. Nobody's work depends on them."""
IN_ONE_REPORT = 1000
Tell = Callable[[str, int], object]


@dataclass(frozen=True, slots=True)
class Counted:
    """A table's rows, counted, and the SHA-256 of their lines."""

    rows: int
    sha256: str


def names(*, sessions: bool) -> list[str]:
    """Return the tables that a copy has, what is referred to before what refers to it."""
    left_out = BOOKS | (PASSING - {"sessions"} if sessions else PASSING)
    return [table.name for table in schema.metadata.sorted_tables if table.name not in left_out]


@contextmanager
def one_moment(database: Database) -> Generator[Connection]:
    """Open a transaction that sees the database as it is at one moment, whatever others write meanwhile, and holds none of them up."""
    with errors(database.place, "cannot be read"), database.engine.connect() as connection:
        if not database.is_sqlite:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            connection.execute(select(schema.meta.c.value)).all()  # the moment is that of the first look
            yield connection


def lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """Yield the rows of a table as lines in the order of its key, fetched as they are asked for."""
    columns = [column.name for column in table.c]
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": _at_once(table)}):
        fields = dict(zip(columns, row, strict=True))
        yield (json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=_in_base64) + "\n").encode()


def _at_once(table: Table) -> int:
    """How many rows are held in memory: a few where each may be a picture of some megabytes."""
    return 8 if _binary(table) else 2000


def _binary(table: Table) -> list[str]:
    """The columns of a table that hold bytes."""
    return [column.name for column in table.c if isinstance(column.type, LargeBinary)]


def _in_base64(value: object) -> str:
    """Bytes as JSON can hold them."""
    if not isinstance(value, bytes):
        raise TypeError(f"a column holds {type(value).__name__}, which no backup can")
    return base64.b64encode(value).decode("ascii")


def counted(said: Iterable[bytes]) -> Counted:
    """Count lines, and take their digest."""
    digest, rows = hashlib.sha256(), 0
    for line in said:
        digest.update(line)
        rows += 1
    return Counted(rows, digest.hexdigest())


def contents(connection: Connection, *, sessions: bool = False) -> dict[str, Counted]:
    """Count and digest every table of a store."""
    return {name: counted(lines(connection, schema.metadata.tables[name])) for name in names(sessions=sessions)}


def digest(tables: Mapping[str, Counted]) -> str:
    """Return one digest of a store: of its tables' names, counts and digests."""
    said = [f"{name} {tables[name].rows} {tables[name].sha256}\n" for name in sorted(tables) if tables[name].rows]
    return hashlib.sha256("".join(said).encode()).hexdigest()


def is_empty(connection: Connection) -> bool:
    """Return whether a store has no row in any table, apart from its own version."""
    tables = [table for table in schema.metadata.sorted_tables if table.name not in BOOKS]
    return not any(connection.scalar(select(func.count()).select_from(select(table).limit(1).subquery())) for table in tables)


def clear(connection: Connection) -> None:
    """Take every row out of a store's tables."""
    for table in reversed(schema.metadata.sorted_tables):
        if table.name not in BOOKS:
            connection.execute(table.delete())


def load(database: Database, version: int, given: Mapping[str, Iterable[bytes]]) -> int | None:
    """Fill a database with the tables of a store of any version, and bring it to today's, all of it or nothing.

    Returns:
        The number of rows; None, and nothing is done, when the database has rows already.

    Raises:
        InputError: a table is unknown to the version, or a line is no row.
        StoreError: the database refuses a row.
    """
    with database.write() as connection:
        if inspect(connection).has_table(schema.meta.name) and not is_empty(connection):
            return None
        order = _tables_of(connection, version)
        if unknown := sorted(set(given) - set(order)):
            raise InputError(f"the store has no table {unknown[0]}", hint="the backup was made by another version of Accord")
        rows = 0
        for name in order:
            if name in given:
                rows += fill(connection, name, given[name]).rows
        bring_forward(connection)
    return rows


def _tables_of(connection: Connection, version: int) -> list[str]:
    """Give a database without rows the tables of a version, and return their names, what is referred to first."""
    if version == schema.VERSION:
        bring_forward(connection)
        return names(sessions=True)
    from accord.feedback.migrations import upgrade

    there = MetaData()
    there.reflect(connection)
    there.drop_all(connection)
    upgrade(connection, f"{version:04}")
    made = MetaData()
    made.reflect(connection)
    return [table.name for table in made.sorted_tables if table.name not in BOOKS]


def fill(connection: Connection, name: str, said: Iterable[bytes], tell: Tell = lambda _, __: None) -> Counted:
    """Insert lines into a table as it is in this database; return their count and digest.

    Raises:
        InputError: a line is no row of this table.
        StoreError: the database refuses a row.
    """
    table = _table(connection, name)
    digest, number = hashlib.sha256(), 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal number
        for number, line in enumerate(said, 1):
            digest.update(line)
            yield _row(table, line, number)
            if number % IN_ONE_REPORT == 0:
                tell(name, number)

    if connection.dialect.name == "postgresql":
        _copy(connection, table, rows())
    else:
        for part in batches(rows(), min(IN_ONE_QUERY, _at_once(table))):
            connection.execute(insert(table), part)
    _count_on(connection, table)
    return Counted(number, digest.hexdigest())


def _table(connection: Connection, name: str) -> Table:
    """Return a table as it is in this database, with the types of ours, which know how each database writes a text."""
    ours = schema.metadata.tables.get(name)
    if not inspect(connection).has_table(name):
        raise InputError(f"the store has no table {name}", hint="the backup was made by another version of Accord")
    found = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    if ours is not None and set(ours.c.keys()) == set(found.c.keys()):
        return ours
    for column in found.c:
        if ours is not None and column.name in ours.c:
            column.type = ours.c[column.name].type
    return found


def _row(table: Table, line: bytes, number: int) -> dict[str, Any]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{table.name}, line {number}: not a row", hint="the backup is damaged: take another") from error
    if not isinstance(row, dict) or set(cast("dict[str, Any]", row)) != set(table.c.keys()):
        raise InputError(f"{table.name}, line {number}: other columns than the table's", hint="restore it with the Accord that made it")
    found = cast("dict[str, Any]", row)
    for column in _binary(table):
        try:
            found[column] = base64.b64decode(found[column], validate=True)
        except (ValueError, TypeError) as error:
            hint = "the backup is damaged: take another"
            raise InputError(f"{table.name}, line {number}: {column} is not base 64", hint=hint) from error
    return found


def _copy(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows into PostgreSQL by COPY."""
    fields: list[tuple[str, Callable[[Any], Any] | None]] = []
    for column in cast("Iterable[Column[Any]]", table.c):
        fields.append((column.name, column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)))
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name, _ in fields)
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {quote(table.name)} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([process(row[name]) if process else row[name] for name, process in fields])
    except connection.dialect.loaded_dbapi.Error as error:  # the driver's own error: SQLAlchemy knows nothing of COPY
        raise DBAPIError("COPY", None, error) from error


def _count_on(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number further rows after those that came with their numbers; SQLite does so by itself."""
    key = list(table.primary_key.columns)
    if connection.dialect.name != "postgresql" or len(key) != 1 or key[0].type.python_type is not int:
        return
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": key[0].name})
    if sequence and (last := connection.scalar(select(func.max(key[0])))):
        connection.execute(text("SELECT setval(CAST(:sequence AS regclass), :last)"), {"sequence": sequence, "last": last})


def refuse_differences(found: Mapping[str, Counted], wanted: Mapping[str, Counted], place: str) -> None:
    """Make sure that two stores have the same rows. Raises StoreError, which names the tables that differ."""
    differ = sorted(name for name in {*found, *wanted} if found.get(name, NOTHING) != wanted.get(name, NOTHING))
    if differ:
        raise StoreError(f"what was written is not what was read back: {', '.join(differ)}", where=place, hint="nothing was changed")


NOTHING = Counted(0, hashlib.sha256().hexdigest())
"""A table without rows."""
