"""Several server processes for one site: they share a socket that listens, and the secret of its forms.

The first process listens and looks after the others; each of these is the same command again, with the socket handed to it. One that
dies is started again. All end when the first is told to.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from accord.errors import RunError

LISTENING = "ACCORD_LISTENING"
"""The environment variable with the number of the socket that a worker was handed."""
END_SECONDS = 9.5
"""Seconds that workers have to end before they are killed: more than they take themselves."""
SHORT_LIFE = 5.0
"""A worker that lived for fewer seconds than this did not come up."""
SHORT_LIVES = 5
"""Workers in a row that did not come up, after which the site gives up."""


def handed_over() -> socket.socket | None:
    """Return the socket that this process was started with as a worker; None for the first process."""
    number = os.environ.get(LISTENING, "")
    return socket.socket(fileno=int(number)) if number else None


def look_after(made: socket.socket, number: int, words: Sequence[str] | None = None) -> None:
    """Run workers until this process is told to end (SIGTERM, SIGINT), or they do not come up.

    Args:
        words: the command of a worker after ``python -m accord``; this process's own when None.

    Raises:
        RunError: workers die as soon as they are started.
    """
    command = [sys.executable, "-m", "accord", *(sys.argv[1:] if words is None else words)]
    environment = os.environ | {LISTENING: str(made.fileno())}
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    before = {sign: signal.signal(sign, end) for sign in (signal.SIGTERM, signal.SIGINT)}
    running: dict[subprocess.Popen[bytes], float] = {}
    short = 0
    try:
        while not ending:
            for worker in [worker for worker in running if worker.poll() is not None]:
                short = short + 1 if time.monotonic() - running.pop(worker) < SHORT_LIFE else 0
            if short >= SHORT_LIVES:
                raise RunError("its processes end as soon as they are started", where="--workers", hint="try --workers 1 to see why")
            while len(running) < number:
                # In a session of its own: Ctrl-C reaches the first process alone, which ends the others in order.
                worker = subprocess.Popen(command, env=environment, pass_fds=[made.fileno()], start_new_session=True)
                running[worker] = time.monotonic()
            time.sleep(0.2)
    finally:
        _end(list(running))
        for sign, handler in before.items():
            signal.signal(sign, handler)


def end_with_parent() -> None:
    """Have the kernel end this worker when the first process is gone, however that went (Linux)."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


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
