"""Files that an import puts into the project or an undo takes out, with a mark beside each until the database has decided.

corpus/NAME.jsonl.pending says that corpus/NAME.jsonl belongs to an import or an undo that has not ended. A killed one leaves the mark, so
training does not read the file, and the next import or undo settles it: the file stays if an import that stands names it, moves to undone/
if one does that was taken back, and goes if none does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select, text

from accord.feedback import schema
from accord.feedback.store import ADDING, Store
from accord.runtime.files import PENDING, sync

FOLDERS = ("corpus", "annotations")
"""Folders of a project with files that imports put there."""
UNDONE = "undone"
"""The folder of a project that raw text and spans of undone imports move to."""


class Placed:
    """The files of one import that got their names before its transaction ended."""

    def __init__(self) -> None:
        self._targets = list[Path]()

    def put(self, finished: Path, target: Path) -> None:
        """Give a finished file its name, marked."""
        target.parent.mkdir(exist_ok=True)
        mark([target])
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


def mark(targets: Iterable[Path]) -> None:
    """Mark files of a transaction that has not ended, on disk before its commit can be."""
    for target in targets:
        _mark(target).touch()
        sync(target.parent)


def settle(store: Store, project: Path) -> list[str]:
    """Keep, move or remove the marked files as the database has it, and return the names of those that were removed.

    Imports and undos that run are waited for.
    """
    marks = sorted(mark for folder in FOLDERS for mark in (project / folder).glob(f"*{PENDING}"))
    if not marks:
        return []
    gone, i = list[str](), schema.imports
    with store.write() as connection:
        if not store.database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})
        standing, undone = set[str](), dict[str, int]()
        for number, files, taken_back in connection.execute(select(i.c.number, i.c.files, i.c.undone).order_by(i.c.number)):
            if taken_back:
                undone |= dict.fromkeys(json.loads(files), number)
            else:
                standing.update(json.loads(files))
        for marked in marks:
            target = marked.with_name(marked.name.removesuffix(PENDING))
            name = target.relative_to(project).as_posix()
            if marked.exists() and name not in standing:
                if name in undone and target.exists():
                    _move(target, project / UNDONE / f"{undone[name]}-{target.name}")
                else:
                    target.unlink(missing_ok=True)
                    gone.append(name)
                sync(target.parent)
            marked.unlink(missing_ok=True)
    return gone


def _move(old: Path, new: Path) -> None:
    new.parent.mkdir(exist_ok=True)
    old.rename(new)
    sync(new.parent)


def _mark(target: Path) -> Path:
    return target.with_name(target.name + PENDING)
