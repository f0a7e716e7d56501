"""Snapshots of training data: the rows that a model learned from, in a file whose digest its lineage records."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar

from accord.errors import InputError
from accord.feedback.codec import decode, encode
from accord.runtime.files import disk_errors, replacing

Record = TypeVar("Record")
IN_MEMORY = 200_000
"""Lines that are sorted at once: a few hundred megabytes of rankings."""


def write_snapshot(rows: Iterable[Record], path: Path) -> str:
    """Write rows as sorted canonical JSON lines, atomically; return the sha256 of the file. Equal rows give equal bytes.

    Holds ``IN_MEMORY`` lines at a time: sorted parts go to disk and are merged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with disk_errors(path), replacing(path) as unfinished, ExitStack() as parts, unfinished.open("wb") as file:
        for line in _sorted((snapshot_line(row).encode() + b"\n" for row in rows), path.parent, parts):
            file.write(line)
            digest.update(line)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sorted(lines: Iterator[bytes], folder: Path, parts: ExitStack) -> Iterable[bytes]:
    """Sort lines, in nameless files of a folder beyond ``IN_MEMORY`` lines. UTF-8 sorts as its characters do."""
    files: list[IO[bytes]] = []
    while part := sorted(islice(lines, IN_MEMORY)):
        if len(part) < IN_MEMORY and not files:
            return part
        file = parts.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115 - the stack closes it
        file.writelines(part)
        file.seek(0)
        files.append(file)
    return merge(*files)


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
    if digest and snapshot_digest(path) != digest:
        hint = "restore the file, or start a new run"
        raise InputError("the snapshot has changed since it was written", where=str(path), hint=hint)
    return [decode(kind, _object(line, where), where) for line, where in _lines(path)]


def snapshot_digest(path: Path) -> str:
    """Return the sha256 of a snapshot's file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line with its place. Lines end at newlines only, since texts may contain U+2028 and similar characters."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            if not line.endswith(b"\n"):
                raise InputError("the last line is truncated", where=where)
            try:
                yield line[:-1].decode(), where
            except UnicodeDecodeError as error:
                raise InputError(f"not UTF-8: {error}", where=where) from error


def _object(line: str, where: str) -> dict[str, object]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=where) from error
