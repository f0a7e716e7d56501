"""Provenance of prompts: origin, kind, language, and consent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import name

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    op.create_table(
        "provenance",
        sa.Column("prompt_id", name(120), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("kind", name(12), nullable=False),
        sa.Column("language", name(12), nullable=False),
        sa.Column("use_case", name(40), nullable=False),
        sa.Column("consent", name(12), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"]),
        sa.PrimaryKeyConstraint("prompt_id"),
    )
