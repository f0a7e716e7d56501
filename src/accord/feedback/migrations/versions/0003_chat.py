"""The chat: conversations and their turns, reactions, consent and review, deployments and trials of two models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accord.feedback.schema import FreeText, name

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", name(40), nullable=False),
        sa.Column("user", name(120), nullable=False),
        sa.Column("title", FreeText(), nullable=False),
        sa.Column("system", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["labelers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("conversations_of", "conversations", ["user", "at"], unique=False)
    op.create_table(
        "turns",
        sa.Column("id", name(40), nullable=False),
        sa.Column("conversation", name(40), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("parent", name(40), nullable=False),
        sa.Column("role", name(12), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("digest", name(120), nullable=False),
        sa.Column("sampling", sa.Text(), nullable=False),
        sa.Column("finish", name(12), nullable=False),
        sa.Column("pair", name(40), nullable=False),
        sa.Column("trial", name(40), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.UniqueConstraint("conversation", "place", name="turns_place"),
        sa.ForeignKeyConstraint(["conversation"], ["conversations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("turns_trial", "turns", ["trial"], unique=False)
    op.create_table(
        "reactions",
        sa.Column("id", name(40), nullable=False),
        sa.Column("user", name(120), nullable=False),
        sa.Column("turn", name(40), nullable=False),
        sa.Column("other", name(40), nullable=False),
        sa.Column("kind", name(12), nullable=False),
        sa.Column("payload", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["labelers.id"]),
        sa.ForeignKeyConstraint(["turn"], ["turns.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_reactions_turn"), "reactions", ["turn"], unique=False)
    op.create_index("reactions_of", "reactions", ["user", "at"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("reaction", name(40), nullable=False),
        sa.Column("verdict", name(12), nullable=False),
        sa.Column("records", sa.Text(), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["reaction"], ["reactions.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(op.f("ix_reviews_reaction"), "reviews", ["reaction"], unique=False)
    op.create_table(
        "consents",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("user", name(120), nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("version", name(40), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["labelers.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(op.f("ix_consents_user"), "consents", ["user"], unique=False)
    op.create_table(
        "thumbs",
        sa.Column("id", name(160), nullable=False),
        sa.Column("prompt_id", name(120), nullable=False),
        sa.Column("response_id", name(160), nullable=False),
        sa.Column("labeler", name(120), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"]),
        sa.ForeignKeyConstraint(["response_id"], ["responses.id"]),
        sa.ForeignKeyConstraint(["labeler"], ["labelers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_thumbs_prompt_id"), "thumbs", ["prompt_id"], unique=False)
    op.create_table(
        "trials",
        sa.Column("id", name(40), nullable=False),
        sa.Column("old", sa.Text(), nullable=False),
        sa.Column("old_digest", name(120), nullable=False),
        sa.Column("new", sa.Text(), nullable=False),
        sa.Column("new_digest", name(120), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.Column("ended", name(40), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "deployments",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("digest", name(120), nullable=False),
        sa.Column("by", name(120), nullable=False),
        sa.Column("why", FreeText(), nullable=False),
        sa.Column("at", name(40), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
