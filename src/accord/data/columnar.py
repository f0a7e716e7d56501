"""Parquet and Arrow files as rows, in batches of a thousand, read with pyarrow."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from accord.data.archives import Tell, bare_name, chunks, reading
from accord.data.rows import Fault, Row
from accord.errors import InputError, UsageError
from accord.runtime import packages

BATCH = 1000


def tables(path: Path, kind: str, tell: Tell) -> Iterator[Row | Fault]:
    """Yield the rows of a Parquet or Arrow file; a compressed one is first unpacked into a temporary file.

    Raises:
        UsageError: pyarrow is not installed.
        InputError: the file cannot be read.
    """
    arrow = _pyarrow()
    with reading(path), _opened(path, tell) as file:
        try:
            number = 0
            for batch in _parquet(file) if kind == ".parquet" else _arrow(file):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(cast(dict[str, Any], value), path, number)
        except arrow.ArrowException as error:
            said = " ".join(str(error).split())[:200]
            hint = "is it truncated? copy or download it again"
            raise InputError(f"it cannot be read: {said}", where=str(path), hint=hint) from error


def _opened(path: Path, tell: Tell) -> IO[bytes]:
    if bare_name(path) == path.name:
        tell(path.stat().st_size)
        return path.open("rb")
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    file = os.fdopen(descriptor, "w+b")
    for chunk in chunks(path, tell):
        file.write(chunk)
    file.seek(0)
    return file


def _parquet(file: IO[bytes]) -> Iterator[Any]:
    return importlib.import_module("pyarrow.parquet").ParquetFile(file, pre_buffer=False).iter_batches(batch_size=BATCH, use_threads=False)


def _arrow(file: IO[bytes]) -> Iterator[Any]:
    """Yield the batches of an Arrow file: a stream, as `datasets` writes it, or a file with an index at its end."""
    ipc = importlib.import_module("pyarrow.ipc")
    indexed = file.read(6) == b"ARROW1"
    file.seek(0)
    opened = ipc.open_file(file) if indexed else ipc.open_stream(file)
    batches = (opened.get_batch(i) for i in range(opened.num_record_batches)) if indexed else opened
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)


def _pyarrow() -> ModuleType:
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        hint = packages.install("pyarrow")
        raise UsageError("Parquet and Arrow files need the package pyarrow", where="import", hint=hint) from error
