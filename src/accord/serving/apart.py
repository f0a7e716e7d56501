"""Long texts are screened and searched in processes of their own, so that this one answers everybody else meanwhile.

A regular expression holds Python's lock until it ends, and four threads that search keep the event loop from its turn for a second and
more. Each thread that asks has a process, which is started with its first long text, runs below the priority of the server, and ends with
it.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from accord.data import retrieval
from accord.errors import RunError
from accord.serving import screens

SHORT = 2_000
"""Characters of a text that is screened where it is: a few thousandths of a second."""
SECONDS = 60.0
"""Longest time for an answer of the process, its start included; then it is killed."""
PIPE = select.PIPE_BUF
"""Bytes that a pipe which is ready takes at once (POSIX), so that writing them never waits."""
MOST_QUOTES = 6
"""Sentences that are looked for."""
_own = threading.local()


class Process:
    """A process that answers in lines of JSON (``apart_worker``)."""

    def __init__(self) -> None:
        paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "accord.serving.apart_worker"]
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=environment, bufsize=0
        )
        weakref.finalize(self, _end, self._process)

    def ask(self, asked: dict[str, Any], gone: threading.Event | None = None) -> Any:
        """Return the answer to a line; None when nobody waits for it any more, after which the process is of no use.

        Raises:
            RunError: the process ended, failed or took too long.
        """
        end, said = time.monotonic() + SECONDS, bytearray()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            left = memoryview(json.dumps(asked).encode() + b"\n")
            with selectors.DefaultSelector() as ready:
                ready.register(self._process.stdin, selectors.EVENT_WRITE)  # a process that hangs takes no more than a pipe holds
                while not said.endswith(b"\n"):
                    if (gone and gone.is_set()) or time.monotonic() > end:
                        break
                    if not ready.select(0.1):
                        continue
                    if left:
                        left = left[self._process.stdin.write(left[:PIPE]) or 0 :]
                        if not left:
                            ready.unregister(self._process.stdin)
                            ready.register(self._process.stdout, selectors.EVENT_READ)
                    else:
                        said += (read := os.read(self._process.stdout.fileno(), 1 << 20))
                        if not read:
                            break
        except BrokenPipeError:
            said.clear()
        if said.endswith(b"\n"):
            answer = json.loads(said)
            if "failed" not in answer:
                return answer["found"]
            raise RunError(f"a text could not be screened: {answer['failed']}", where="accord.serving.apart_worker")
        self.end()
        if gone and gone.is_set():
            return None
        raise RunError("the process that screens long texts ended or took too long", where="accord.serving.apart_worker", hint="try again")

    def end(self) -> None:
        """End the process."""
        _end(self._process)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None


def kinds(text: str) -> list[str]:
    """Return the kinds of findings in a text, as ``screens.kinds`` does. A long one is looked at in this thread's process."""
    return screens.kinds(text) if len(text) <= SHORT else _process().ask({"do": "kinds", "text": text})


def nearest(question: str, documents: Sequence[retrieval.Document], gone: threading.Event) -> tuple[list[retrieval.Quote], bool]:
    """Return the sentences that share most with a question, as ``found_near`` does; none when nobody waits any more."""
    if len(question) + sum(len(document.text) for document in documents) <= SHORT:
        return found_near(question, documents)
    asked = {"do": "nearest", "question": question, "documents": [[document.title, document.text] for document in documents]}
    found = _process().ask(asked, gone)
    return ([retrieval.Quote(*quote) for quote in found[0]], bool(found[1])) if found else ([], False)


def found_near(question: str, documents: Sequence[retrieval.Document]) -> tuple[list[retrieval.Quote], bool]:
    """Return the sentences that share most with a question, the best first, and whether the best has enough of the question's words."""
    known = retrieval.sentences(documents)
    near = [known[index] for index in retrieval.rank(question, [quote.text for quote in known], MOST_QUOTES)]
    return near, bool(near) and retrieval.covered(question, near[0].text) >= retrieval.COVERED


def _process() -> Process:
    """Return this thread's process."""
    found: Process | None = getattr(_own, "process", None)
    if found is None or found.ended:
        found = _own.process = Process()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
