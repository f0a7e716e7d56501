"""JSON lines written one by one, with their number and digest, and the rejected rows of an import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from accord.data.rows import Fault
from accord.runtime.files import sync


@dataclass(eq=False)
class JsonLines:
    """A file of JSON lines, created with its first line and flushed to disk when its context ends."""

    path: Path
    lines: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _file: IO[bytes] | None = None

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            sync(self.path)

    @property
    def digest(self) -> str:
        """The sha256 of the lines written so far."""
        return self._hash.hexdigest()

    def add(self, *values: Mapping[str, Any]) -> None:
        """Write values, one per line."""
        for value in values:
            self._file = self._file or self.path.open("wb")
            # Half of a surrogate pair has no UTF-8; it stays JSON's escape.
            line = (json.dumps(value, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
            self._file.write(line)
            self._hash.update(line)
            self.lines += 1


class RejectedRows(JsonLines):
    """Rows that could not be used, each with the reason."""

    def reject(self, fault: Fault) -> None:
        """Write a row with its error."""
        error = fault.error
        self.add({"where": error.where, "why": error.what, "hint": error.hint, "row": fault.raw})

    def keep(self, folder: Path, source: Path) -> Path:
        """Move the file into a folder under its source's name, replacing that of an earlier import, and return its path."""
        target = folder / f"{source.name.replace('/', '-')}.jsonl"
        target.parent.mkdir(exist_ok=True)
        return self.path.replace(target)
