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
LARGEST = 256_000_000
"""Bytes of text and lists that are unpacked together."""
RATIO = 1000
"""Most bytes of a large column for one of its compressed bytes."""


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
            for batch in _parquet(file, path) if kind == ".parquet" else _arrow(file):
                for part in _small(batch, number, path):
                    for value in part.to_pylist():
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


def _parquet(file: IO[bytes], path: Path) -> Iterator[Any]:
    """Yield the batches of a Parquet file. Texts that it writes once for many rows are read once as well.

    Raises:
        InputError: a column is compressed to a hundredth of a percent, as no data are.
    """
    parquet = importlib.import_module("pyarrow.parquet")
    known = parquet.read_metadata(file)
    shared = set[str]()
    for group in range(known.num_row_groups):
        for place in range(known.num_columns):
            chunk = known.row_group(group).column(place)
            if chunk.total_uncompressed_size > LARGEST and chunk.total_uncompressed_size > RATIO * max(chunk.total_compressed_size, 1):
                what = f"column {chunk.path_in_schema}: {chunk.total_compressed_size} bytes unpack to {chunk.total_uncompressed_size}"
                raise InputError(what, where=str(path), hint="this is no data; write the file without compression if it is")
            if chunk.physical_type == "BYTE_ARRAY" and BATCH * chunk.total_uncompressed_size > LARGEST and chunk.has_dictionary_page:
                shared.add(chunk.path_in_schema)
    file.seek(0)
    opened = parquet.ParquetFile(file, pre_buffer=False, read_dictionary=sorted(shared))
    return opened.iter_batches(batch_size=BATCH, use_threads=False)


def _small(batch: Any, number: int, path: Path) -> Iterator[Any]:
    """Yield a batch in parts whose texts fit the memory together.

    Args:
        number: rows before the batch.

    Raises:
        InputError: a single row does not.
    """
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        size = sum(_unpacked(column) for column in part.columns)
        if size <= LARGEST:
            number += part.num_rows
            yield part
        elif part.num_rows > 1:
            half = part.num_rows // 2
            waiting += [part.slice(half), part.slice(0, half)]
        else:
            what = f"row {number + 1} has {size} bytes of text and lists, more than {LARGEST}"
            raise InputError(what, where=str(path), hint="split its text into several rows, or leave the row out")


def _unpacked(array: Any) -> int:
    """Return how many bytes of text and numbers an array has once it is unpacked: what is written once for many rows counts for each."""
    arrow, compute = _pyarrow(), importlib.import_module("pyarrow.compute")
    kind = array.type
    if isinstance(kind, arrow.BaseExtensionType):
        return _unpacked(array.storage)
    if arrow.types.is_dictionary(kind):
        return _times(compute.take(_lengths(array.dictionary), array.indices))
    if arrow.types.is_run_end_encoded(kind):
        ends = array.run_ends.to_pylist()
        runs = [min(end, array.offset + len(array)) - max(start, array.offset) for start, end in zip([0, *ends], ends, strict=False)]
        return sum(max(run, 0) * (length or 0) for run, length in zip(runs, _lengths(array.values).to_pylist(), strict=True))
    if arrow.types.is_struct(kind):
        return sum(_unpacked(part) for part in array.flatten())
    if arrow.types.is_map(kind):
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()  # of a slice too, whose keys are the whole's
        return _unpacked(array.keys.slice(start, end - start)) + _unpacked(array.items.slice(start, end - start))
    if arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind):
        return 8 * len(array) + _unpacked(array.flatten())
    return _times(_lengths(array))


def _lengths(array: Any) -> Any:
    """Return the bytes of each value; those of a nested value are taken for the whole array's."""
    arrow, compute = _pyarrow(), importlib.import_module("pyarrow.compute")
    kind = array.type
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind):
        return compute.binary_length(array)
    return arrow.array([8 if arrow.types.is_primitive(kind) else array.nbytes] * len(array), arrow.int64())


def _times(lengths: Any) -> int:
    return int(importlib.import_module("pyarrow.compute").sum(lengths).as_py() or 0)


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
