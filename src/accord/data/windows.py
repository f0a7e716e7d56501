"""A JSON file read value by value through a moving window, so that a list of any length needs the memory of one element."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path

from accord.errors import InputError

_NEAR = 32
"""A JSON error within this many characters of the window's end may come from an unfinished value."""
AGAIN = "copy or download the file again, or fix it there"


class Window:
    """The part of a file in memory. ``line`` is the current line."""

    def __init__(self, path: Path, chunks: Iterator[bytes], longest: int) -> None:
        self.path, self.chunks, self.longest = path, chunks, longest
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.place, self.line, self.ended = "", 0, 1, False

    def values(self) -> Iterator[tuple[int, object]]:
        """Yield the elements of a list, or consecutive values, each with its line.

        Raises:
            InputError: the file is truncated or not JSON; the error names the line.
        """
        if listed := self._next() == "[":
            self.place += 1
        while mark := self._next():
            if listed and mark == "]":
                self.place += 1
                if self._next():
                    raise self._error(
                        "there is text after the end of the list", hint="delete it, or write one record per line (JSON lines)"
                    )
                return
            yield self.line, self._value()
            if listed and self._next() == ",":
                self.place += 1
            elif listed and self._next() != "]":
                if self.ended:
                    raise self._error("the file ends inside its list", hint=AGAIN)
                raise self._error("no comma between two elements", hint="add it, or write one record per line")
        if listed:
            raise self._error("the file ends inside its list", hint=AGAIN)

    def _next(self) -> str:
        """Return the next non-blank character, or an empty string at the end of the file."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in " \t\r\n":
                self.line += self.text[self.place] == "\n"
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if not self._more():
                return ""

    def _value(self) -> object:
        wanted = 0
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _NEAR
                if not unfinished or not self._grow(wanted):
                    line = self.text.count("\n", self.place, error.pos)
                    raise self._error(f"broken JSON: {error.msg}", line, hint=AGAIN) from error
                wanted = 2 * (len(self.text) - self.place)
            except (ValueError, RecursionError) as error:
                raise self._error(f"broken JSON: {error}", hint=AGAIN) from error
            else:
                if isinstance(value, int | float) and end == len(self.text) and self._grow(0):
                    continue  # a number may go on behind the window
                self.line += self.text.count("\n", self.place, end)
                self.place = end
                return value

    def _grow(self, wanted: int) -> bool:
        """Read on until the window holds ``wanted`` characters beyond its position; return whether it grew."""
        before = len(self.text) - self.place
        if before > self.longest:
            raise self._error(f"a value of more than {self.longest >> 20} MiB", hint="split it")
        while len(self.text) - self.place < max(wanted, before + 1) and self._more():
            pass
        return len(self.text) - self.place > before

    def _more(self) -> bool:
        if self.ended:
            return False
        chunk = next(self.chunks, b"")
        self.ended = not chunk
        try:
            decoded = self.decoder.decode(chunk, final=self.ended)
        except UnicodeDecodeError as error:
            bad = error.object[error.start]
            more = self.text.count("\n", self.place) + error.object.count(b"\n", 0, error.start)
            raise self._error(f"not UTF-8 (byte {bad:#04x})", more, "convert it to UTF-8") from error
        self.text, self.place = self.text[self.place :] + decoded, 0
        return True

    def _error(self, what: str, after: int = 0, hint: str = "") -> InputError:
        return InputError(what, where=f"{self.path}:{self.line + after}", hint=hint)
