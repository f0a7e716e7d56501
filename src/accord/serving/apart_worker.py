"""The process that screens and searches long texts: `python -m accord.serving.apart_worker`, asked and answering in lines of JSON.

It ends when its standard input does, and with that the server that started it.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import astuple
from typing import Any

from accord.data.retrieval import Document
from accord.serving import screens
from accord.serving.apart import found_near

LATER = 5
"""By how much its priority is below the server's."""


def main() -> None:
    """Answer the lines of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints is no answer
    with suppress(OSError):
        os.nice(LATER)
    for line in iter(sys.stdin.buffer.readline, b""):
        try:
            answer: dict[str, Any] = {"found": _found(json.loads(line))}
        except Exception as error:  # told to whoever asked; the next text may be another's
            answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _found(asked: dict[str, Any]) -> Any:
    if asked["do"] == "kinds":
        return screens.kinds(asked["text"])
    near, enough = found_near(asked["question"], [Document(*each) for each in asked["documents"]])
    return [[astuple(quote) for quote in near], enough]


if __name__ == "__main__":
    main()
