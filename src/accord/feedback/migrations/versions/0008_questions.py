"""Questions to labelers: the wording of every version that was ever asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0008", "0007"


def upgrade() -> None:
    op.create_table(
        "questions",
        sa.Column("name", name(40), nullable=False),
        sa.Column("version", name(40), nullable=False),
        sa.Column("definition", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
