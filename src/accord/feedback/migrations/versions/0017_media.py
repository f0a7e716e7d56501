"""Pictures and recordings, and which records hold them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import name

revision, down_revision = "0017", "0016"


def upgrade() -> None:
    op.create_table(
        "media",
        sa.Column("digest", name(64), primary_key=True),
        sa.Column("kind", name(12), nullable=False),
        sa.Column("mime", name(40), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("added", name(40), nullable=False),
    )
    op.create_table(
        "media_uses",
        sa.Column("kind", name(16), nullable=False),
        sa.Column("record_id", name(320), nullable=False),
        sa.Column("digest", name(64), sa.ForeignKey("media.digest"), nullable=False, index=True),
        sa.PrimaryKeyConstraint("kind", "record_id", "digest"),
    )
    op.add_column("turns", sa.Column("media", sa.Text(), nullable=False, server_default=""))
