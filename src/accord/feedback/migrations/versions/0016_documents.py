"""Documents that a user adds to a conversation, to be quoted in its answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0016", "0015"


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("id", name(40), primary_key=True),
        sa.Column("conversation", name(40), sa.ForeignKey("conversations.id"), nullable=False, index=True),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", FreeText(), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("blank", sa.Integer(), nullable=False),
        sa.Column("characters", sa.Integer(), nullable=False),
        sa.Column("at", name(40), nullable=False),
    )
