"""Export: what the store holds, as a file in our own form or another's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accord.data.export_formats import shape
from accord.data.row_writer import json_lines, write_rows
from accord.errors import InputError, UsageError
from accord.feedback.export import What, lines, values
from accord.feedback.store import Store
from accord.runtime.files import disk_errors, replacing, sync


def export_stage(store: Store, what: What, format: str = "jsonl", out: Path | None = None) -> None:
    """Writes records to a file, whole or not at all, or to standard output; the same content gives the same bytes.

    Args:
        format: ``jsonl`` keeps everything, one object a line; the others are those of ``data.leaving``.
        out: its ending says how rows are written; JSON lines on standard output when None.

    Raises:
        UsageError: the format does not take such records, or the file's ending is none that can be written.
        InputError: the format has no word for a record.
    """
    if format == "jsonl":
        _lines(store, what, out)
        return
    make = shape(what, format)
    rows = (row for line in values(store, what) if (row := make(line)) is not None)
    if out is None:
        sys.stdout.writelines(json_lines(rows))
        return
    with disk_errors(out), replacing(out) as unfinished:
        write_rows(unfinished, _some(rows, what), out)
        sync(unfinished)


def _lines(store: Store, what: What, out: Path | None) -> None:
    written = lines(store, what)
    if out is None:
        sys.stdout.writelines(written)
        return
    if out.suffix in (".csv", ".tsv", ".parquet", ".json", ".gz", ".zst"):
        raise UsageError(f"our own form is written as .jsonl, not {out.suffix}", where="--out", hint="name another --format")
    with disk_errors(out), replacing(out) as unfinished:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(written)
        sync(unfinished)


def _some(rows: Iterator[dict[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    """The rows, of which there must be one."""
    first = next(rows, None)
    if first is None:
        raise InputError(f"there are no {what} to write", hint="accord import, or accord label, brings some")
    yield first
    yield from rows
