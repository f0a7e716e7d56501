"""Marked parts of responses (errors and their kinds, as in fine-grained RLHF), kept beside the store in a project's annotations/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accord.errors import InputError

FOLDER = "annotations"
"""The folder of a project in which files of spans stand, one JSON object a line."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a labeler marked in a response: characters ``start`` to ``end`` of its text, the end not included."""

    response_id: str
    start: int
    end: int
    kind: str
    """What is wrong there, e.g. ``Irrelevant``; empty for a response that was read and in which nothing was marked."""
    labeler: str
    explanation: str = ""

    @property
    def id(self) -> str:
        return f"{self.response_id}:{self.labeler}:{self.start}:{self.end}:{self.kind}"


def read_spans(project: Path) -> Iterator[Span]:
    """Every span of a project, in the order of the files' names.

    Raises:
        InputError: a line is no span; names file and line.
    """
    for file in sorted((project / FOLDER).glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Span(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise InputError("not a span", where=f"{file}:{number}", hint="import the data set again") from error
