"""Tasks that do without flags or ratings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0013", "0012"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("without", sa.Text(), nullable=False, server_default=""))
