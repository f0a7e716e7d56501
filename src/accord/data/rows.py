"""One row of a foreign file: an object with checked access to its fields, so that errors name file, line and field.

A row remembers which of its fields were read. What a format did not read is told to the user (``unread``), so a format cannot lose a
column without a word: it would have to forget to read it, and then the column is named.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError

SHOWN = 2000
"""Characters of an unusable row that are kept beside its reason."""
LARGEST_RANK, LARGEST_WHOLE = 1_000_000, 2**53
"""Largest rank, and largest other whole number, which a float still holds exactly."""
_CELL = 1_000_000
"""Longest table cell that is parsed as a list."""
TOGETHER = ""
"""The field in which a gathered row holds the rows it was made of, so that their fields keep their names."""
HALF_A_PAIR = "contains half of a surrogate pair, which is not valid Unicode"
_GATHERED = re.compile(r"^\[\d+\]\.")


@dataclass(frozen=True, slots=True)
class Fault:
    """An unusable row, or the rest of a truncated file."""

    error: InputError
    raw: str
    """The original row, cut at ``SHOWN`` characters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file, with checked access to its fields."""

    value: dict[str, Any]
    file: Path
    line: int
    """The line it starts on; for Parquet and Arrow files, which have no lines, its row number from 1."""
    inside: str = ""
    """The field that holds this object within the line's object, when it is not the line itself."""
    reads: set[str] = field(default_factory=set[str], compare=False, repr=False)
    """Paths of the fields that were read, shared by all rows of a line: ``a`` as a whole, ``a/`` by its own fields."""
    columns: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)
    """Columns from which fields of other names were taken."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, field: str, what: str, hint: str = "") -> InputError:
        return InputError(what, where=f'{self.where}, field "{self.inside}{field}"', hint=hint)

    def fault(self, error: InputError) -> Fault:
        return Fault(error, json.dumps(self.value, ensure_ascii=False, default=str)[:SHOWN])

    def like(self, value: dict[str, Any], inside: str | None = None) -> Row:
        """Return another object of the same line; what is read of it counts as read of this one."""
        return Row(value, self.file, self.line, self.inside if inside is None else inside, self.reads, self.columns)

    def has(self, *fields: str) -> bool:
        """Return whether every field is present and not null; this does not read them."""
        return all(self.value.get(field) is not None for field in fields)

    def peek(self, field: str) -> Any:
        """Return a value without reading it, to choose how it is to be read."""
        return self.value.get(field)

    def raw(self, field: str) -> Any:
        """Return a value as it is. All of it counts as read."""
        self.reads.add(self.inside + field)
        return self.value.get(field)

    def pass_over(self) -> None:
        """Count this object within a line as read: it is left out, and the reason is counted."""
        self.reads.add(self.inside.removesuffix("."))

    def unread(self) -> Iterator[str]:
        """Yield the paths of fields that hold something and were not read, such as ``score`` or ``messages[0].weight``."""
        for name, column in self.columns.items():
            if name in self.reads or f"{name}/" in self.reads:
                parts = [column] if column in self.value else column.split(".")
                self.reads.update(".".join(parts[:n]) + "/" for n in range(1, len(parts)))
                self.reads.add(".".join(parts))
        if TOGETHER not in self.value:
            yield from _unread(self.value, self.inside, self.reads)
            return
        # A column of gathered rows is read when it was read in the first one, which speaks for all, or in the others.
        read = {_GATHERED.sub("", path).removesuffix("/") for path in self.reads}
        yield from (path for path in _unread(self.value, self.inside, self.reads) if _GATHERED.sub("", path) not in read)

    def text(self, field: str, default: str | None = None) -> str:
        """Return a string; ``default`` when the field is missing or null.

        Raises:
            InputError: the field is missing without a default, not a string, or contains a NUL or half of a surrogate pair.
        """
        value = self.raw(field)
        if value is None and default is not None:
            return default
        return self._string(field, value)

    def word(self, field: str, default: str = "") -> str:
        """Return a short string such as a name or a time; numbers and dates become text, and an empty value becomes the default."""
        value = self.raw(field)
        plain = isinstance(value, int | float) or hasattr(value, "isoformat")
        text = self._string(field, str(value)) if plain else self.text(field, default)
        return text.strip() or default

    def texts(self, field: str) -> tuple[str, ...]:
        """Return a list of strings. Raises InputError for anything else."""
        return tuple(self._string(f"{field}[{i}]", value) for i, value in enumerate(self.items(field)))

    def ranks(self, field: str) -> tuple[int, ...]:
        """Return a list of whole numbers from 1, which tables write as 1.0 too. Raises InputError for anything else."""
        values: list[Any] = [int(value) if isinstance(value, float) and value.is_integer() else value for value in self.items(field)]
        if any(type(value) is not int or not 1 <= value <= LARGEST_RANK for value in values):
            raise self.error(field, f"ranks are whole numbers from 1 (best) to {LARGEST_RANK}, not {shown(values)}")
        return tuple(values)

    def whole(self, field: str) -> int:
        """Return a whole number. Raises InputError for anything else."""
        value = self.number(field)
        if value != int(value) or abs(value) > LARGEST_WHOLE:
            raise self.error(field, f"not a whole number: {value}" if value != int(value) else f"too large a number: {value}")
        return int(value)

    def number(self, field: str) -> float:
        """Return a number, which may be written as text, as in a table. Raises InputError for anything else."""
        value = self.raw(field)
        try:
            number = math.nan if isinstance(value, bool) or value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(field, "missing" if value is None else f"not a number: {shown(value)}")
        return number

    def truth(self, field: str) -> bool:
        """Return a boolean, which may be written as 1 and 0 or in words. Raises InputError for anything else."""
        value = self.raw(field)
        word = str(value).strip().lower()
        if value is None or word not in ("true", "false", "1", "0", "yes", "no"):
            raise self.error(field, "missing" if value is None else f"neither true nor false: {shown(value)}")
        return word in ("true", "1", "yes")

    def rows(self, field: str) -> tuple[Row, ...]:
        """Return a list of objects as rows. Raises InputError for anything else."""
        self.reads.add(f"{self.inside}{field}/")
        return tuple(self._row(f"{field}[{i}]", value) for i, value in enumerate(self._items(field)))

    def row(self, field: str) -> Row:
        """Return an object as a row. Raises InputError for anything else."""
        self.reads.add(f"{self.inside}{field}/")
        return self._row(field, self.value.get(field))

    def object(self, field: str) -> dict[str, Any]:
        """Return an object, which may be written as JSON text, as in a table; empty when the field is missing, null or an empty text.

        Raises:
            InputError: it is something else.
        """
        value: Any = self.raw(field)
        if isinstance(value, str) and value.strip():
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = self.value[field]
        if value is None or value == "":
            return {}
        if not isinstance(value, dict):
            raise self.error(field, f"not a JSON object: {shown(value)}", "write the data that rewards read as an object")
        return cast(dict[str, Any], value)

    def first(self, field: str) -> Row:
        """Return the first of a list of objects. Raises InputError when there is none."""
        rows = self.rows(field)
        if not rows:
            raise self.error(field, "an empty list")
        return rows[0]

    def items(self, field: str) -> list[Any]:
        """Return a list; in a table, a cell written as a list. Raises InputError for anything else."""
        self.reads.add(self.inside + field)
        return self._items(field)

    def _items(self, field: str) -> list[Any]:
        value: Any = self.value.get(field)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = listed(value)
        if not isinstance(value, list):
            raise self.error(field, "missing" if value is None else f"not a list: {shown(value)}")
        return cast(list[Any], value)

    def named(self, columns: Mapping[str, str]) -> Row:
        """Return the row with fields taken from columns of other names; ``a.b`` is a field inside a field.

        Raises:
            InputError: there is no such column.
        """
        given = {field: self._column(column) for field, column in columns.items()}
        # A field that the row has itself stays in sight under a name that nobody reads, so that it is named as not read.
        hidden = {replaced(field): self.value[field] for field in given if self.has(field) and columns[field] != field}
        return Row({**self.value, **hidden, **given}, self.file, self.line, self.inside, self.reads, columns)

    def _column(self, column: str) -> Any:
        value: Any = self.value
        for part in (column,) if column in self.value else column.split("."):
            if not isinstance(value, dict) or part not in value:
                raise self.error(column, "there is no such column", f"the row has {', '.join(map(str, self.value)) or 'none'}"[:200])
            value = cast(dict[str, Any], value)[part]
        return value

    def _row(self, field: str, value: object) -> Row:
        if not isinstance(value, dict):
            raise self.error(field, "missing" if value is None else f"not an object: {shown(value)}")
        return Row(cast(dict[str, Any], value), self.file, self.line, f"{self.inside}{field}.", self.reads)

    def _string(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(field, "missing" if value is None else f"not a string: {shown(value)}")
        if "\0" in value:
            raise self.error(field, "contains a NUL character", "remove it; is the file UTF-16, or binary?")
        if not _encodable(value):
            raise self.error(field, HALF_A_PAIR)
        return value


def shown(value: object) -> str:
    """Return a value in at most sixty characters, for an error."""
    return repr(value)[:60]


def listed(cell: str) -> object:
    """Parse a cell as a list in JSON's or Python's notation; return None if it is not a list."""
    if len(cell) > _CELL:
        return None
    for read in (json.loads, ast.literal_eval, _objects_of_numpy):
        try:
            return read(cell.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _objects_of_numpy(cell: str) -> object:
    """Parse an array of objects as pandas writes it into a table: one a line, without commas."""
    return ast.literal_eval(re.sub(r"\}\s*\n\s*\{", "}, {", cell)) if cell.startswith("[{") else None


def _unread(value: Mapping[str, Any], inside: str, reads: set[str]) -> Iterator[str]:
    for key, item in value.items():
        path = f"{inside}{key}"
        if path in reads or empty(item):
            continue
        if f"{path}/" not in reads:
            yield path
            continue
        within: Any = listed(item) if isinstance(item, str) else item
        if isinstance(within, dict):
            yield from _unread(cast(dict[str, Any], within), f"{path}.", reads)
        for i, part in enumerate(cast(list[Any], within) if isinstance(within, list) else ()):
            if isinstance(part, dict) and f"{path}[{i}]" not in reads:
                yield from _unread(cast(dict[str, Any], part), f"{path}[{i}].", reads)


def replaced(field: str) -> str:
    """Return the name under which a row keeps its own value of a field for which another column was mapped."""
    return f"{field} (replaced by --map)"


def first_object(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return the first object of a list in a field; an empty one where there is none."""
    items: Any = value.get(field)
    first: Any = items[0] if isinstance(items, list) and items else None
    return cast("dict[str, Any]", first) if isinstance(first, dict) else {}


def empty(value: object) -> bool:
    """Return whether a value holds nothing: null, an empty text, or a list or object of nothing."""
    if isinstance(value, dict):
        return all(map(empty, cast(dict[str, Any], value).values()))
    if isinstance(value, list):
        return all(map(empty, cast(list[Any], value)))
    return value is None or (isinstance(value, str) and not value.strip())


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: dates as text, bytes in base64, and numbers that are none as text."""
    if isinstance(value, dict):
        return {str(plain(str(key))): plain(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(list[Any], value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "�")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int) else str(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
