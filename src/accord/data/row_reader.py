"""Files as rows, one at a time: JSON lines, JSON, CSV and TSV, Parquet and Arrow. A truncated file yields its rows, then a fault."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from accord.data.archives import LONGEST, Encoding, Tell, chunks, decoded, kind_of, lines
from accord.data.rows import SHOWN, Fault, Row, shown
from accord.data.windows import Window
from accord.errors import InputError

_FORMULA = re.compile(r"=\s*[A-Za-z_.]+\s*[(|!]|[+@-](?:[A-Z]{2,}\(|[A-Za-z]+\|)")
_NEEDLESS = re.compile(r'"[^"\t\r\n]+"')
"""A quoted cell that needs no quotes."""
_CHOICES: tuple[str, ...] = ("question", "A", "B", "C", "D", "answer")
"""The columns of a table that has no line of names: MMLU's."""
_ESCAPED = re.compile(r"'+[=+@\t\r-]")


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a file; blank lines are skipped.

    Raises:
        InputError: the file cannot be read or is not UTF-8, or a row is not an object; the error names the line.
    """
    for row in rows_of(path):
        if isinstance(row, Fault):
            raise row.error
        yield row


def rows_of(path: Path, tell: Tell = id, encoding: Encoding = "utf-8") -> Iterator[Row | Fault]:
    """Yield the objects of a file, and a fault in the place of anything else. A truncated file ends with a fault for its rest.

    Raises:
        InputError: the file's kind is unknown.
    """
    kind = kind_of(path)
    try:
        if kind in (".parquet", ".arrow"):
            from accord.data.columnar import tables

            yield from tables(path, kind, tell)
        else:
            yield from {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _csv}[kind](path, tell, encoding)
    except InputError as error:
        yield Fault(error, "")


def _json_lines(path: Path, tell: Tell, encoding: Encoding) -> Iterator[Row | Fault]:
    for number, line in lines(path, tell, encoding):
        if line is None or line.strip():
            yield _json_line(line, path, number)


def _json_line(line: bytes | None, path: Path, number: int) -> Row | Fault:
    where, hint = f"{path}:{number}", "write one JSON object per line"
    try:
        text = decoded(line, path, number)
        return row_of(json.loads(text), path, number, hint)
    except (ValueError, RecursionError) as error:
        broken = error if isinstance(error, InputError) else InputError(f"broken JSON: {error}", where=where, hint=hint)
        return Fault(broken, (line or b"")[:SHOWN].decode(errors="replace"))


def row_of(value: object, path: Path, number: int, hint: str = "") -> Row:
    """Return an object as a row; a bare string is a prompt, as in a list of questions. Raises InputError for anything else."""
    if isinstance(value, str):
        return Row({"prompt": value}, path, number)
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object: {shown(value)}", where=f"{path}:{number}", hint=hint)
    return Row(cast(dict[str, Any], value), path, number)


def _json(path: Path, tell: Tell, encoding: Encoding) -> Iterator[Row | Fault]:
    """Yield the rows of a list of objects, one object, or consecutive objects."""
    for number, value in Window(path, chunks(path, tell, encoding), LONGEST).values():
        try:
            yield row_of(value, path, number, "a list of objects, or one object")
        except InputError as error:
            yield Fault(error, shown(value))


def _csv(path: Path, tell: Tell, encoding: Encoding) -> Iterator[Row | Fault]:
    """Yield the rows of a table with a header line; a quoted cell may contain line ends."""
    csv.field_size_limit(LONGEST)
    given = (decoded(line, path, number) + "\n" for number, line in lines(path, tell, encoding))
    head = next(given, "")
    comma = "\t" if kind_of(path) == ".tsv" else next((mark for mark in ";\t" if mark in head and "," not in head), ",")
    plain = csv.QUOTE_NONE if kind_of(path) == ".tsv" and not _has_quoting(path, encoding) else csv.QUOTE_MINIMAL
    cells = csv.reader(given, delimiter=comma, strict=True, quoting=plain)
    try:
        names, start = next(csv.reader([head], delimiter=comma, quoting=plain), list[str]()), 2
        if _are_choices(names):
            names, first = list(_CHOICES), names
            yield _cells(names, first, path, 1)
        _check_names(names, path)
        for row in cells:
            if row:
                yield _cells(names, row, path, start)
            start = cells.line_num + 2
    except csv.Error as error:
        where, hint = f"{path}:{cells.line_num + 1}", "is a quote left open, or not doubled?"
        raise InputError(f"broken table: {error}", where=where, hint=hint) from error


def _has_quoting(path: Path, encoding: Encoding) -> bool:
    """Return whether a tab-separated file quotes cells. Many tools write none: a quote is then a character like any other.

    A file quotes when it can be read so to its end, and no cell is quoted that needs no quotes (unless the names are quoted too).
    """
    given = [decoded(line, path, number) + "\n" for number, line in lines(path, id, encoding) if line is not None]
    needless = any(_NEEDLESS.fullmatch(cell) for line in given[1:] for cell in line.removesuffix("\n").split("\t"))
    if not given or (needless and not given[0].startswith('"')):
        return False
    try:
        return len({len(row) for row in csv.reader(given, delimiter="\t", strict=True) if row}) == 1
    except csv.Error:
        # broken either way: what is wrong with the quotes, or else with its lines, is then said
        with suppress(csv.Error):
            return len({len(row) for row in csv.reader(given, delimiter="\t", quoting=csv.QUOTE_NONE) if row}) != 1
        return False


def _are_choices(names: list[str]) -> bool:
    """Return whether the first line of a table is a question with four choices and the letter of the right one, as in MMLU's files."""
    return len(names) == len(_CHOICES) and names[-1] in _CHOICES[1:-1] and tuple(names[1:-1]) != _CHOICES[1:-1] and bool(names[0].strip())


def _check_names(names: list[str], path: Path) -> None:
    twice = sorted({name for name, count in Counter(names).items() if count > 1})
    if twice or not any(name.strip() for name in names):
        what = f"the column {twice[0]!r} occurs twice" if twice else "no line of column names"
        raise InputError(what, where=f"{path}:1", hint="the first line must name each column once")


def _cells(names: list[str], cells: list[str], path: Path, line: int) -> Row | Fault:
    raw = ",".join(cells)[:SHOWN]
    if len(cells) != len(names):
        what = f"{len(cells)} cells, but {len(names)} columns"
        return Fault(InputError(what, where=f"{path}:{line}", hint="quote cells that hold the separator or a line end"), raw)
    for name, cell in zip(names, cells, strict=True):
        if _FORMULA.match(cell):
            hint = "put ' before it if it is meant as text, or remove it"
            return Fault(InputError("a spreadsheet formula", where=f'{path}:{line}, field "{name}"', hint=hint), raw)
    shielded = [cell[1:] if _ESCAPED.match(cell) else cell for cell in cells]
    return Row(dict(zip(names, shielded, strict=True)), path, line)
