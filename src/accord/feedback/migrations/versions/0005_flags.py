"""Conversion of flags to identifiers: in rankings, thumbs, answers, drafts, and expected answers of gold tasks.

Until version 4 a flag was stored as the English sentence shown on the page. ``FORMER_FLAGS`` maps each sentence to its identifier.
Custom flags from imported files stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

from accord.records import FORMER_FLAGS, flag_named

revision, down_revision = "0005", "0004"
IN_ONE_GO = 1_000
LISTS = (("ranking_items", ("ranking_id", "position"), "flags"), ("thumbs", ("id",), "flags"))
"""Tables with a column that is a JSON list of flags, with their keys."""
PAYLOADS = (("answers", ("id",), "payload"), ("drafts", ("task_id", "labeler"), "payload"), ("tasks", ("id",), "expected"))
"""Tables with a column that is an answer as JSON, with their keys."""
SEPARATORS = {"answers": (",", ":"), "drafts": (",", ":"), "tasks": (", ", ": ")}
"""JSON separators of each table; an answer sent again is recognised only if its JSON is equal to the byte."""


def upgrade() -> None:
    for table, keys, column in LISTS:
        _rewrite(table, keys, column, _list_renamed)
    for table, keys, column in PAYLOADS:
        _rewrite(table, keys, column, partial(_payload_renamed, separators=SEPARATORS[table]))


def _rewrite(name: str, keys: tuple[str, ...], column: str, renamed: Callable[[str], str]) -> None:
    """Rewrite a column where it contains a former flag, a thousand rows at a time in order of the keys."""
    connection: Any = op.get_bind()
    table: Any = sa.table(name, *map(sa.column, keys), sa.column(column))
    key: list[Any] = [table.c[part] for part in keys]
    holds_one = sa.or_(*(table.c[column].contains(f'"{sentence}"', autoescape=True) for sentence in FORMER_FLAGS))
    query: Any = sa.select(*key, table.c[column]).where(holds_one).order_by(*key).limit(IN_ONE_GO)
    change = sa.update(table).where(*(part == sa.bindparam(f"key_{part.name}") for part in key)).values({column: sa.bindparam("new")})
    names, batch = [*(f"key_{part.name}" for part in key), "new"], query
    while rows := connection.execute(batch).all():
        connection.execute(change, [dict(zip(names, (*row[:-1], renamed(row[-1])), strict=True)) for row in rows])
        last: list[Any] = [sa.literal(value) for value in rows[-1][:-1]]
        batch = query.where(sa.tuple_(*key) > sa.tuple_(*last))


def _list_renamed(text: str) -> str:
    return json.dumps([flag_named(flag) for flag in json.loads(text)])


def _payload_renamed(text: str, separators: tuple[str, str]) -> str:
    """Return an answer with its flags renamed. Nothing else changes, not even a reason in the same words."""
    payload: Any = json.loads(text)
    if "prompt_flags" in payload:
        payload["prompt_flags"] = [flag_named(flag) for flag in payload["prompt_flags"]]
    for part in ("ratings", "turns"):
        for rating in payload.get(part, {}).values():
            if "flags" in rating:
                rating["flags"] = [flag_named(flag) for flag in rating["flags"]]
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=separators)
