"""The store's tables. History is only ever added to."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

VERSION = 1
"""Goes up with every change of the tables."""

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))

prompts = Table(
    "prompts",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("split", String(12), nullable=False, index=True),
    Column("use_case", String(40), nullable=False),
    Column("user", String(120), nullable=False),
    Column("source", Text, nullable=False),
    Column("messages", Text, nullable=False),
)

labelers = Table(
    "labelers",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("kind", String(12), nullable=False),
    Column("group", String(120), nullable=False),
)

demonstrations = Table(
    "demonstrations",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("prompt_id", String(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("labeler", String(120), ForeignKey("labelers.id"), nullable=False),
    Column("text", Text, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("prompt_id", String(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", Text, nullable=False),
    Column("finished", Boolean, nullable=False),
)

rankings = Table(
    "rankings",
    metadata,
    Column("id", String(320), primary_key=True),
    Column("prompt_id", String(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("labeler", String(120), ForeignKey("labelers.id"), nullable=False),
    Column("guideline_set", String(12), nullable=False),
    Column("guideline_version", String(40), nullable=False),
    Column("at", String(40), nullable=False),
)

ranking_items = Table(
    "ranking_items",
    metadata,
    Column("ranking_id", String(320), ForeignKey("rankings.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("response_id", String(160), ForeignKey("responses.id"), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("quality", Integer),
    Column("flags", Text),
    PrimaryKeyConstraint("ranking_id", "position"),
)

Index("ranking_items_response", ranking_items.c.response_id)
