"""The store's tables. History (answers and reactions) is append-only; leases, sessions and drafts are current state.

A change here needs a migration in migrations/ and a higher ``VERSION``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

VERSION = 19
"""Increases with every change of the tables; the migration that reaches a version has its number."""
BOOKKEEPING = frozenset({"key", "imported"})
"""Columns that are about a record and no part of it: two rows that differ in them are the same record."""


def name(length: int) -> TypeEngine[str]:
    """A short string that sorts by its bytes on every database, so that exports are the same everywhere."""
    return String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


class FreeText(TypeDecorator[str]):
    """Any text. PostgreSQL cannot store the NUL character, so there it is written as two others, which are escaped in turn."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x1a", "\x1a1").replace("\0", "\x1a0")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x1a0", "\0").replace("\x1a1", "\x1a")


metadata = MetaData()


def imported() -> Column[int]:
    """The number of the import that brought a record; 0 for one that came otherwise."""
    return Column("imported", Integer, nullable=False, server_default="0")


meta = Table("meta", metadata, Column("key", name(40), primary_key=True), Column("value", Text, nullable=False))
alembic_version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

prompts = Table(
    "prompts",
    metadata,
    Column("id", name(120), primary_key=True),
    Column("split", name(12), nullable=False, index=True),
    Column("use_case", name(40), nullable=False),
    Column("user", name(120), nullable=False),
    Column("source", Text, nullable=False),
    Column("messages", Text, nullable=False),
    Column("extra", Text, nullable=False, server_default="{}"),
    Column("key", name(40), nullable=False, server_default="", index=True),
    imported(),
)

labelers = Table(
    "labelers",
    metadata,
    Column("id", name(120), primary_key=True),
    Column("kind", name(12), nullable=False),
    Column("group", name(120), nullable=False),
)

demonstrations = Table(
    "demonstrations",
    metadata,
    Column("id", name(160), primary_key=True),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("text", FreeText, nullable=False),
    imported(),
)

