"""Rewards in a process of their own: what crashes, hangs, or eats memory there ends that process and not the training."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from accord import errors
from accord.errors import AccordError, RunError
from accord.rewards.functions import Asks, culprit
from accord.rewards.rows import AGAIN, ONE, Said, Scores, named, plain

GRACE = 10.0
"""Seconds that the process may take beyond its own time limit before it is killed, and to start."""
START = 120.0
"""Seconds in which the process must have imported what it runs."""
ROW_SECONDS = 10.0
"""Time limit of a verifier for one response."""


class Worker:
    """A process that answers in lines of JSON. It is started at the first request, and again after it died."""

    def __init__(self, asked: dict[str, Any], where: str) -> None:
        self.asked, self.where = asked, where
        self.opening: dict[str, Any] = {}
        """The answer to the first line."""
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def start(self) -> None:
        """Start the process, unless it runs. Raises RunError, or what the process refuses."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        command = [sys.executable, "-m", "accord.rewards.worker"]
        paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=os.environ | {"PYTHONPATH": paths}
        )
        weakref.finalize(self, _kill, self._process)
        self.say(self.asked)
        self.opening = self.hear(time.monotonic() + START)

    def say(self, line: Any) -> None:
        """Send a line. A process that is gone is noticed when it is heard."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self, end: float) -> dict[str, Any]:
        """Return the next line.

        Raises:
            TimeoutError: none came in time; the process is killed.
            Died: the process ended.
            AccordError: as the process raised it.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not ready.select(max(0.0, end - time.monotonic())):
                    self.stop()
                    raise TimeoutError
                read = os.read(self._process.stdout.fileno(), 1 << 16)
                if not read:
                    code = self._process.wait()
                    self.stop()
                    raise Died(_ending(code))
                self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        answer = cast("dict[str, Any]", json.loads(line))
        if "refused" in answer:
            kind, what, where, hint = answer["refused"]
            raise cast("type[AccordError]", getattr(errors, kind))(what, where=where, hint=hint)
        return answer

    def stop(self) -> None:
        """End the process and what it started."""
        if self._process is not None:
            _kill(self._process)
        self._process, self._rest = None, b""


class Died(Exception):
    """The process ended without an answer."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
    return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def memory_megabytes(asked: int) -> int:
    """Return the memory limit of a reward's process: what was asked, or half of this machine's memory; 0 where that is not known."""
    if asked or not hasattr(os, "sysconf"):
        return asked
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 >> 20


@dataclass(frozen=True)
class IsolatedFunction:
    """A Python function in a process of its own.

    Args:
        kind: ``function`` for module:function, ``plugin`` for a plugin's name.
        folder: where the module is looked for first.
        memory_mb: the process's memory limit; 0 is half of the machine's.
    """

    name: str
    kind: str
    folder: str
    seconds: float = 600
    batch: int = 0
    workers: int = 8
    memory_mb: int = 0
    worker: Worker = field(init=False, compare=False)

    def __post_init__(self) -> None:
        asked = {"kind": self.kind, "name": self.name, "folder": self.folder, "seconds": self.seconds, "batch": self.batch}
        asked |= {"workers": self.workers, "memory_mb": memory_megabytes(self.memory_mb)}
        object.__setattr__(self, "worker", Worker(asked, f"the reward {self.name}"))

    @property
    def asks(self) -> Asks:
        """What the function asks for, as its process read it."""
        self._start()
        told = self.worker.opening["asks"]
        return Asks(tuple(told["needed"]), tuple(told["wanted"]), told["everything"], tuple(told["given"]))

    def score(self, rows: Sequence[Said]) -> Scores:
        """Ask the process.

        Raises:
            RunError: the function raised, took too long, or its process died; names the row. The next call starts a new process.
        """
        end = time.monotonic() + self.seconds + GRACE
        try:
            return self._asked(rows, end)
        except TimeoutError:
            what = f"did not come back within {self.seconds:g} s; its process was killed"
            raise RunError(what, where=self.worker.where, hint=AGAIN) from None
        except Died as error:
            place = culprit(rows, lambda some: self._kills(some, end))
            raise RunError(f"{error}, for {named(rows, place)}", where=self.worker.where, hint=AGAIN) from None

    def _start(self) -> None:
        try:
            self.worker.start()
        except (TimeoutError, Died) as error:
            what = str(error) or f"was not imported within {START:g} s"
            raise RunError(what, where=self.worker.where, hint=f"is it imported by `python -c`? {AGAIN}") from None

    def _asked(self, rows: Sequence[Said], end: float) -> Scores:
        self._start()
        self.worker.say([_sent(row) for row in rows])
        return self.worker.hear(end)["scores"]

    def _kills(self, rows: Sequence[Said], end: float) -> bool:
        try:
            self._asked(rows, end)
        except (TimeoutError, Died):
            return True
        except RunError:
            return False
        return False


def _sent(row: Said) -> dict[str, Any]:
    messages = [plain(message) for message in row.messages]
    return {"messages": messages, "response": row.response, "extra": dict(row.extra), "id": row.id, "tokens": list(row.tokens)}


@dataclass(frozen=True)
class Verified:
    """A verifier of ``accord.rewards.verifiers`` in a process of its own: what it cannot judge in time is worth 0, and counted.

    Args:
        column: the column with each row's own argument; empty where all rows have the same, ``argument``.
        expected: what to take for prompts by id whose rows have nothing in the column.
    """

    name: str
    kind: str
    argument: Any = None
    column: str = ""
    expected: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = ROW_SECONDS
    memory_mb: int = 2048
    counts: Counter[str] = field(default_factory=Counter[str], compare=False)
    """Responses that were too slow to judge (``timed_out``), or that the verifier failed on (``failed``)."""
    worker: Worker = field(init=False, compare=False)

    def __post_init__(self) -> None:
        asked = {"kind": "verifier", "name": self.kind, "argument": self.argument, "memory_mb": self.memory_mb}
        object.__setattr__(self, "worker", Worker(asked, f"the reward {self.name}"))

    def score(self, rows: Sequence[Said]) -> Scores:
        """Judge each response; None where its row has nothing to judge by. Raises RunError when the process cannot be started."""
        scores: list[float | None] = [None] * len(rows)
        wanted = [(place, self._expected(row)) for place, row in enumerate(rows)]
        waiting = [(place, expected) for place, expected in wanted if not self.column or expected is not None]
        while waiting:
            try:
                self.worker.start()
            except (TimeoutError, Died) as error:
                raise RunError(f"its process does not start: {error}", where=self.worker.where, hint=AGAIN) from None
            self.worker.say([(rows[place].response, expected) for place, expected in waiting])
            waiting = self._heard(scores, waiting)
        return {ONE: scores}

    def _heard(self, scores: list[float | None], waiting: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Take the answers in, and return the rows behind the first one that the process did not survive."""
        for done, (place, _) in enumerate(waiting):
            try:
                answer = self.worker.hear(time.monotonic() + self.seconds)
            except (TimeoutError, Died) as error:
                self.counts["timed_out" if isinstance(error, TimeoutError) else "failed"] += 1
                scores[place] = 0.0
                return waiting[done + 1 :]
            self.counts["failed"] += "failed" in answer
            scores[place] = answer.get("score", 0.0)
        return []

    def _expected(self, row: Said) -> Any:
        if not self.column:
            return None
        found = row.extra.get(self.column)
        return self.expected.get(row.id) if found is None else found
