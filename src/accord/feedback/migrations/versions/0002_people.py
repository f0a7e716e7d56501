"""Labelers and the site: accounts, tasks, answers, withdrawals, the audit log, guidelines that were read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0002", "0001"


NAMES = {
    "meta": {"key": 40},
    "prompts": {"id": 120, "split": 12, "use_case": 40, "user": 120},
    "labelers": {"id": 120, "kind": 12, "group": 120},
    "demonstrations": {"id": 160, "prompt_id": 120, "labeler": 120},
    "responses": {"id": 160, "prompt_id": 120},
    "rankings": {"id": 320, "prompt_id": 120, "labeler": 120, "guideline_set": 12, "guideline_version": 40, "at": 40},
    "ranking_items": {"ranking_id": 320, "response_id": 160},
}
"""Columns of version 1 that sort by their bytes from this version on; on SQLite they always did."""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _sort_by_bytes()
    _create()


def _sort_by_bytes() -> None:
    for table, columns in NAMES.items():
        for column, length in columns.items():
            op.execute(f'ALTER TABLE {table} ALTER COLUMN "{column}" TYPE VARCHAR({length}) COLLATE "C"')
    for table in ("demonstrations", "responses"):
        op.execute(f"UPDATE {table} SET text = replace(text, chr(26), chr(26) || '1')")


def _create() -> None:
    op.create_table("attempts", sa.Column("who", name(120), nullable=False), sa.Column("at", sa.Float(), nullable=False))
    op.create_index("attempts_of", "attempts", ["who", "at"], unique=False)
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("who", name(120), nullable=False),
        sa.Column("what", name(40), nullable=False),
        sa.Column("on", name(320), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "guidelines",
        sa.Column("set", name(12), nullable=False),
        sa.Column("version", name(40), nullable=False),
        sa.Column("language", name(8), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.PrimaryKeyConstraint("set", "version", "language"),
    )
    op.create_table(
        "withdrawn",
        sa.Column("kind", name(16), nullable=False),
        sa.Column("record_id", name(320), nullable=False),
        sa.Column("replaced_by", name(40), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "kind"),
    )
    op.create_table(
        "accounts",
        sa.Column("id", name(120), nullable=False),
        sa.Column("role", name(12), nullable=False),
        sa.Column("name", FreeText(), nullable=False),
        sa.Column("created", name(40), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("qualified", sa.Boolean(), nullable=False),
        sa.Column("profile", FreeText(), nullable=False),
        sa.ForeignKeyConstraint(
            ["id"],
            ["labelers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "excluded",
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler"],
            ["labelers.id"],
        ),
        sa.PrimaryKeyConstraint("labeler"),
    )
    op.create_table(
        "guidelines_read",
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("set", name(12), nullable=False),
        sa.Column("version", name(40), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler"],
            ["labelers.id"],
        ),
        sa.PrimaryKeyConstraint("labeler", "set", "version"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", name(160), nullable=False),
        sa.Column("kind", name(16), nullable=False),
        sa.Column("prompt_id", name(120), nullable=False),
        sa.Column("guideline_set", name(12), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("purpose", name(16), nullable=False),
        sa.Column("expected", sa.Text(), nullable=True),
        sa.Column("reserved_for", name(120), nullable=False),
        sa.Column("repeats", name(160), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_tasks_prompt_id"), "tasks", ["prompt_id"], unique=False)
    op.create_index(
        "tasks_next", "tasks", ["reserved_for", "purpose", "kind", "open", sa.literal_column("priority DESC"), "place", "id"], unique=False
    )
    op.create_index("tasks_place", "tasks", ["place"], unique=False)
    op.create_table(
        "answers",
        sa.Column("id", name(40), nullable=False),
        sa.Column("task_id", name(160), nullable=False),
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("key", name(80), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("guideline_set", name(12), nullable=False),
        sa.Column("guideline_version", name(40), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler"],
            ["labelers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("labeler", "key", name="answers_key"),
        sa.UniqueConstraint("task_id", "labeler", "revision", name="answers_revision"),
    )
    op.create_index("answers_of_labeler", "answers", ["labeler", "at"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("task_id", name(160), nullable=False),
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("state", name(12), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler"],
            ["labelers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("task_id", "labeler"),
    )
    op.create_index("assignments_expiring", "assignments", ["state", "expires"], unique=False)
    op.create_index("assignments_of_labeler", "assignments", ["labeler", "state"], unique=False)
    op.create_table(
        "drafts",
        sa.Column("task_id", name(160), nullable=False),
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler"],
            ["labelers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("task_id", "labeler"),
    )
    op.create_table(
        "invitations",
        sa.Column("token", name(64), nullable=False),
        sa.Column("account", name(120), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("redeemed", name(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_invitations_account"), "invitations", ["account"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("token", name(64), nullable=False),
        sa.Column("account", name(120), nullable=False),
        sa.Column("created", name(40), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_sessions_account"), "sessions", ["account"], unique=False)
    op.create_table(
        "task_responses",
        sa.Column("task_id", name(160), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("response_id", name(160), nullable=False),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["responses.id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("task_id", "position"),
    )
