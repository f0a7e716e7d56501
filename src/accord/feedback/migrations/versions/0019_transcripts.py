"""The transcripts of recordings: who wrote or corrected one, when, and what it was before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0019", "0018"


def upgrade() -> None:
    op.create_table(
        "transcripts",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("recording", name(64), nullable=False, index=True),
        sa.Column("before", FreeText(), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("kind", name(12), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("undone", name(40), nullable=False),
    )
