"""`accord backup`: write a project into one file, as it is at one moment, while people go on labeling.

Needs a project, and a new file's name. Leaves the file and, beside it, its digest. The database is written row by row in a form of our
own, so that `accord restore` can put it into SQLite or PostgreSQL, whichever it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath
from accord.errors import RunError
from accord.feedback import schema, store_copy
from accord.feedback.store import Store
from accord.runtime import owners
from accord.runtime.backup_file import Packing, packing
from accord.runtime.files import TEMPORARY
from accord.runtime.project import FILE, Project, with_store
from accord.runtime.version import __version__

STORE = "store/"
"""Where a backup has the rows of the database, a file per table."""
DATABASE = "feedback.db"
"""The database of a project that names none. One that stands here after a move is no part of the project."""
NOT_KEPT = frozenset({"cache", "jobs", "uploads", "site.json", *(DATABASE + end for end in ("", "-wal", "-shm", "-journal"))})
"""What a project makes again by itself, what only its running processes mean, and the database, which is copied by its rows."""


def backup(
    project: ProjectPath,
    file: Annotated[Path, Parameter(help="The new file, such as town-2026-11-30.zip.")],
    *,
    models: Annotated[bool, Parameter(help="Also the models.", negative="")] = False,
    runs: Annotated[bool, Parameter(help="Also the runs, without those that are going on.", negative="")] = False,
    sessions: Annotated[bool, Parameter(help="Keep browsers signed in when it is restored.", negative="")] = False,
) -> dict[str, Any]:
    """Write a project into one file, consistent while people label, with its digest beside it.

    Example: accord backup my-project town-2026-11-30.zip --models --runs

    Raises:
        InputError: the file is there already.
        RunError: the disk is full, or a model was replaced while it was read.
    """
    opened, file = Project.open(project), Path(file).expanduser().absolute()
    about: dict[str, Any] = {"accord": __version__, "schema": schema.VERSION, "project": opened.path.name}
    about |= {"made": datetime.now(UTC).isoformat(timespec="seconds")}
    left_out: list[str] = []
    with Store.open(opened.store_url) as store, packing(file, about) as packed:
        counts: dict[str, store_copy.Counted] = {}
        with store_copy.one_moment(store.database) as connection:
            for name in store_copy.names(sessions=sessions):
                rows = 0

                def counting(name: str = name) -> Iterator[bytes]:
                    nonlocal rows
                    for line in store_copy.lines(connection, schema.metadata.tables[name]):
                        rows += 1
                        yield line

                member = packed.add(f"{STORE}{name}.jsonl", counting())
                counts[name] = store_copy.Counted(rows, member.sha256)
        # The files come after the database: a file that an import is about to bring may be too many, none is too few.
        packed.add(FILE, [with_store((opened.path / FILE).read_text("utf-8"), "").encode()])  # without a database's password
        files = _add_files(opened, packed, left_out, {*(("models",) if models else ()), *(("runs",) if runs else ())})
        about |= {"store": store_copy.digest(counts), "rows": {name: one.rows for name, one in counts.items() if one.rows}}
        about |= {"left_out": left_out}
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "files": files,
        "rows": sum(one.rows for one in counts.values()),
        "store": about["store"],
        "left_out": left_out,
    }


def _add_files(project: Project, packed: Packing, left_out: list[str], also: set[str]) -> int:
    """Add the project's other files; name in ``left_out`` what went away meanwhile, leads elsewhere, or is being written."""
    skipped = {FILE, *NOT_KEPT, *({"models", "runs"} - also)}
    if (project.path / STORE).exists():  # its name is taken in a backup
        left_out.append(STORE)
        skipped.add(STORE.rstrip("/"))
    database = project.store_url.partition(":///")[2] if project.store_url.startswith("sqlite") else ""
    number = 0
    for top in sorted(project.path.iterdir()):
        if top.name in skipped or top.name.startswith(TEMPORARY) or _is_of(top, database):
            continue
        units = sorted(top.iterdir()) if top.name in ("models", "runs") and top.is_dir() else [top]
        for unit in units:
            if top.name == "runs" and owners.living(unit / owners.OWNER):
                left_out.append(unit.relative_to(project.path).as_posix())
                continue
            number += _add_unit(project.path, unit, packed, left_out)
    return number


def _add_unit(project: Path, unit: Path, packed: Packing, left_out: list[str]) -> int:
    """Add a file or a folder. A model's folder is replaced as a whole, so that a mixture of two is noticed.

    Raises:
        RunError: the folder was replaced meanwhile.
    """
    number, before = 0, unit.lstat().st_ino
    for path in [unit, *sorted(unit.rglob("*"))] if unit.is_dir() and not unit.is_symlink() else [unit]:
        name = path.relative_to(project).as_posix()
        if path.name.startswith(TEMPORARY) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            left_out.append(name)
            continue
        try:
            packed.add_file(name, path)
            number += 1
        except FileNotFoundError:
            left_out.append(name)
    if not unit.exists() or unit.lstat().st_ino != before:
        what = f"{unit.relative_to(project).as_posix()} was replaced while it was read"
        raise RunError(what, where=str(project), hint="run the same command again")
    return number


def _is_of(path: Path, database: str) -> bool:
    """Return whether a file is the database, or one of SQLite's beside it."""
    return bool(database) and str(path) in {database + end for end in ("", "-wal", "-shm", "-journal")}
