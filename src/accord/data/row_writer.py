"""Rows written to files piece by piece: JSON lines, JSON, CSV, TSV and Parquet, optionally as .gz or .zst. Equal rows give equal bytes."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from accord.data.archives import bare_name
from accord.errors import InputError, UsageError
from accord.runtime import packages

KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_FORMULA = re.compile(r"'*[=+@\t\r-]")
_BATCH = 1000


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], name: Path) -> None:
    """Write rows to ``path`` in the format given by the suffix of ``name``.

    Raises:
        UsageError: the suffix is unknown, or its package is not installed.
        InputError: a row of a table has other columns than the first.
    """
    kind = Path(bare_name(name)).suffix.lower()
    if kind not in KINDS:
        hint = f"write one of {', '.join(KINDS)}, each with .gz or .zst"
        raise UsageError(f"cannot write a {kind or 'file without ending'}", where="--out", hint=hint)
    if kind == ".parquet":
        _parquet(path, rows, name)
        return
    with _packed(path, name) as file:
        writers = {".jsonl": json_lines, ".json": _json, ".csv": _comma, ".tsv": _tab}
        for piece in writers[kind](rows):
            file.write(piece.encode())


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (_object(row) + "\n" for row in rows)


def _json(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n{_object(row)}"
    yield "\n]\n"


def _object(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _comma(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return _table(rows, ",")


def _tab(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return _table(rows, "\t")


def _table(rows: Iterable[Mapping[str, Any]], comma: str) -> Iterator[str]:
    waiting = iter(rows)
    first = next(waiting, None)
    if first is None:
        return
    names = list(first)
    yield _line(names, comma)
    for row in chain([first], waiting):
        if list(row) != names:
            raise InputError("a row has other columns than the first", where=", ".join(row))
        yield _line([_cell(value) for value in row.values()], comma)


def _line(cells: list[str], comma: str) -> str:
    """Return a line of a table. Only with "\\r\\n" as line end does every Python version quote a cell that contains a carriage return."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=comma, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> str:
    """Return a value as a cell. Text that a spreadsheet would take for a formula gets a leading apostrophe, which our import removes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def _parquet(path: Path, rows: Iterable[Mapping[str, Any]], name: Path) -> None:
    if bare_name(name) != name.name:
        raise UsageError("Parquet compresses its own content", where="--out", hint=f"write {bare_name(name)}")
    try:
        arrow = importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise UsageError("Parquet files need the package pyarrow", where="--out", hint=packages.install("pyarrow")) from error
    waiting, writer = iter(rows), None
    try:
        while batch := list(islice(waiting, _BATCH)):
            table = arrow.Table.from_pylist(batch, schema=writer.schema if writer else None)
            writer = writer or importlib.import_module("pyarrow.parquet").ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer:
            writer.close()


@contextmanager
def _packed(path: Path, name: Path) -> Generator[IO[bytes]]:
    with path.open("wb") as file:
        if name.name.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                yield cast(IO[bytes], packed)
        elif name.name.endswith(".zst"):
            from accord.data.zstd import packing

            with packing(file) as packed:
                yield packed
        else:
            yield file
