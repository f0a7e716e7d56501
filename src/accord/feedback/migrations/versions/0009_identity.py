"""One prompt is one prompt: prompts get the key of their conversation, and doubles that imports made are joined. Imports get numbers.

Until version 8 a prompt's id contained the file's name, so the same prompt in another file was another one, often in another split, and
responses that were sampled here came back from a file as finished ones without tokens. A double (a prompt with an id of the importer,
``p-...``) joins the prompt with the same conversation and user, or if it names no user, the one that was asked here. What rests on it
moves along; its row stays, withdrawn, as do the rows of its responses that are the other's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

from accord.feedback.identity import Said, paired
from accord.feedback.rows import stored_key
from accord.feedback.schema import FreeText, name

revision, down_revision = "0009", "0008"
IN_ONE_GO = 1_000
MIGRATION = "migration"
NUMBERED = ("prompts", "demonstrations", "responses", "rankings", "thumbs")
MOVED = ("demonstrations", "responses", "rankings", "tasks", "thumbs")
"""Tables with a column prompt_id whose rows follow a double to the prompt that it joins."""


def upgrade() -> None:
    op.add_column("prompts", sa.Column("key", name(40), nullable=False, server_default=""))
    for table in NUMBERED:
        op.add_column(table, sa.Column("imported", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_prompts_key"), "prompts", ["key"])
    op.create_table(
        "imports",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", name(64), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("undone", name(40), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
    )
    op.create_table(
        "import_repeats",
        sa.Column("number", sa.Integer(), sa.ForeignKey("imports.number"), nullable=False),
        sa.Column("kind", name(16), nullable=False),
        sa.Column("record_id", name(320), nullable=False),
        sa.PrimaryKeyConstraint("number", "kind", "record_id"),
    )
    op.create_index("import_repeats_of", "import_repeats", ["kind", "record_id"])
    op.create_table(
        "import_changes",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("number", sa.Integer(), sa.ForeignKey("imports.number"), nullable=False),
        sa.Column("prompt_id", name(120), sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("user", name(120), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
    )
    op.create_index(op.f("ix_import_changes_number"), "import_changes", ["number"])
    connection = op.get_bind()
    _give_keys(connection)
    _join_doubles(connection)


def _table(table: str, *columns: str) -> Any:
    return sa.table(table, *map(sa.column, columns))


def _give_keys(connection: Any) -> None:
    """Write each prompt's key, a thousand at a time in the order of their ids."""
    p = _table("prompts", "id", "messages", "key")
    change = sa.update(p).where(p.c.id == sa.bindparam("its_id")).values(key=sa.bindparam("its_key"))
    query = sa.select(p.c.id, p.c.messages).order_by(p.c.id).limit(IN_ONE_GO)
    batch = query
    while rows := connection.execute(batch).all():
        connection.execute(change, [{"its_id": id, "its_key": stored_key(messages)} for id, messages in rows])
        batch = query.where(p.c.id > rows[-1][0])


def _join_doubles(connection: Any) -> None:
    p, w = _table("prompts", "id", "key", "user"), _table("withdrawn", "kind", "record_id")
    gone = sa.exists(sa.select(w.c.record_id).where(w.c.kind == "prompt", w.c.record_id == p.c.id))
    several = sa.select(p.c.key).where(p.c.key != "", ~gone).group_by(p.c.key).having(sa.func.count() > 1)
    query = sa.select(p.c.key, p.c.id, p.c.user).where(p.c.key.in_(several), ~gone).order_by(p.c.key, p.c.id)
    # All are read first, since the loop changes what the query reads.
    for _, group in groupby(connection.execute(query).all(), key=lambda row: row[0]):
        _join(connection, [(id, user) for _, id, user in group])


def _join(connection: Any, same: Sequence[tuple[str, str]]) -> None:
    """Join the doubles among prompts of one conversation.

    Args:
        same: id and user of each.
    """
    sampled = _sampled(connection, [id for id, _ in same])
    # The prompt that stays is one of the project's own, or one with a user, or one whose responses were sampled here.
    order = sorted(same, key=lambda prompt: (prompt[0].startswith("p-"), not prompt[1], prompt[0] not in sampled, prompt[0]))
    stay = list[tuple[str, str]]()
    for id, user in order:
        others = [other for other, their in stay if user in ("", their)]
        if id.startswith("p-") and others:
            _move(connection, id, others)
        else:
            stay.append((id, user))


def _sampled(connection: Any, ids: Iterable[str]) -> set[str]:
    r = _table("responses", "prompt_id", "tokens")
    return set(connection.scalars(sa.select(r.c.prompt_id).where(r.c.prompt_id.in_(list(ids)), r.c.tokens != "")))


def _move(connection: Any, double: str, others: Sequence[str]) -> None:
    """Move what rests on a double to the one of the others that has most of its responses."""
    p, r = _table("prompts", "id", "source"), _table("responses", "id", "prompt_id", "text", "model", "tokens")
    source = connection.scalar(sa.select(p.c.source).where(p.c.id == double))

    def responses(prompt: str) -> Iterator[Any]:
        query = sa.select(r.c.id, r.c.text, r.c.model).where(r.c.prompt_id == prompt)
        yield from connection.execute(query.order_by(r.c.tokens == "", r.c.id)).all()  # those that were sampled here first

    in_tasks = _in_tasks(connection, double)
    incoming = [Said(id, text, None if model == source else model) for id, text, model in responses(double) if id not in in_tasks]
    best, pairs = others[0], dict[str, str]()
    for other in others:
        found = paired(incoming, [Said(*row) for row in responses(other)])
        if len(found) > len(pairs):
            best, pairs = other, found
    for old, new in pairs.items():
        for table in ("ranking_items", "thumbs"):
            t = _table(table, "response_id")
            connection.execute(sa.update(t).where(t.c.response_id == old).values(response_id=new))
    for table in MOVED:
        t = _table(table, "id", "prompt_id")
        kept = [t.c.id.not_in(list(pairs))] if table == "responses" and pairs else []
        connection.execute(sa.update(t).where(t.c.prompt_id == double, *kept).values(prompt_id=best))
    w = sa.table("withdrawn", *map(sa.column, ("kind", "record_id", "replaced_by", "by", "why", "at")))
    rest = {"replaced_by": "", "by": MIGRATION, "why": f"the same prompt as {best}", "at": datetime.now(UTC).isoformat()}
    connection.execute(sa.insert(w).values(kind="prompt", record_id=double, **rest))


def _in_tasks(connection: Any, prompt: str) -> set[str]:
    """Return the responses to a prompt that labelers were shown: their answers name them by id."""
    t, shown = _table("tasks", "id", "prompt_id"), _table("task_responses", "task_id", "response_id")
    query = sa.select(shown.c.response_id).select_from(shown.join(t, t.c.id == shown.c.task_id)).where(t.c.prompt_id == prompt)
    return set(connection.scalars(query))
