"""One row of a foreign file: an object whose fields are read with their form checked, so that errors name file, line and field."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError

SHOWN = 2000
"""Characters of an unusable row that are kept beside its reason."""
_CELL = 1_000_000
"""Longest cell of a table that is read as a list."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used, or what is left of a file that breaks off."""

    error: InputError
    raw: str
    """The row as it stands, cut at ``SHOWN`` characters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file, whose fields are read with their form checked."""

    value: dict[str, Any]
    file: Path
    line: int
    """The line it starts on; in Parquet and Arrow files, which have no lines, its number from 1."""
    inside: str = ""
    """The field of the line's object that this object stands in, when it is not the line itself."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, field: str, what: str, hint: str = "") -> InputError:
        return InputError(what, where=f'{self.where}, field "{self.inside}{field}"', hint=hint)

    def fault(self, error: InputError) -> Fault:
        return Fault(error, json.dumps(self.value, ensure_ascii=False, default=str)[:SHOWN])

    def has(self, *fields: str) -> bool:
        """Whether every field is there and is not null."""
        return all(self.value.get(field) is not None for field in fields)

    def text(self, field: str, default: str | None = None) -> str:
        """A string; ``default`` when the field is missing or null.

        Raises:
            InputError: it is missing without a default, no string, or holds what no text may: a NUL, half of a surrogate pair.
        """
        value = self.value.get(field)
        if value is None and default is not None:
            return default
        return self._string(field, value)

    def word(self, field: str, default: str = "") -> str:
        """A short string such as a name or a time; numbers and dates are written out, and an empty one is the default."""
        value = self.value.get(field)
        plain = isinstance(value, int | float) or hasattr(value, "isoformat")
        text = self._string(field, str(value)) if plain else self.text(field, default)
        return text.strip() or default

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings. Raises InputError when it is none."""
        return tuple(self._string(f"{field}[{i}]", value) for i, value in enumerate(self.items(field)))

    def ranks(self, field: str) -> tuple[int, ...]:
        """A list of whole numbers from 1 on. Raises InputError when it is none."""
        values = self.items(field)
        if any(type(value) is not int or value < 1 for value in values):
            raise self.error(field, f"ranks are whole numbers from 1 (best), here {shown(values)}")
        return tuple(values)

    def whole(self, field: str) -> int:
        """A whole number. Raises InputError when it is none."""
        value = self.number(field)
        if value != int(value):
            raise self.error(field, f"not a whole number: {value}")
        return int(value)

    def number(self, field: str) -> float:
        """A number, also one that is written as text, as in a table. Raises InputError when it is none."""
        value = self.value.get(field)
        try:
            number = math.nan if isinstance(value, bool) or value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(field, "missing" if value is None else f"not a number: {shown(value)}")
        return number

    def truth(self, field: str) -> bool:
        """True or false, also written as 1 and 0 or in words. Raises InputError when it is neither."""
        value = self.value.get(field)
        word = str(value).strip().lower()
        if value is None or word not in ("true", "false", "1", "0", "yes", "no"):
            raise self.error(field, "missing" if value is None else f"neither true nor false: {shown(value)}")
        return word in ("true", "1", "yes")

    def rows(self, field: str) -> tuple[Row, ...]:
        """A list of objects. Raises InputError when it is none."""
        return tuple(self._row(f"{field}[{i}]", value) for i, value in enumerate(self.items(field)))

    def row(self, field: str) -> Row:
        """One object. Raises InputError when it is none."""
        return self._row(field, self.value.get(field))

    def first(self, field: str) -> Row:
        """The first of a list of objects. Raises InputError when there is none."""
        rows = self.rows(field)
        if not rows:
            raise self.error(field, "an empty list")
        return rows[0]

    def items(self, field: str) -> list[Any]:
        """A list of anything; in a table, a cell that is written as one. Raises InputError when it is none."""
        value: Any = self.value.get(field)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = listed(value)
        if not isinstance(value, list):
            raise self.error(field, "missing" if value is None else f"not a list: {shown(value)}")
        return cast(list[Any], value)

    def named(self, columns: Mapping[str, str]) -> Row:
        """The row with fields taken from columns of other names; ``a.b`` is a field inside a field.

        Raises:
            InputError: there is no such column.
        """
        return Row({**self.value, **{field: self._column(column) for field, column in columns.items()}}, self.file, self.line, self.inside)

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
        return Row(cast(dict[str, Any], value), self.file, self.line, f"{self.inside}{field}.")

    def _string(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(field, "missing" if value is None else f"not a string: {shown(value)}")
        if "\0" in value:
            raise self.error(field, "holds a NUL character, which no text has", "take it out; is the file UTF-16, or binary?")
        if not _encodable(value):
            raise self.error(field, "holds half of a surrogate pair, which is not Unicode text")
        return value


def shown(value: object) -> str:
    """A value in at most sixty characters, for an error."""
    return repr(value)[:60]


def listed(cell: str) -> object:
    """A cell as the list that it is written as, in JSON's way or Python's; None when it is none."""
    if len(cell) > _CELL:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(cell.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
