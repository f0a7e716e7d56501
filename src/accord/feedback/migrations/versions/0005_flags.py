"""Flags become identifiers: in rankings and thumbs, in answers and drafts, and in the answers that gold tasks expect.

Until version 4 a flag was stored as the English sentence that the page showed. ``FORMER_FLAGS`` has each sentence's identifier; a flag
of somebody's own, out of an imported file, stays as it is.
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
"""Tables whose column is a JSON list of flags, with their keys."""
PAYLOADS = (("answers", ("id",), "payload"), ("drafts", ("task_id", "labeler"), "payload"), ("tasks", ("id",), "expected"))
"""Tables whose column is the answer to a task as JSON, with their keys."""
SEPARATORS = {"answers": (",", ":"), "drafts": (",", ":"), "tasks": (", ", ": ")}
"""Separators of each: an answer that is sent again is the same answer only where its JSON is the same to the byte."""


def upgrade() -> None:
    for table, keys, column in LISTS:
        _rewrite(table, keys, column, _list_renamed)
    for table, keys, column in PAYLOADS:
        _rewrite(table, keys, column, partial(_payload_renamed, separators=SEPARATORS[table]))


def _rewrite(name: str, keys: tuple[str, ...], column: str, renamed: Callable[[str], str]) -> None:
    """Rewrite a column where it holds a former flag, a thousand rows at a time in the order of the keys."""
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
    """Return an answer with its flags renamed; nothing else in it, a reason in the same words included, is touched."""
    payload: Any = json.loads(text)
    if "prompt_flags" in payload:
        payload["prompt_flags"] = [flag_named(flag) for flag in payload["prompt_flags"]]
    for part in ("ratings", "turns"):
        for rating in payload.get(part, {}).values():
            if "flags" in rating:
                rating["flags"] = [flag_named(flag) for flag in rating["flags"]]
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=separators)
