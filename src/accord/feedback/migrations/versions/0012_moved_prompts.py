"""The split that an import moved a prompt out of, so that an undo moves it back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import name

revision, down_revision = "0012", "0011"


def upgrade() -> None:
    op.add_column("import_changes", sa.Column("split", name(12), nullable=False, server_default=""))
    op.create_index(op.f("ix_import_changes_prompt_id"), "import_changes", ["prompt_id"])
