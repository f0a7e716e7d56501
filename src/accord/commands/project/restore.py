"""`accord restore`: make a project of a backup, in a new folder, on SQLite or PostgreSQL.

Needs a file of `accord backup`, and a folder that does not exist yet; `--to` also needs a database without rows. Leaves the project, or
nothing. Every file and every table is held against the digests that the backup was written with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath
from accord.commands.project.backup import NOT_KEPT, STORE
from accord.errors import InputError, StoreError
from accord.feedback import schema, store_copy
from accord.feedback.database import unprepared
from accord.feedback.store import Store
from accord.runtime.backup_file import Backup, check_space, unpacking
from accord.runtime.files import OWNER_ONLY, TEMPORARY, new_folder, write_atomic
from accord.runtime.project import FILE, Project, store_address, vacant, with_store
from accord.runtime.store_address import without_password


def restore(
    file: Annotated[Path, Parameter(help="A file that `accord backup` wrote.")],
    project: ProjectPath,
    *,
    to: Annotated[str, Parameter(help="Address of another database, without rows; by default feedback.db in the project.")] = "",
) -> dict[str, Any]:
    """Make a project of a backup; nothing that is there is overwritten.

    Example: accord restore town-2026-11-30.zip my-project

    Raises:
        InputError: the file is damaged or no backup, the folder or the database is in use, or the disk has no room.
        StoreError: the database refuses a row, or cannot be reached.
    """
    folder = vacant(Path(str(project)) if not isinstance(project, Project) else project.path)
    with unpacking(Path(file).expanduser().absolute()) as backup:
        version, made = _facts(backup)
        if version > schema.VERSION:
            what = f"its database has version {version}, newer than {schema.VERSION}, the newest that this Accord reads"
            raise InputError(what, where=str(file), hint="install a newer Accord: pip install -U accord-rlhf")
        check_space(backup, folder)
        with new_folder(folder) as unfinished:
            files = _extract(backup, unfinished)
            toml = unfinished / FILE
            write_atomic(toml, with_store(toml.read_text("utf-8"), to), mode=OWNER_ONLY)
            # A database in the folder gets its name together with the folder.
            inside = store_address(to, folder).startswith(f"sqlite:///{folder}/")
            rows = _fill(backup, store_address(to, unfinished if inside else folder))
    opened = Project.open(folder)
    return {
        "project": str(folder),
        "files": files,
        "rows": rows,
        "store": backup.about["store"],
        "made": made,
        "place": opened.store_name,
    }


def _facts(backup: Backup) -> tuple[int, str]:
    """Return the version of a backup's database, and when it was made. Raises InputError where its manifest does not say."""
    about = backup.about
    if not isinstance(about.get("schema"), int) or not isinstance(about.get("store"), str):
        raise InputError("its manifest is malformed", where=str(backup.path), hint="the file is damaged: take another")
    return int(about["schema"]), str(about.get("made", ""))


def _extract(backup: Backup, folder: Path) -> int:
    """Write the backup's files, and return their number.

    Raises:
        InputError: a file is none that a backup of ours has, such as a job, which the site would run.
    """
    files = [name for name in backup.members if not name.startswith(STORE)]
    for name in files:
        top = name.partition("/")[0]
        if top.casefold() in NOT_KEPT or top.startswith(TEMPORARY):
            raise InputError(f"has {name!r}, which no backup of ours has", where=str(backup.path), hint="do not restore it")
    if FILE not in files:
        raise InputError(f"has no {FILE}", where=str(backup.path), hint="the file is damaged: take another")
    for name in files:
        try:
            backup.extract(name, folder / name)
        except OSError as error:
            what = f"{name[:200]!r} cannot be written: {error.strerror}"
            raise InputError(what, where=str(backup.path), hint="the file is damaged: take another") from error
    for part in ("models", "runs"):
        (folder / part).mkdir(exist_ok=True)
    return len(files)


def _fill(backup: Backup, url: str) -> int:
    """Put the backup's rows into a database that has none, all or none of them, and return their number.

    A database that holds exactly these rows was filled by a restore that was stopped before its folder had its name.
    """
    version, given = int(backup.about["schema"]), dict[str, Iterator[bytes]]()
    for name in backup.members:
        if name.startswith(STORE):
            given[Path(name).stem] = (line + b"\n" for line in backup.lines(name))
    with unprepared(url) as database:
        rows = store_copy.load(database, version, given)
    if rows is not None and version < schema.VERSION:
        return rows  # its digest was of the older tables
    with Store.open(url) as store, store_copy.one_moment(store.database) as connection:
        found = store_copy.contents(connection, sessions="sessions" in given)
    if store_copy.digest(found) == backup.about["store"]:
        return sum(one.rows for one in found.values())
    if rows is None:
        raise InputError("the database holds other rows", where=without_password(url), hint="name one without rows by --to")
    raise StoreError("what was written is not what was read back", where=without_password(url), hint="restore it into another database")
