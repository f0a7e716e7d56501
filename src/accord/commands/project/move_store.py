"""`accord move-store`: move all that the database holds to another database: SQLite to PostgreSQL, or back.

Needs a project, and a database without rows. Leaves accord.toml naming the new database; the old one stays, closed for good, until you
delete it. Stop the site before, or start it again after: a site that has the old database open can read it and no longer write.
"""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath
from accord.errors import UsageError
from accord.feedback import store_copy
from accord.feedback.database import unprepared
from accord.feedback.store_move import move
from accord.runtime.files import OWNER_ONLY, write_atomic
from accord.runtime.project import FILE, Project, store_address, with_store
from accord.runtime.store_address import without_password


def move_store(
    project: ProjectPath,
    *,
    to: Annotated[str, Parameter(help="Address of the new database, such as postgresql+psycopg://me@host/feedback.")],
    sessions: Annotated[bool, Parameter(help="Keep browsers signed in.", negative="")] = False,
) -> dict[str, Any]:
    """Move the feedback to another database, with accounts, tasks and every revision; both are compared by digest.

    Killed in the middle, the old database is in force; run the same command again.

    Example: accord move-store my-project --to postgresql+psycopg://accord@db.example.org/feedback

    Raises:
        UsageError: the address is the present one, or [store] in accord.toml cannot be changed here.
        InputError: the new database has rows.
        StoreError: one of the databases refuses, or what was read back differs.
    """
    opened = Project.open(project)
    url, toml = store_address(to, opened.path), opened.path / FILE
    if not to or url == opened.store_url:
        raise UsageError("is where the store is now", where=f"--to {without_password(to)}", hint="name another database")
    changed = with_store(toml.read_text("utf-8"), to)
    with unprepared(opened.store_url, moving=True) as old, unprepared(url, moving=True) as new:
        tables = move(old, new, without_password(to), sessions=sessions)
    write_atomic(toml, changed, mode=OWNER_ONLY)
    return {
        "rows": sum(one.rows for one in tables.values()),
        "store": store_copy.digest(tables),
        "place": Project.open(opened.path).store_name,
        "old": opened.store_name,
    }
