"""A store with rows in every one of its tables, made from the schema alone, and its rows as the driver reads them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Connection, Float, Integer, LargeBinary, Table, insert, select

from accord.feedback import schema
from accord.feedback.store import Store

ROWS = 3
TEXTS = ("plain", "\0 and \x1a, \x1a0 and \x1a1", '面包 "quoted" \\ \n\t\u2028 \U0001f600')
BOOKS = ("meta", "alembic_version")
READ = {"messages": '[["user", "Hi %d?"]]', "extra": "{}", "tokens": "1,%d", "flags": "[]", "profile": '{"n": %d}', "role": "labeler"}
"""Columns that are read as more than text, such as JSON."""


def fill(connection: Connection) -> None:
    for table in schema.metadata.sorted_tables:
        if table.name not in BOOKS:
            connection.execute(insert(table), [row(table, number) for number in range(ROWS)])


def row(table: Table, number: int) -> dict[str, Any]:
    """A row that nothing refuses: keys count up, and what refers to another table has that table's key of the same number."""
    return {column.name: value(column, number) for column in table.c}


def value(column: Any, number: int) -> Any:
    if column.foreign_keys:
        return value(next(iter(column.foreign_keys)).column, number)
    if isinstance(column.type, Boolean):
        return number % 2 == 1
    if isinstance(column.type, Integer):
        return number + 1
    if isinstance(column.type, LargeBinary):
        return f"{column.name}{number}".encode() + bytes([0, 255])
    if isinstance(column.type, Float):
        return 0.1 + number / 3
    if column.name in READ:
        return READ[column.name].replace("%d", str(number))
    if isinstance(column.type, schema.FreeText):
        return TEXTS[number % len(TEXTS)]
    if column.name in ("id", "token", "who", "key"):
        return f"{column.table.name[:20]}-{number}-é"
    if column.nullable and number == 0:
        return None
    return f"{column.name[:6]}{number}"


def rows(store: Store, *, without: tuple[str, ...] = ("sessions", "attempts")) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table as plain values, sorted by their own text."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with store.read() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name not in (*BOOKS, *without):
                found[table.name] = sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
    return found
