"""Migrations of older stores to the current version, in one transaction: an interrupted one leaves the store as it was."""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, update

from accord.feedback import schema

FIRST = "0001"
"""The version before stores recorded a revision of Alembic."""


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run the missing migrations of a store, inside the given transaction.

    Args:
        to: a revision in versions/, or the newest when ``head``.
    """
    context = MigrationContext.configure(connection, opts={"transactional_ddl": True})
    script = ScriptDirectory(__path__[0])
    _stamp_first(connection, context)
    with Operations.context(context):
        for revision in reversed(list(script.iterate_revisions(to, context.get_current_revision() or "base"))):
            revision.module.upgrade()
            _note(connection, revision.revision)


def _stamp_first(connection: Connection, context: MigrationContext) -> None:
    """Mark a store of version 1 as being at the first revision, which it does not record itself."""
    schema.alembic_version.create(connection, checkfirst=True)
    has_tables = connection.dialect.has_table(connection, schema.meta.name)
    if context.get_current_revision() is None and has_tables:
        connection.execute(insert(schema.alembic_version).values(version_num=FIRST))


def _note(connection: Connection, revision: str) -> None:
    version, meta = schema.alembic_version, schema.meta
    if connection.execute(update(version).values(version_num=revision)).rowcount == 0:
        connection.execute(insert(version).values(version_num=revision))
    if connection.scalar(select(meta.c.value).where(meta.c.key == "version")) is None:
        connection.execute(insert(meta).values(key="version", value=str(int(revision))))
    connection.execute(update(meta).where(meta.c.key == "version").values(value=str(int(revision))))
