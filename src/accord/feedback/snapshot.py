"""Snapshots of training data: the rows that a model learned from, in a file whose digest its lineage records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from accord.errors import InputError
from accord.feedback.codec import decode, encode
from accord.runtime.files import write_atomic

Record = TypeVar("Record")


def write_snapshot(rows: Iterable[Record], path: Path) -> str:
    """Write rows as sorted canonical JSON lines, atomically; return the sha256 of the file. Equal rows give equal bytes."""
    lines = sorted(snapshot_line(row) for row in rows)
    text = "".join(line + "\n" for line in lines)
    write_atomic(path, text)
    return hashlib.sha256(text.encode()).hexdigest()


def snapshot_line(row: object) -> str:
    """Return a row in its snapshot form: canonical JSON, the same text for the same row."""
    return json.dumps(encode(row), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_snapshot(path: Path, kind: type[Record], digest: str = "") -> list[Record]:
    """Return the rows of a snapshot, in order.

    Raises:
        InputError: the file is missing, does not match ``digest``, is truncated, or a line is no record; the error names file and line.
    """
    if not path.is_file():
        raise InputError("the snapshot is missing", where=str(path), hint="restore the file, or start a new run")
    content = path.read_bytes()
    if digest and hashlib.sha256(content).hexdigest() != digest:
        hint = "restore the file, or start a new run"
        raise InputError("the snapshot has changed since it was written", where=str(path), hint=hint)
    return [decode(kind, _object(line, f"{path}:{n}"), f"{path}:{n}") for n, line in enumerate(_lines(content, path), 1)]


def _lines(content: bytes, path: Path) -> list[str]:
    """Split a text into lines at newlines only, since texts may contain U+2028 and similar characters."""
    try:
        *lines, rest = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error}", where=str(path)) from error
    if rest:
        raise InputError("the last line is truncated", where=f"{path}:{len(lines) + 1}")
    return lines


def _object(line: str, where: str) -> dict[str, object]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=where) from error
