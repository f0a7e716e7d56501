"""Marked spans of responses (errors and their kinds, as in fine-grained RLHF), kept beside the database in a project's annotations/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accord.errors import InputError

FOLDER = "annotations"
"""The folder of a project with the span files, one JSON object per line."""


@dataclass(frozen=True, slots=True)
class Span:
    """A labeler's mark in a response: characters ``start`` to ``end`` of its text, excluding ``end``."""

    response_id: str
    start: int
    end: int
    kind: str
    """The kind of error, for example ``Irrelevant``; empty for a response that was read without marking anything."""
    labeler: str
    explanation: str = ""

    @property
    def id(self) -> str:
        return f"{self.response_id}:{self.labeler}:{self.start}:{self.end}:{self.kind}"


def read_spans(project: Path) -> Iterator[Span]:
    """Yield every span of a project, ordered by file name.

    Raises:
        InputError: a line is not a span; the error names file and line.
    """
    for file in sorted((project / FOLDER).glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Span(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise InputError("not a span", where=f"{file}:{number}", hint="import the data set again") from error
