"""Requests of apps: their origin and retention beside the conversations that hold them, and replies kept for their idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0007", "0006"


def upgrade() -> None:
    op.create_table(
        "app_requests",
        sa.Column("conversation", name(40), nullable=False),
        sa.Column("app", name(120), nullable=False),
        sa.Column("response", name(120), nullable=False),
        sa.Column("kind", name(12), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("fingerprint", name(40), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("days", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["conversation"], ["conversations.id"]),
        sa.PrimaryKeyConstraint("conversation"),
        sa.UniqueConstraint("app", "response", name="app_requests_response"),
    )
    op.create_index("app_requests_like", "app_requests", ["app", "fingerprint"])
    op.create_index("app_requests_expiring", "app_requests", ["expires"])
    op.create_table(
        "replays",
        sa.Column("id", name(64), nullable=False),
        sa.Column("request", name(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", FreeText(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_replays_at", "replays", ["at"])
