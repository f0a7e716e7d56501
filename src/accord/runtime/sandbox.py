"""Run a Python program that nobody trusts, in a process of its own: no network, no processes, few files, little time and memory.

Linux alone gives what this needs, on x86-64 and ARM64: a seccomp filter refuses sockets, new processes, signals to others, and changes of
files' metadata; Landlock confines what files can be read and written; resource limits bound the rest. docs/rewards.md says what is
guaranteed and what is not.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from accord.errors import UsageError
from accord.runtime import confined

SHOWN = 64 * 1024
"""Bytes of a program's errors that are kept, of their beginning and of their end. Output is kept whole."""


LONGEST = 120.0
"""Seconds that a worker's process lives at most: one that its owner forgot ends by itself."""


@dataclass(frozen=True)
class Limits:
    """What a program may take."""

    seconds: float = 10.0
    memory_mb: int = 512
    file_mb: int = 1
    """The largest file that it may write, its output included."""


@dataclass(frozen=True)
class Ran:
    """How a program ended."""

    outcome: Literal["done", "left", "failed", "time", "memory", "output", "killed"]
    """``done`` when it ran to its end; ``left`` when it exited before it with code 0; else why it did not."""
    output: str
    errors: str


def run(program: str, *, given: str = "", limits: Limits | None = None) -> Ran:
    """Run a program's text with ``given`` on its standard input, and return how it ended.

    A program that exits early, by ``sys.exit(0)`` for example, is ``left``: only one whose last line was run is ``done``.

    Raises:
        UsageError: this machine cannot confine it.
    """
    require()
    limits = limits or Limits()
    mark = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="accord-sandbox-") as name:
        folder = Path(name)
        (folder / "work").mkdir()
        (folder / "program.py").write_text(f"{mark}\n{program}", "utf-8", "surrogatepass")
        (folder / "given").write_text(given, "utf-8", "surrogatepass")
        command = [sys.executable, "-I", "-B", confined.__file__, name, *map(str, (limits.seconds, limits.memory_mb, limits.file_mb))]
        with (folder / "given").open("rb") as reads, (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                command, stdin=reads, stdout=out, stderr=err, cwd=folder / "work", env=_environment(name), start_new_session=True
            )
            try:
                code = process.wait(limits.seconds + 2)
            except subprocess.TimeoutExpired:
                code = -signal.SIGXCPU
            finally:
                _end(process)
        output, errors = (folder / "out").read_bytes().decode("utf-8", "replace"), _shown(folder / "err")
        done = errors.rstrip().endswith(mark)
        errors = errors.replace(mark, "").rstrip()
    if code == 0:
        return Ran("done" if done else "left", output, errors)
    # The kernel kills a program that goes on past its processor time by a second: on a busy machine the milder signal may come too late.
    late = code == -signal.SIGKILL and time.monotonic() - began >= limits.seconds
    if late or code in (-signal.SIGXCPU, -signal.SIGALRM):
        return Ran("time", output, errors)
    if code == -signal.SIGXFSZ or "File too large" in errors:
        return Ran("output", output, errors)
    if "MemoryError" in errors.rpartition("\n")[2]:
        return Ran("memory", output, errors)
    return Ran("killed" if code < 0 else "failed", output, errors)


class Worker:
    """A program that answers line by line, kept between questions: what asks a thousand times starts it once. Safe among threads.

    Where a program cannot be confined (macOS, Windows) it runs as a process of its own, with the same limit on time alone.

    Args:
        program: its text; it answers each line of standard input with one line.
        limits: ``seconds`` is for one answer.
        lines: how many lines one process answers before another takes its place.
    """

    def __init__(self, program: str, *, limits: Limits, lines: int = 200) -> None:
        self.program, self.limits, self.lines = program, limits, lines
        self._lock, self._left, self._began = threading.Lock(), 0, 0.0
        self._folder: Path | None = None
        self._owner = os.getpid()
        atexit.register(self._at_exit)
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: str) -> Ran:
        """Return the program's answer to a line: ``done`` with the answer as output, else why there is none."""
        with self._lock:
            if self._owner != os.getpid():  # after a fork: the process answers the parent
                if self._process is not None:
                    self._process.returncode = 0
                self._process, self._folder, self._owner = None, None, os.getpid()
            if self._process is None or self._process.poll() is not None or self._left < 1 or time.monotonic() - self._began > LONGEST / 2:
                self.close()
                self._start()
            self._left -= 1
            process = self._process
            assert process is not None
            late = threading.Timer(self.limits.seconds, _end, [process])
            late.daemon = True
            late.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{line}\n".encode("ascii"))
                process.stdin.flush()
                answer = process.stdout.readline(self.limits.file_mb << 20)
            except OSError:
                answer = b""
            finally:
                in_time = late.is_alive()
                late.cancel()
            if answer.endswith(b"\n"):
                return Ran("done", answer.decode("utf-8", "replace"), "")
            self.close()
            return Ran("time" if not in_time else "output" if answer else "killed", "", "")

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            _end(self._process)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process, self._folder = None, None

    def _at_exit(self) -> None:
        if self._owner == os.getpid():
            self.close()

    def _start(self) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="accord-sandbox-"))
        (folder / "work").mkdir()
        (folder / "program.py").write_text(f"ended\n{self.program}" if not missing() else self.program, "utf-8")
        command = [sys.executable, "-I", "-B", str(folder / "program.py")]
        if not missing():
            limits = map(str, (LONGEST, self.limits.memory_mb, self.limits.file_mb))
            command = [sys.executable, "-I", "-B", confined.__file__, str(folder), *limits]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder / "work",
            env=_environment(str(folder)),
            start_new_session=True,
        )
        self._left, self._began = self.lines, time.monotonic()


@cache
def missing() -> str:
    """Return why no program can be confined here; empty where one can be."""
    if sys.platform != "linux" or platform.machine() not in confined.NUMBERS:
        return f"{platform.system()} on {platform.machine()} gives no way to cut a program off from the network"
    tried = subprocess.run(
        [sys.executable, "-I", "-B", confined.__file__, "--probe"], capture_output=True, text=True, timeout=30, check=False
    )
    return "" if tried.returncode == 0 else f"seccomp is not there: {tried.stderr.strip()[-200:]}"


def require() -> None:
    """Refuse where a program cannot be confined. Raises UsageError."""
    if why := missing():
        raise UsageError(why, where="the sandbox", hint="run it on Linux (x86-64 or ARM64), or in a container there")


@cache
def confines_files() -> bool:
    """Return whether Landlock is there, so that a program sees no files but Python's own and its own folder."""
    return not missing() and confined.landlock_version() > 0


def _environment(folder: str) -> dict[str, str]:
    """The environment of a program: nothing of the run's, which may hold keys."""
    return {"PATH": "/usr/bin:/bin", "HOME": f"{folder}/work", "TMPDIR": f"{folder}/work", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shown(path: Path) -> str:
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(SHOWN)
        if size > 2 * SHOWN:
            file.seek(size - SHOWN)
            head += b"\n...\n"
        return (head + file.read(SHOWN)).decode("utf-8", "replace")
