"""Bulk insertion into PostgreSQL: COPY into a temporary table, then a few statements over all of its rows.

The rules are those of inserts.py: each id once, and never the same id with another content. Row by row they take three round trips
for 500 rows; here they take five for any number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, Text, text
from sqlalchemy.exc import DBAPIError

from accord.errors import StoreError
from accord.feedback import rows, schema

IN_ONE_REPORT = 2000
"""Rows between two calls of ``tell``."""
Tell = Callable[[int], object]


def copy_rows(connection: Connection, table: Table, records: Iterable[rows.TableRow], tell: Tell) -> int:
    """Insert the rows with new ids; refuse an existing id with another content. Return the number of new rows."""
    waiting = _received(connection, table, [], records, tell)
    _refuse_contradictions(connection, table, waiting)
    return _moved(connection, table, waiting)


def copy_rankings(connection: Connection, records: Iterable[tuple[rows.TableRow, Sequence[rows.TableRow]]], tell: Tell) -> int:
    """Insert rankings with new ids and their items; refuse an existing id with other items. Return the number of new rankings."""
    table, named = schema.rankings, _names(connection, schema.ranking_items)
    items = Column("items", Text)  # a ranking's items travel with it as JSON, so that they are compared and moved together
    rankings = (row | {"items": json.dumps(own, sort_keys=True)} for row, own in records)
    waiting = _received(connection, table, [items], rankings, tell)
    types = ", ".join(f"{_quoted(connection, c.name)} {'integer' if c.type.python_type is int else 'text'}" for c in schema.ranking_items.c)
    given = f"SELECT j.* FROM {waiting.name} w CROSS JOIN LATERAL json_to_recordset(w.items::json) AS j ({types})"
    _refuse_contradictions(connection, table, waiting)
    known = f"SELECT {named} FROM ranking_items JOIN {waiting.name} w ON w.id = ranking_id"
    given_known = f"{given} JOIN rankings r ON r.id = w.id"
    other = f"SELECT ranking_id FROM (({given_known} EXCEPT {known}) UNION ALL ({known} EXCEPT {given_known})) AS other"
    if (id := connection.scalar(text(f"{other} ORDER BY ranking_id LIMIT 1"))) is not None:
        raise _changed(table, id)
    _forget_known(connection, table, waiting)
    added = _moved(connection, table, waiting)
    connection.execute(text(f"INSERT INTO ranking_items ({named}) {given} ORDER BY 1, 2"))
    return added


def _received(connection: Connection, table: Table, more: Sequence[Column[Any]], records: Iterable[rows.TableRow], tell: Tell) -> Table:
    """Copy the rows into a temporary table, which is gone when the transaction ends."""
    columns = [*(Column(c.name, c.type) for c in table.c), *more]
    waiting = Table(f"incoming_{table.name}", MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")
    waiting.create(connection)
    processors = [c.type.dialect_impl(connection.dialect).bind_processor(connection.dialect) for c in columns]
    fields = [(c.name, process or _same) for c, process in zip(columns, processors, strict=True)]
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {waiting.name} ({_names(connection, waiting)}) FROM STDIN") as copy:
            number = 0
            for number, row in enumerate(records, 1):
                copy.write_row([process(row[name]) for name, process in fields])
                if number % IN_ONE_REPORT == 0:
                    tell(IN_ONE_REPORT)
            tell(number % IN_ONE_REPORT)
    except connection.dialect.loaded_dbapi.Error as error:  # the driver's own error: SQLAlchemy knows nothing of COPY
        raise DBAPIError("COPY", None, error) from error
    connection.execute(text(f"ANALYZE {waiting.name}"))  # without it the planner takes the table to be small
    return waiting


def _refuse_contradictions(connection: Connection, table: Table, waiting: Table) -> None:
    """Refuse an id with two contents, among the new rows or beside the store's; then keep one of several equal rows."""
    name = waiting.name
    twice = f"SELECT id FROM {name} GROUP BY id HAVING count(*) > 1"
    distinct = f"SELECT DISTINCT * FROM {name} WHERE id IN ({twice})"
    different = text(f"SELECT id FROM ({distinct}) AS each GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1")
    if (id := connection.scalar(different)) is not None:
        raise StoreError(f"two different {table.name} share the id {id}", hint="give each its own id")
    columns = [_quoted(connection, c.name) for c in table.c if c.name not in schema.BOOKKEEPING]
    differs = " OR ".join(f"w.{column} IS DISTINCT FROM t.{column}" for column in columns)
    changed = text(f"SELECT w.id FROM {name} w JOIN {table.name} t ON t.id = w.id WHERE {differs} ORDER BY w.id LIMIT 1")
    if (id := connection.scalar(changed)) is not None:
        raise _changed(table, id)
    connection.execute(text(f"DELETE FROM {name} w USING {name} other WHERE w.id = other.id AND w.ctid > other.ctid"))


def _forget_known(connection: Connection, table: Table, waiting: Table) -> None:
    connection.execute(text(f"DELETE FROM {waiting.name} w USING {table.name} t WHERE t.id = w.id"))


def _moved(connection: Connection, table: Table, waiting: Table) -> int:
    """Move what is new into the table, in the order of its ids: its index then grows at one place after another."""
    names = _names(connection, table)
    new = f"SELECT {names} FROM {waiting.name} w WHERE NOT EXISTS (SELECT FROM {table.name} t WHERE t.id = w.id) ORDER BY id"
    added = connection.execute(text(f"INSERT INTO {table.name} ({names}) {new}")).rowcount
    connection.execute(text(f"ANALYZE {table.name}"))  # the server itself notices the new size a minute later
    return added


def _changed(table: Table, id: str) -> StoreError:
    return StoreError(f"{table.name}: {id} is in the store with another content", hint=f"{rows.UNCHANGED}; history is not rewritten")


def _names(connection: Connection, table: Table) -> str:
    return ", ".join(_quoted(connection, c.name) for c in table.c)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _same(value: Any) -> Any:
    return value
