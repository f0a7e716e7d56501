"""Accounts of single sign-on: which account belongs to whom at the identity provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import name

revision, down_revision = "0014", "0013"


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("key", name(64), primary_key=True),
        sa.Column("account", name(120), sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("at", name(40), nullable=False),
    )
    op.create_index(op.f("ix_identities_account"), "identities", ["account"])
