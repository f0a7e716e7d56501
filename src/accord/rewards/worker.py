"""The process of a reward that runs apart from the training: `python -m accord.rewards.worker`, asked and answering in lines of JSON.

The first line names what to load; it is answered with what the function asks for. Each further line holds rows. A function answers with
one line, a verifier with a line per row, so that the other side sees which row takes too long. Prints go to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO, cast

from accord.errors import AccordError
from accord.records import Media, Message
from accord.rewards.functions import FunctionReward, load_function
from accord.rewards.rows import Said
from accord.rewards.verifiers import verifier
from accord.runtime import plugins


def main() -> None:
    """Serve standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _end_with_parent(os.getppid())
    lines = iter(sys.stdin.readline, "")
    asked = json.loads(next(lines))
    _limit_memory(int(asked["memory_mb"]))
    try:
        if asked["kind"] == "verifier":
            _say(answers, {"asks": {}})
            _verify(asked, lines, answers)
            return
        made = _function(asked)
    except AccordError as error:
        _say(answers, _refusal(error))
        return
    _say(answers, {"asks": asdict(made.asks)})
    for line in lines:
        try:
            _say(answers, {"scores": made.score([_row(row) for row in json.loads(line)])})
        except AccordError as error:
            _say(answers, _refusal(error))


def _function(asked: dict[str, Any]) -> FunctionReward:
    name = asked["name"]
    function = plugins.load_function("rewards", name) if asked["kind"] == "plugin" else load_function(name, Path(asked["folder"]))
    return FunctionReward(name, function, asked["seconds"], asked["batch"], asked["workers"])


def _verify(asked: dict[str, Any], lines: Iterator[str], answers: TextIO) -> None:
    """Answer every row by itself: this is the process's main thread, which math-verify's signals need."""
    check = verifier(asked["name"], asked["argument"])
    for line in lines:
        for response, expected in json.loads(line):
            try:
                _say(answers, {"score": check(response, expected)})
            except (Exception, MemoryError, RecursionError) as error:
                _say(answers, {"failed": f"{type(error).__name__}: {error}"[:300]})


def _row(row: dict[str, Any]) -> Said:
    known = {each.name for each in fields(Message)}
    messages = list[Message]()
    for message in row["messages"]:
        given = {name: value for name, value in message.items() if name in known}
        media = tuple(Media(**each) for each in given.pop("media", ()))
        messages.append(Message(**given, media=media))
    return Said(tuple(messages), row["response"], row["extra"], row["id"], tuple(row["tokens"]))


def _refusal(error: AccordError) -> dict[str, Any]:
    return {"refused": [type(error).__name__, error.what, error.where, error.hint]}


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _limit_memory(megabytes: int) -> None:
    """Let an allocation beyond the limit fail with MemoryError, where the system knows such a limit."""
    if megabytes and sys.platform == "linux":
        import resource

        # Private memory that can be written: reservations of address space, such as CUDA's, do not count.
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


def _end_with_parent(parent: int) -> None:
    """End this process and what it started when the training is gone, killed for example."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGKILL)

    if hasattr(os, "killpg"):
        threading.Thread(target=watch, daemon=True).start()
    if sys.platform == "linux":
        import ctypes

        cast("Any", ctypes.CDLL(None)).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main()
