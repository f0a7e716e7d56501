"""The move of a store to another database: everything arrives there and is compared, and only then the old one is closed for good.

1. The old store's writers are held up, and every row is copied, in one transaction, into a database that says so (``arriving``).
2. The copy is read back and compared by its digests.
3. The old store is sealed: a note where it moved, and triggers that refuse every further write, also those of a site that has it open.
4. The new one drops its mark. The caller then names it in accord.toml.

Killed before 3 is on disk, the old store is in force as before; after it, the same command goes on with 4. There is no moment in which
both would take an answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, delete, insert, text

from accord.errors import InputError, StoreError
from accord.feedback import schema, store_copy
from accord.feedback.database import ARRIVING, MOVED, Database, bring_forward, noted
from accord.feedback.store_copy import Counted, Tell

MOVE = "move"
"""The key in ``meta`` of the old store with the number of its move."""
ARRIVED = "arrived"
"""The key in ``meta`` of the new store with the number of the move that filled it."""
TRIES = 5
"""Attempts to hold up the writers of a PostgreSQL store, which may ask for the tables in another order."""


def move(old: Database, new: Database, place: str, *, sessions: bool, tell: Tell = lambda _, __: None) -> dict[str, Counted]:
    """Move all rows of a store, and seal the old one; return the rows of the new one, by table.

    Args:
        new: a database without rows, or one that an interrupted move left behind.
        place: how the old store calls the new one, without a password.
        sessions: whether browsers stay signed in.

    Raises:
        InputError: the new database has rows, or the store has moved to another one.
        StoreError: one of the databases refuses, or what was read back differs; the old store is as it was.
    """
    number = noted(old, MOVE)
    if not number:
        number = secrets.token_hex(8)
        with _writers_held(old) as leaving:
            sent = _sent(leaving, new, number, sessions=sessions, tell=tell)
            with store_copy.one_moment(new) as connection:
                store_copy.refuse_differences(store_copy.contents(connection, sessions=sessions), sent, new.place)
            _note(leaving, {MOVED: place, MOVE: number})
            _seal(leaving)
    return _finished(new, number, sessions=sessions)


def _sent(leaving: Connection, new: Database, number: str, *, sessions: bool, tell: Tell) -> dict[str, Counted]:
    """Copy all rows in one transaction. Raises InputError when the new database holds a store that is in use."""
    unfinished = bool(_version_there(new) and noted(new, ARRIVING))
    with new.write() as arriving:
        bring_forward(arriving)
        if unfinished:
            store_copy.clear(arriving)
            _drop(arriving, ARRIVING)
        if not store_copy.is_empty(arriving):
            raise InputError("the database has rows already", where=new.place, hint="name one without rows by --to")
        _note(arriving, {ARRIVING: number})
        sent = dict[str, Counted]()
        for name in store_copy.names(sessions=sessions):
            sent[name] = store_copy.fill(arriving, name, store_copy.lines(leaving, schema.metadata.tables[name]), tell)
    return sent


def _finished(new: Database, number: str, *, sessions: bool) -> dict[str, Counted]:
    """Take the mark of an unfinished move away from the new store, and return its rows.

    Raises:
        InputError: this database is not the one that the store moved to.
    """
    if not _version_there(new) or number not in (noted(new, ARRIVING), noted(new, ARRIVED)):
        raise InputError("the store has moved, and not to this database", where=new.place, hint="name the right one by --to")
    with new.write() as connection:
        _drop(connection, ARRIVING)
        _drop(connection, ARRIVED)
        _note(connection, {ARRIVED: number})
    with store_copy.one_moment(new) as connection:
        return store_copy.contents(connection, sessions=sessions)


@contextmanager
def _writers_held(old: Database) -> Generator[Connection]:
    """Open a write transaction beside which nobody else writes; readers go on."""
    if old.is_sqlite:
        with old.write() as connection:  # SQLite has one writer at a time
            yield connection
        return
    tables = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
    for left in reversed(range(TRIES)):
        held = False
        try:
            with old.write() as connection:
                connection.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))
                held = True
                yield connection
            return
        except StoreError as error:
            if held or not left or "deadlock" not in error.what:
                raise


def _seal(connection: Connection) -> None:
    """Have the old store refuse every further write, in the given transaction; a process that has it open notices at its next one."""
    said = "the store has moved; start again what has it open"
    if connection.dialect.name == "sqlite":
        for table in schema.metadata.sorted_tables:
            for change in ("INSERT", "UPDATE", "DELETE"):
                name = f"sealed_{table.name}_{change.lower()}"
                raised = f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
                connection.exec_driver_sql(f'CREATE TRIGGER "{name}" BEFORE {change} ON "{table.name}" {raised}')
        return
    raised = f"BEGIN RAISE EXCEPTION '{said}'; END"
    connection.exec_driver_sql(f"CREATE FUNCTION accord_sealed() RETURNS trigger LANGUAGE plpgsql AS $$ {raised} $$")
    for table in schema.metadata.sorted_tables:
        when = f'BEFORE INSERT OR UPDATE OR DELETE ON "{table.name}" FOR EACH STATEMENT'
        connection.exec_driver_sql(f"CREATE TRIGGER accord_sealed {when} EXECUTE FUNCTION accord_sealed()")


def _version_there(database: Database) -> bool:
    with database.engine.connect() as connection:
        return connection.dialect.has_table(connection, schema.meta.name)


def _note(connection: Connection, said: dict[str, str]) -> None:
    connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in said.items()])


def _drop(connection: Connection, key: str) -> None:
    connection.execute(delete(schema.meta).where(schema.meta.c.key == key))
