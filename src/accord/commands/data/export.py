"""`accord export`: write the records of the project as a file, in our own form or another's.

Needs a project with records, and changes nothing in it. `jsonl` keeps everything, and `accord import` makes the very same records of
it; docs/formats.md lists the other formats.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import ProjectPath
from accord.data.export_formats import shape
from accord.data.row_writer import json_lines, write_rows
from accord.errors import InputError, UsageError
from accord.feedback.export import What, lines, values
from accord.feedback.store import Store
from accord.runtime.files import clean, disk_errors, replacing, sync
from accord.runtime.media_files import FOLDER
from accord.runtime.project import Project


def export(
    project: ProjectPath,
    *,
    what: Annotated[What, Parameter(help="Which records.")] = "rankings",
    format: Annotated[str, Parameter(help="jsonl keeps everything; other formats: see docs/formats.md.")] = "jsonl",
    out: Annotated[Path | None, Parameter(help="File to write, whole or not at all; standard output when not given.")] = None,
    media: Annotated[
        Literal["data", "files"], Parameter(help="How pictures come along: in the lines as data URLs, or as files in media/ beside --out.")
    ] = "data",
) -> None:
    """Write the records of the project, row by row; the same content gives the same bytes.

    Example: accord export my-project --what rankings --format trl-preference --out pairs.parquet

    Args:
        out: its ending tells how rows are written.

    Raises:
        UsageError: the format does not take such records, or there is no way to write a file with this ending.
        InputError: the format has no word for a record.
    """
    if media == "files" and out is None:
        raise UsageError("pictures need a folder to be written to", where="--media files", hint="name a file by --out")
    folder = out.parent / FOLDER if out is not None and media == "files" else None
    with Store.open(Project.open(project).store_url) as store:
        if format == "jsonl":
            _write_own(store, what, out, folder)
        else:
            _write_foreign(store, what, format, out, folder)


def _write_own(store: Store, what: What, out: Path | None, folder: Path | None) -> None:
    written = lines(store, what, folder=folder)
    if out is None:
        sys.stdout.writelines(written)
        return
    if out.suffix in (".csv", ".tsv", ".parquet", ".json", ".gz", ".zst"):
        raise UsageError(f"our own form is written as .jsonl, not {out.suffix}", where="--out", hint="name another --format")
    clean(out.parent, out.name)  # of an export that was killed
    with disk_errors(out), replacing(out) as unfinished:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(written)
        sync(unfinished)


def _write_foreign(store: Store, what: What, format: str, out: Path | None, folder: Path | None) -> None:
    to_row = shape(what, format)
    rows = (row for line in values(store, what, folder=folder) if (row := to_row(line)) is not None)
    if out is None:
        sys.stdout.writelines(json_lines(rows))
        return
    clean(out.parent, out.name)
    with disk_errors(out), replacing(out) as unfinished:
        write_rows(unfinished, _at_least_one(rows, what), out)
        sync(unfinished)


def _at_least_one(rows: Iterator[dict[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    first = next(rows, None)
    if first is None:
        raise InputError(f"there are no {what} to write", hint="bring some in with `accord import` or `accord label`")
    yield first
    yield from rows
