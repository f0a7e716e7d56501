"""Several server processes for one site: they share a socket that listens, and the secret of its forms.

The first process listens and looks after the others; each of these is the same command again, with the socket handed to it. One that
dies is started again. All end when the first is told to. What may live in one process only, such as the answers that a chat's models
are writing, has a process of its own: the others reach it at a socket of the file system, which the first process holds too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accord.errors import RunError

LISTENING = "ACCORD_LISTENING"
"""The environment variable with the number of the socket that a worker was handed."""
SINGLE_AT = "ACCORD_SINGLE_AT"
"""The environment variable with the path of the single process's socket, for the others."""
STARTED_BY = "ACCORD_STARTED_BY"
"""The environment variable with the number of the first process."""
LONGEST_PLACE = 70
"""Bytes of a temporary folder's path up to which a socket can lie in it: the system allows some hundred for the whole."""
END_SECONDS = 9.5
"""Seconds that workers have to end before they are killed: more than they take themselves."""
SHORT_LIFE = 5.0
"""A worker that lived for fewer seconds than this did not come up."""
SHORT_LIVES = 5
"""Workers in a row that did not come up, after which the site gives up."""


@dataclass(frozen=True)
class Single:
    """The place of the process that has what may live in one process only."""

    made: socket.socket
    path: Path


def handed_over() -> socket.socket | None:
    """Return the socket that this process was started with as a worker; None for the first process.

    The variable is taken away, so that what a worker starts does not take itself for one.
    """
    number = os.environ.pop(LISTENING, "")
    return socket.socket(fileno=int(number)) if number else None


def single_at() -> str:
    """Return the path at which this worker reaches the single process; empty where there is none, and in that process itself."""
    return os.environ.pop(SINGLE_AT, "")


@contextmanager
def single() -> Generator[Single]:
    """Listen for a single process at a socket that nobody but this user can reach."""
    place = None if len(os.fsencode(tempfile.gettempdir())) < LONGEST_PLACE else "/tmp"
    with (
        tempfile.TemporaryDirectory(prefix="accord-", dir=place) as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made,
    ):
        path = Path(folder) / "single"
        made.bind(str(path))
        made.listen(2048)
        made.set_inheritable(True)
        yield Single(made, path)


def look_after(made: socket.socket, number: int, words: Sequence[str] | None = None, *, apart: Single | None = None) -> None:
    """Run workers until this process is told to end (SIGTERM, SIGINT), or they do not come up.

    Args:
        words: the command of a worker after ``python -m accord``; this process's own when None.
        apart: the place of a single process, which is run besides the workers; None runs none.

    Raises:
        RunError: workers die as soon as they are started.
    """
    command = [sys.executable, "-m", "accord", *(sys.argv[1:] if words is None else words)]
    places = [(made, {SINGLE_AT: str(apart.path)} if apart else {})] * number
    if apart:
        places.insert(0, (apart.made, {}))
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    before = {sign: signal.signal(sign, end) for sign in (signal.SIGTERM, signal.SIGINT)}
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    short = 0
    try:
        while not ending:
            for place, (worker, began) in list(running.items()):
                if worker.poll() is not None:
                    short = short + 1 if time.monotonic() - began < SHORT_LIFE else 0
                    del running[place]
            if short >= SHORT_LIVES:
                raise RunError("its processes end as soon as they are started", where="--workers", hint="try --workers 1 to see why")
            for place, (listening, more) in enumerate(places):
                if place not in running:
                    environment = os.environ | {LISTENING: str(listening.fileno()), STARTED_BY: str(os.getpid())} | more
                    # In a session of its own: Ctrl-C reaches the first process alone, which ends the others in order.
                    worker = subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()], start_new_session=True)
                    running[place] = worker, time.monotonic()
            time.sleep(0.2)
    finally:
        _end([worker for worker, _ in running.values()])
        for sign, handler in before.items():
            signal.signal(sign, handler)


def end_with_parent() -> None:
    """Have the kernel end this worker when the first process is gone, however that went (Linux).

    Raises:
        SystemExit: it is gone already: killed while this one was loading, which takes seconds. Its socket would stay open for ever.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if (first := os.environ.pop(STARTED_BY, "")) and os.getppid() != int(first):
        sys.exit(f"the process {first} that started this one is gone")


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for worker in running:
        worker.terminate()
    until = time.monotonic() + END_SECONDS
    for worker in running:
        try:
            worker.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
