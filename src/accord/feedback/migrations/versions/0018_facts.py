"""The claim that a task checks, with the document beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText

revision, down_revision = "0018", "0017"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("fact", FreeText(), nullable=False, server_default=""))
