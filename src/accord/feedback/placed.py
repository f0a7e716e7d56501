"""Files that an import puts into the project, with a mark beside each until the database has the import's rows.

corpus/NAME.jsonl.pending says that corpus/NAME.jsonl belongs to an import that has not ended. A killed import leaves the mark, so training
does not read the file, and the next import settles it: the file stays if the database names it, and goes if not.
"""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import select, text

from accord.feedback import schema
from accord.feedback.store import ADDING, Store
from accord.runtime.files import PENDING, sync

FOLDERS = ("corpus", "annotations")
"""Folders of a project with files that imports put there."""


class Placed:
    """The files of one import that got their names before its transaction ended."""

    def __init__(self) -> None:
        self._targets = list[Path]()

    def put(self, finished: Path, target: Path) -> None:
        """Give a finished file its name, marked."""
        target.parent.mkdir(exist_ok=True)
        _mark(target).touch()
        sync(target.parent)
        self._targets.append(target)
        finished.rename(target)
        sync(target.parent)

    def keep(self) -> None:
        """Remove the marks: the rows are stored."""
        for target in self._targets:
            _mark(target).unlink(missing_ok=True)

    def take_back(self) -> None:
        """Remove the files: the rows were not stored."""
        for target in self._targets:
            target.unlink(missing_ok=True)
            _mark(target).unlink(missing_ok=True)


def settle(store: Store, project: Path) -> list[str]:
    """Keep or remove the marked files of killed imports, and return the names of those that went. Imports that run are waited for."""
    marks = sorted(mark for folder in FOLDERS for mark in (project / folder).glob(f"*{PENDING}"))
    if not marks:
        return []
    gone, i = list[str](), schema.imports
    with store.write() as connection:
        if not store.database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})
        known = {name for files in connection.scalars(select(i.c.files).where(i.c.undone == "")) for name in json.loads(files)}
        for mark in marks:
            target = mark.with_name(mark.name.removesuffix(PENDING))
            name = target.relative_to(project).as_posix()
            if mark.exists() and name not in known:
                target.unlink(missing_ok=True)
                sync(target.parent)
                gone.append(name)
            mark.unlink(missing_ok=True)
    return gone


def _mark(target: Path) -> Path:
    return target.with_name(target.name + PENDING)
