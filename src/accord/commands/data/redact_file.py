"""`accord redact FILE`: personal data in a file of rows or text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, cast

from accord.commands.data.redact_findings import Found, counts, write_findings, write_lines
from accord.data.archives import kind_of, text_lines
from accord.data.patterns import Kind
from accord.data.personal import Mode, More, redact_all
from accord.data.pipeline import strings
from accord.data.row_reader import read_rows
from accord.errors import UsageError

Line = tuple[int, str, list[str], Callable[[list[str]], str]]
"""A line's number, the line, the texts in it, and how the line is written with others in their places."""


def redact_file(path: Path, mode: Mode, kinds: Collection[Kind], *, out: Path | None, more: More | None = None) -> dict[str, Any]:
    """Find personal data in a file of text or rows.

    With ``replace`` and ``drop`` write ``out`` without it, whole or not at all, rows as JSON lines, text as it came; with ``review``
    write the findings there.

    Raises:
        UsageError: there is no ``out`` to write to.
        InputError: the file cannot be read; names the line.
    """
    if mode != "review" and out is None:
        raise UsageError(f"mode {mode} needs a file to write", where="--out", hint="--out clean.jsonl")
    found, dropped, read = list[Found](), 0, 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as written:
        for number, line, texts, with_texts in _lines(path):
            done = redact_all(texts, mode, kinds, more)
            read += 1
            for redacted in done:
                found += [Found(path.name, str(number), finding) for finding in redacted.findings]
            # One finding drops all texts of a line, so the first of them tells.
            kept = not done or done[0].kept
            dropped += not kept
            if mode != "review" and kept:
                written.write((with_texts([redacted.text for redacted in done]) if mode == "replace" else line) + "\n")
        written.seek(0)
        if mode == "review":
            write_findings(out, found)
        elif out is not None:
            write_lines(out, written)
    return {"read": read, "dropped": dropped, **counts(found)}


def _lines(path: Path) -> Iterator[Line]:
    if kind_of(path) == ".txt":
        for number, line in enumerate(text_lines(path), 1):
            yield number, line, [line], lambda texts: texts[0]
        return
    for row in read_rows(path):
        value = row.value
        yield row.line, json.dumps(value, ensure_ascii=False), list(strings(value)), lambda texts, value=value: _with(value, texts)


def _with(value: object, texts: list[str]) -> str:
    """A JSON value with other strings in the places of its own."""
    waiting = iter(texts)

    def put(part: object) -> object:
        if isinstance(part, str):
            return next(waiting)
        if isinstance(part, dict):
            return {key: put(inner) for key, inner in cast("dict[str, object]", part).items()}
        if isinstance(part, list):
            return [put(inner) for inner in cast("list[object]", part)]
        return part

    return json.dumps(put(value), ensure_ascii=False)