responses = Table(
    "responses",
    metadata,
    Column("id", name(160), primary_key=True),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("text", FreeText, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", Text, nullable=False),
    Column("finished", Boolean, nullable=False),
    imported(),
)

rankings = Table(
    "rankings",
    metadata,
    Column("id", name(320), primary_key=True),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("guideline_set", name(12), nullable=False),
    Column("guideline_version", name(40), nullable=False),
    Column("at", name(40), nullable=False),
    imported(),
)

ranking_items = Table(
    "ranking_items",
    metadata,
    Column("ranking_id", name(320), ForeignKey("rankings.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("response_id", name(160), ForeignKey("responses.id"), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("quality", Integer),
    Column("flags", Text),
    PrimaryKeyConstraint("ranking_id", "position"),
)
Index("ranking_items_response", ranking_items.c.response_id)

media = Table(
    "media",
    metadata,
    Column("digest", name(64), primary_key=True),
    Column("kind", name(12), nullable=False),
    Column("mime", name(40), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("added", name(40), nullable=False),
)

media_uses = Table(
    "media_uses",
    metadata,
    Column("kind", name(16), nullable=False),
    Column("record_id", name(320), nullable=False),
    Column("digest", name(64), ForeignKey("media.digest"), nullable=False, index=True),
    PrimaryKeyConstraint("kind", "record_id", "digest"),
)

transcripts = Table(
    "transcripts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("recording", name(64), nullable=False, index=True),
    Column("before", FreeText, nullable=False),
    Column("text", FreeText, nullable=False),
    Column("kind", name(12), nullable=False),
    Column("by", name(120), nullable=False),
    Column("at", name(40), nullable=False),
    Column("undone", name(40), nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", name(160), primary_key=True),
    Column("kind", name(16), nullable=False),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("guideline_set", name(12), nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("priority", Float, nullable=False),
    Column("purpose", name(16), nullable=False),
    Column("expected", Text),
    Column("reserved_for", name(120), nullable=False),
    Column("repeats", name(160), nullable=False),
    Column("without", Text, nullable=False, server_default=""),
    Column("fact", FreeText, nullable=False, server_default=""),
    Column("place", BigInteger, nullable=False),
    Column("taken", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
)
Index("tasks_next", tasks.c.reserved_for, tasks.c.purpose, tasks.c.kind, tasks.c.open, tasks.c.priority.desc(), tasks.c.place, tasks.c.id)
Index("tasks_place", tasks.c.place)

task_responses = Table(
    "task_responses",
    metadata,
    Column("task_id", name(160), ForeignKey("tasks.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("response_id", name(160), ForeignKey("responses.id"), nullable=False),
    PrimaryKeyConstraint("task_id", "position"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("task_id", name(160), ForeignKey("tasks.id"), nullable=False),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("state", name(12), nullable=False),
    Column("expires", Float, nullable=False),
    Column("shown", Text, nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("task_id", "labeler"),
)
Index("assignments_expiring", assignments.c.state, assignments.c.expires)
Index("assignments_of_labeler", assignments.c.labeler, assignments.c.state)

drafts = Table(
    "drafts",
    metadata,
    Column("task_id", name(160), ForeignKey("tasks.id"), nullable=False),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("payload", Text, nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("task_id", "labeler"),
)

answers = Table(
    "answers",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("task_id", name(160), ForeignKey("tasks.id"), nullable=False),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("key", name(80), nullable=False),
    Column("payload", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("guideline_set", name(12), nullable=False),
    Column("guideline_version", name(40), nullable=False),
    Column("at", name(40), nullable=False),
    UniqueConstraint("task_id", "labeler", "revision", name="answers_revision"),
    UniqueConstraint("labeler", "key", name="answers_key"),
)
Index("answers_of_labeler", answers.c.labeler, answers.c.at)

withdrawn = Table(
    "withdrawn",
    metadata,
    Column("kind", name(16), nullable=False),
    Column("record_id", name(320), nullable=False),
    Column("replaced_by", name(40), nullable=False),
    Column("by", name(120), nullable=False),
    Column("why", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("record_id", "kind"),
)

excluded = Table(
    "excluded",
    metadata,
    Column("labeler", name(120), ForeignKey("labelers.id"), primary_key=True),
    Column("by", name(120), nullable=False),
    Column("why", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", name(120), ForeignKey("labelers.id"), primary_key=True),
    Column("role", name(12), nullable=False),
    Column("name", FreeText, nullable=False),
    Column("created", name(40), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("qualified", Boolean, nullable=False),
    Column("profile", FreeText, nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    Column("token", name(64), primary_key=True),
    Column("account", name(120), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("expires", Float, nullable=False),
    Column("by", name(120), nullable=False),
    Column("redeemed", name(40), nullable=False),
)

identities = Table(
    "identities",
    metadata,
    Column("key", name(64), primary_key=True),
    Column("account", name(120), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("at", name(40), nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token", name(64), primary_key=True),
    Column("account", name(120), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("created", name(40), nullable=False),
    Column("expires", Float, nullable=False),
)

attempts = Table("attempts", metadata, Column("who", name(120), nullable=False), Column("at", Float, nullable=False))
Index("attempts_of", attempts.c.who, attempts.c.at)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("who", name(120), nullable=False),
    Column("what", name(40), nullable=False),
    Column("on", name(320), nullable=False),
    Column("why", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)

guidelines = Table(
    "guidelines",
    metadata,
    Column("set", name(12), nullable=False),
    Column("version", name(40), nullable=False),
    Column("language", name(8), nullable=False),
    Column("text", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("set", "version", "language"),
)

guidelines_read = Table(
    "guidelines_read",
    metadata,
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("set", name(12), nullable=False),
    Column("version", name(40), nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("labeler", "set", "version"),
)

doubts = Table(
    "doubts",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("task_id", name(160), ForeignKey("tasks.id"), nullable=False, index=True),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False, index=True),
    Column("guideline_set", name(12), nullable=False),
    Column("at", name(40), nullable=False),
    Column("settled", name(40), nullable=False),
    UniqueConstraint("task_id", "labeler", name="doubts_of_task"),
)

doubt_notes = Table(
    "doubt_notes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("doubt", name(40), ForeignKey("doubts.id"), nullable=False, index=True),
    Column("by", name(120), nullable=False),
    Column("text", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)

guideline_rules = Table(
    "guideline_rules",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("set", name(12), nullable=False),
    Column("version", name(40), nullable=False),
    Column("doubt", name(40), ForeignKey("doubts.id"), nullable=False, index=True),
    Column("rule", FreeText, nullable=False),
    Column("by", name(120), nullable=False),
    Column("at", name(40), nullable=False),
)

questions = Table(
    "questions",
    metadata,
    Column("name", name(40), nullable=False),
    Column("version", name(40), nullable=False),
    Column("definition", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("user", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("title", FreeText, nullable=False),
    Column("system", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("model", Text, nullable=False, server_default=""),
)
Index("conversations_of", conversations.c.user, conversations.c.at)

turns = Table(
    "turns",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("conversation", name(40), ForeignKey("conversations.id"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("parent", name(40), nullable=False),
    Column("role", name(12), nullable=False),
    Column("text", FreeText, nullable=False),
    Column("model", Text, nullable=False),
    Column("digest", name(120), nullable=False),
    Column("sampling", Text, nullable=False),
    Column("finish", name(12), nullable=False),
    Column("pair", name(40), nullable=False),
    Column("trial", name(40), nullable=False),
    Column("at", name(40), nullable=False),
    Column("media", Text, nullable=False, server_default=""),
    UniqueConstraint("conversation", "place", name="turns_place"),
)
Index("turns_trial", turns.c.trial)

documents = Table(
    "documents",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("conversation", name(40), ForeignKey("conversations.id"), nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("name", FreeText, nullable=False),
    Column("text", FreeText, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("blank", Integer, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("at", name(40), nullable=False),
)

reactions = Table(
    "reactions",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("user", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("turn", name(40), ForeignKey("turns.id"), nullable=False, index=True),
    Column("other", name(40), nullable=False),
    Column("kind", name(12), nullable=False),
    Column("payload", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)
Index("reactions_of", reactions.c.user, reactions.c.at)

reviews = Table(
    "reviews",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("reaction", name(40), ForeignKey("reactions.id"), nullable=False, index=True),
    Column("verdict", name(12), nullable=False),
    Column("records", Text, nullable=False),
    Column("by", name(120), nullable=False),
    Column("why", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)

consents = Table(
    "consents",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("user", name(120), ForeignKey("labelers.id"), nullable=False, index=True),
    Column("given", Boolean, nullable=False),
    Column("version", name(40), nullable=False),
    Column("at", name(40), nullable=False),
)

thumbs = Table(
    "thumbs",
    metadata,
    Column("id", name(160), primary_key=True),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("response_id", name(160), ForeignKey("responses.id"), nullable=False),
    Column("labeler", name(120), ForeignKey("labelers.id"), nullable=False),
    Column("up", Boolean, nullable=False),
    Column("flags", Text, nullable=False),
    Column("at", name(40), nullable=False),
    imported(),
)

trials = Table(
    "trials",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("old", Text, nullable=False),
    Column("old_digest", name(120), nullable=False),
    Column("new", Text, nullable=False),
    Column("new_digest", name(120), nullable=False),
    Column("share", Float, nullable=False),
    Column("by", name(120), nullable=False),
    Column("at", name(40), nullable=False),
    Column("ended", name(40), nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("digest", name(120), nullable=False),
    Column("by", name(120), nullable=False),
    Column("why", FreeText, nullable=False),
    Column("at", name(40), nullable=False),
)

provenance = Table(
    "provenance",
    metadata,
    Column("prompt_id", name(120), ForeignKey("prompts.id"), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("kind", name(12), nullable=False),
    Column("language", name(12), nullable=False),
    Column("use_case", name(40), nullable=False),
    Column("consent", name(12), nullable=False),
    Column("terms", Text, nullable=False),
    Column("at", name(40), nullable=False),
)

app_requests = Table(
    "app_requests",
    metadata,
    Column("conversation", name(40), ForeignKey("conversations.id"), primary_key=True),
    Column("app", name(120), nullable=False),
    Column("response", name(120), nullable=False),
    Column("kind", name(12), nullable=False),
    Column("terms", Text, nullable=False),
    Column("fingerprint", name(40), nullable=False),
    Column("at", name(40), nullable=False),
    Column("days", Float, nullable=False),
    Column("expires", Float, nullable=False),
    UniqueConstraint("app", "response", name="app_requests_response"),
)
Index("app_requests_like", app_requests.c.app, app_requests.c.fingerprint)
Index("app_requests_expiring", app_requests.c.expires)

replays = Table(
    "replays",
    metadata,
    Column("id", name(64), primary_key=True),
    Column("request", name(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", FreeText, nullable=False),
    Column("at", Float, nullable=False, index=True),
)

imports = Table(
    "imports",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("digest", name(64), nullable=False),
    Column("format", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("files", Text, nullable=False),
    Column("at", name(40), nullable=False),
    Column("undone", name(40), nullable=False),
    Column("why", FreeText, nullable=False),
)

import_repeats = Table(
    "import_repeats",
    metadata,
    Column("number", Integer, ForeignKey("imports.number"), nullable=False),
    Column("kind", name(16), nullable=False),
    Column("record_id", name(320), nullable=False),
    PrimaryKeyConstraint("number", "kind", "record_id"),
)
Index("import_repeats_of", import_repeats.c.kind, import_repeats.c.record_id)

import_changes = Table(
    "import_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("number", Integer, ForeignKey("imports.number"), nullable=False, index=True),
    Column("prompt_id", name(120), ForeignKey("prompts.id"), nullable=False, index=True),
    Column("user", name(120), nullable=False),
    Column("extra", Text, nullable=False),
    Column("split", name(12), nullable=False, server_default=""),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", name(40), primary_key=True),
    Column("app", name(120), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", name(80), nullable=False),
    Column("events", Text, nullable=False),
    Column("at", name(40), nullable=False),
    Column("ended", name(40), nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("webhook", name(40), ForeignKey("webhooks.id"), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", name(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", Float, nullable=False),
    Column("said", FreeText, nullable=False),
)
Index("deliveries_due", deliveries.c.state, deliveries.c.due)
Index("deliveries_of", deliveries.c.webhook, deliveries.c.state)
