"""Labelers' doubts: a thread beside a task, and the rules of the guideline that grew from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0010", "0009"


def upgrade() -> None:
    op.create_table(
        "doubts",
        sa.Column("id", name(40), nullable=False),
        sa.Column("task_id", name(160), nullable=False),
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("guideline_set", name(12), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("settled", name(40), nullable=False),
        sa.UniqueConstraint("task_id", "labeler", name="doubts_of_task"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"]),
        sa.ForeignKeyConstraint(["labeler"], ["labelers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_doubts_task_id"), "doubts", ["task_id"], unique=False)
    op.create_index(op.f("ix_doubts_labeler"), "doubts", ["labeler"], unique=False)
    op.create_table(
        "doubt_notes",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("doubt", name(40), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["doubt"], ["doubts.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(op.f("ix_doubt_notes_doubt"), "doubt_notes", ["doubt"], unique=False)
    op.create_table(
        "guideline_rules",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("set", name(12), nullable=False),
        sa.Column("version", name(40), nullable=False),
        sa.Column("doubt", name(40), nullable=False),
        sa.Column("rule", FreeText(), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["doubt"], ["doubts.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(op.f("ix_guideline_rules_doubt"), "guideline_rules", ["doubt"], unique=False)
