"""Webhooks, and the queue of what is to be sent to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0011", "0010"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", name(40), nullable=False),
        sa.Column("app", name(120), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", name(80), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("ended", name(40), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "deliveries",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("webhook", name(40), sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", name(12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("said", FreeText(), nullable=False),
    )
    op.create_index("deliveries_due", "deliveries", ["state", "due"])
    op.create_index("deliveries_of", "deliveries", ["webhook", "state"])
