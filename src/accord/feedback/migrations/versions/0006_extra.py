"""What comes with a prompt and has no column of its own, as a JSON object."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("extra", sa.Text(), nullable=False, server_default="{}"))
