"""Files as rows, a piece at a time: JSON lines, JSON, CSV and TSV, plain, gzipped or as Zstandard.

Nothing is read whole, and nothing is believed: a line has a longest length, an archive a largest ratio, and what breaks off in the
middle is a ``Fault`` after the rows before it.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from accord.data.rows import SHOWN, Fault, Row, shown
from accord.data.windows import Window
from accord.errors import InputError

LONGEST = 32 << 20
"""Bytes of the longest line, or of the largest object of a JSON file."""
RATIO, FREE = 300, 64 << 20
"""An archive may unpack to ``FREE`` bytes, and beyond that to ``RATIO`` times its own size."""
PIECE = 1 << 20
Tell = Callable[[int], object]
"""Is told how many bytes of a file were read."""
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".md")
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_FORMULA = re.compile(r"=\s*[A-Za-z_.]+\s*[(|!]|[+@-](?:[A-Z]{2,}\(|[A-Za-z]+\|)")
_ESCAPED = re.compile(r"'+[=+@\t\r-]")


def bare_name(path: Path) -> str:
    """A file's name without the ending of its compression."""
    return path.name.removesuffix(".gz").removesuffix(".zst")


def kind_of(path: Path) -> str:
    """The ending that says how a file is read.

    Raises:
        InputError: it is none that is known.
    """
    kind = Path(bare_name(path)).suffix.lower()
    if kind not in KINDS:
        raise InputError(
            f"a file of an unknown kind {kind!r}", where=str(path), hint=f"known are {', '.join(KINDS)}, each with .gz or .zst"
        )
    return ".jsonl" if kind == ".ndjson" else ".txt" if kind == ".md" else kind


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a file; blank lines are passed over.

    Raises:
        InputError: it cannot be read, is not UTF-8, or a row is no object; names the line.
    """
    for row in rows_of(path):
        if isinstance(row, Fault):
            raise row.error
        yield row


def rows_of(path: Path, tell: Tell = id) -> Iterator[Row | Fault]:
    """The objects of a file, and in their places what is none. After a file that breaks off comes a fault for the rest of it.

    Raises:
        InputError: the file's kind is unknown.
    """
    kind = kind_of(path)
    try:
        if kind in (".parquet", ".arrow"):
            from accord.data.columnar import tables

            yield from tables(path, kind, tell)
        else:
            yield from {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _csv}[kind](path, tell)
    except InputError as error:
        yield Fault(error, "")


def chunks(path: Path, tell: Tell = id) -> Iterator[bytes]:
    """The unpacked content of a file in pieces.

    Raises:
        InputError: it cannot be read, is cut off, or unpacks to far more than an honest archive does.
    """
    with reading(path), open(path, "rb") as file:
        source, size, total, told = _unpacked(file, path), path.stat().st_size, 0, 0
        while chunk := source.read(PIECE):
            total += len(chunk)
            if total > FREE + RATIO * size:
                what = f"it unpacks to more than {RATIO} times its size, as no honest data set does"
                raise InputError(what, where=str(path), hint="unpack it yourself, look, and import the file")
            tell(file.tell() - told)
            told = file.tell()
            yield chunk


def lines(path: Path, tell: Tell = id) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file by number, without their ends; None stands for one that is longer than ``LONGEST``.

    Raises:
        InputError: it cannot be read, or begins like UTF-16 or UTF-32.
    """
    rest, number, skipping, first = b"", 1, False, True
    for chunk in chunks(path, tell):
        if first:
            chunk, first = without_mark(chunk, path), False
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield number, None if skipping or len(rest) + len(line) > LONGEST else rest + line
            rest, number, skipping = b"", number + 1, False
        if skipping or len(rest) + len(last) > LONGEST:
            rest, skipping = b"", True
        else:
            rest += last
    if rest or skipping:
        yield number, None if skipping else rest


