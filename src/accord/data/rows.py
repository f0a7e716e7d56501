"""Files as rows: JSON lines and plain text, gzipped or not, with errors that name file, line and field."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError


@dataclass(frozen=True)
class Row:
    """One JSON object of a file, whose fields are read with their form checked."""

    value: dict[str, Any]
    file: Path
    line: int
    inside: str = ""
    """The field of the line's object that this object stands in, when it is not the line itself."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, field: str, what: str) -> InputError:
        return InputError(what, where=f'{self.where}, field "{self.inside}{field}"')

    def text(self, field: str, default: str | None = None) -> str:
        """A string; ``default`` when the field is missing or null.

        Raises:
            InputError: it is missing without a default, no string, or holds half a character pair, which no file can.
        """
        value = self.value.get(field)
        if value is None and default is not None:
            return default
        return self._string(field, value)

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings. Raises InputError when it is none."""
        return tuple(self._string(f"{field}[{i}]", value) for i, value in enumerate(self._list(field)))

    def ranks(self, field: str) -> tuple[int, ...]:
        """A list of whole numbers from 1 on. Raises InputError when it is none."""
        values = self._list(field)
        if any(type(value) is not int or value < 1 for value in values):
            raise self.error(field, f"ranks are whole numbers from 1 (best), here {values}")
        return tuple(values)

    def rows(self, field: str) -> tuple[Row, ...]:
        """A list of objects. Raises InputError when it is none."""
        return tuple(self._row(f"{field}[{i}]", value) for i, value in enumerate(self._list(field)))

    def first(self, field: str) -> Row:
        """The first of a list of objects. Raises InputError when there is none."""
        rows = self.rows(field)
        if not rows:
            raise self.error(field, "an empty list")
        return rows[0]

    def _row(self, field: str, value: object) -> Row:
        if not isinstance(value, dict):
            raise self.error(field, f"not an object: {_shown(value)}")
        return Row(cast(dict[str, Any], value), self.file, self.line, f"{self.inside}{field}.")

    def _list(self, field: str) -> list[Any]:
        value = self.value.get(field)
        if not isinstance(value, list):
            raise self.error(field, "missing" if value is None else f"not a list: {_shown(value)}")
        return cast(list[Any], value)

    def _string(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(field, "missing" if value is None else f"not a string: {_shown(value)}")
        if not _encodable(value):
            raise self.error(field, "holds half of a surrogate pair, which is not Unicode text")
        return value


def files_of(path: Path) -> list[Path]:
    """The file itself, or the .txt files of a folder in the order of their names.

    Raises:
        InputError: it is not there, not a file, or a folder without .txt files.
    """
    if path.is_dir():
        files = sorted(file for pattern in ("*.txt", "*.txt.gz") for file in path.glob(pattern))
        if not files:
            raise InputError("a folder without .txt files", where=str(path), hint="other formats are imported file by file")
        return files
    if not path.is_file():
        raise InputError("there is no such file", where=str(path))
    return [path]


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read, or is not UTF-8; names the line.
    """
    with _reading(path):
        content = _content(path)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"not UTF-8 (byte {content[error.start]:#04x})", where=f"{path}:{line}", hint="convert it to UTF-8") from error


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON lines file; blank lines are passed over.

    Raises:
        InputError: it cannot be read, is not UTF-8, or a line is not a JSON object; names the line.
    """
    for line, text in enumerate(read_text(path).split("\n"), 1):
        if text.strip():
            yield Row(_object(text, f"{path}:{line}"), path, line)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"broken JSON: {error}", where=where, hint="one JSON object a line") from error
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object: {_shown(value)}", where=where, hint="one JSON object a line")
    return cast(dict[str, Any], value)


def _content(path: Path) -> bytes:
    if path.name.endswith(".gz"):
        with gzip.open(path) as file:
            return file.read()
    return path.read_bytes()


@contextmanager
def _reading(path: Path) -> Generator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"it cannot be read: {error}", where=str(path)) from error


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(value)[:60]