def decoded(line: bytes | None, path: Path, number: int) -> str:
    """A line as text. Raises InputError when it is too long, or not UTF-8, or binary."""
    where = f"{path}:{number}"
    if line is None:
        raise InputError(f"the line is longer than {LONGEST >> 20} MiB", where=where, hint="is it one object a line? shorten or split it")
    if b"\0" in line:
        raise InputError("holds NUL bytes", where=where, hint="is it UTF-16, or no text at all? convert it to UTF-8")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {line[error.start]:#04x})", where=where, hint="convert it to UTF-8") from error


def text_lines(path: Path, tell: Tell = id) -> Iterator[str]:
    """The lines of a text file. Raises InputError for one that is none; names it."""
    for number, line in lines(path, tell):
        yield decoded(line, path, number).removesuffix("\r")


def without_mark(start: bytes, path: Path) -> bytes:
    """The first bytes of a file without UTF-8's mark. Raises InputError for the marks of other encodings."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if start.startswith(mark):
            raise InputError(f"not UTF-8 but {name}", where=f"{path}:1", hint=f"iconv -f {name} -t UTF-8 < {path.name}")
    return start.removeprefix(b"\xef\xbb\xbf")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turns what goes wrong in a file or an archive into an InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        hint = "is it cut off? copy or download it again" if bare_name(path) != path.name else ""
        raise InputError(f"it cannot be read: {error}", where=str(path), hint=hint) from error


def _unpacked(file: IO[bytes], path: Path) -> IO[bytes]:
    start = file.read(4)
    file.seek(0)
    if path.name.endswith(".gz") or start.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if path.name.endswith(".zst") or start == _ZSTANDARD:
        from accord.data.zstandards import unpacked

        return unpacked(file)
    return file


def _json_lines(path: Path, tell: Tell) -> Iterator[Row | Fault]:
    for number, line in lines(path, tell):
        if line is None or line.strip():
            yield _json_line(line, path, number)


def _json_line(line: bytes | None, path: Path, number: int) -> Row | Fault:
    where, hint = f"{path}:{number}", "one JSON object a line"
    try:
        text = decoded(line, path, number)
        return row_of(json.loads(text), path, number, hint)
    except (ValueError, RecursionError) as error:
        broken = error if isinstance(error, InputError) else InputError(f"broken JSON: {error}", where=where, hint=hint)
        return Fault(broken, (line or b"")[:SHOWN].decode(errors="replace"))


def row_of(value: object, path: Path, number: int, hint: str = "") -> Row:
    """An object as a row; a string alone is a prompt, as in a list of questions. Raises InputError for anything else."""
    if isinstance(value, str):
        return Row({"prompt": value}, path, number)
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object: {shown(value)}", where=f"{path}:{number}", hint=hint)
    return Row(cast(dict[str, Any], value), path, number)


def _json(path: Path, tell: Tell) -> Iterator[Row | Fault]:
    """A list of objects, one object, or objects one after another."""
    for number, value in Window(path, chunks(path, tell), LONGEST).values():
        try:
            yield row_of(value, path, number, "a list of objects, or one object")
        except InputError as error:
            yield Fault(error, shown(value))


def _csv(path: Path, tell: Tell) -> Iterator[Row | Fault]:
    """A table with a line of names; a cell in quotes may hold line ends."""
    csv.field_size_limit(LONGEST)
    given = (decoded(line, path, number) + "\n" for number, line in lines(path, tell))
    head = next(given, "")
    comma = "\t" if kind_of(path) == ".tsv" else ";" if ";" in head and "," not in head else ","
    names = next(csv.reader([head], delimiter=comma), list[str]())
    _check_names(names, path)
    cells = csv.reader(given, delimiter=comma, strict=True)
    try:
        start = 2
        for row in cells:
            if row:
                yield _cells(names, row, path, start)
            start = cells.line_num + 2
    except csv.Error as error:
        where, hint = f"{path}:{cells.line_num + 1}", "is a quote left open, or not doubled?"
        raise InputError(f"broken table: {error}", where=where, hint=hint) from error


def _check_names(names: list[str], path: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not any(name.strip() for name in names):
        what = f"the column {twice[0]!r} stands twice" if twice else "no line of column names"
        raise InputError(what, where=f"{path}:1", hint="the first line names the columns, each once")


def _cells(names: list[str], cells: list[str], path: Path, line: int) -> Row | Fault:
    raw = ",".join(cells)[:SHOWN]
    if len(cells) != len(names):
        what = f"{len(cells)} cells, but {len(names)} columns"
        return Fault(InputError(what, where=f"{path}:{line}", hint="quote cells that hold the separator or a line end"), raw)
    for name, cell in zip(names, cells, strict=True):
        if _FORMULA.match(cell):
            hint = "put ' before it if it is meant as text, or take it out"
            return Fault(InputError("a spreadsheet formula", where=f'{path}:{line}, field "{name}"', hint=hint), raw)
    shielded = [cell[1:] if _ESCAPED.match(cell) else cell for cell in cells]
    return Row(dict(zip(names, shielded, strict=True)), path, line)
