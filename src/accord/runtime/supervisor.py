"""The small process that waits for a job's command and writes down how it ended (see runtime/jobs.py).

It belongs to no program that started it, so it outlives that one. On SIGTERM it asks its command to end and, after a time, kills it with
every process that the command started.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from accord.runtime import owners
from accord.runtime.files import write_atomic

LARGEST_LOG, KEPT_OF_LOG = 32_000_000, 1_000_000
"""A log that grows beyond this many bytes is cut to its end."""
NICE = 10
"""How far a training steps back for the site's pages on busy processors."""
HIDDEN = re.compile(r"ACCORD_(?:\w+_)?SECRET|ACCORD_LISTENING")
"""Environment variables of the site that its commands do not need: its own secret, and that of single sign-on."""


class Supervisor:
    """One command, from its start to its end."""

    def __init__(self, folder: Path, queue: str, grace: float, words: list[str]) -> None:
        self.folder, self.queue, self.grace, self.words = folder, queue, grace, words
        self.command: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.deadline = float("inf")

    def start(self) -> None:
        """Note this process, start the command, and note that one."""
        owners.write(self.folder / "supervisor.json", owners.this_process())
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)  # also so that the command inherits neither as ignored
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, self._look)
        if self.queue == "training":
            os.nice(NICE)
        environment = {name: value for name, value in os.environ.items() if not HIDDEN.fullmatch(name)}
        command = [sys.executable, "-P", "-m", "accord", *self.words]  # -P: files of the project are no modules
        with (self.folder / "log.txt").open("ab") as log, (self.folder / "output.txt").open("wb") as output:
            self.command = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=self.folder.parent.parent,
                env=environment,
                start_new_session=True,
            )
        owners.write(self.folder / "process.json", owners.process(self.command.pid))
        signal.setitimer(signal.ITIMER_REAL, owners.BEAT, owners.BEAT)
        if self.stopped:
            self._ask()

    def wait(self) -> None:
        """Wait for the command's end, kill what it left running, and write how it ended."""
        assert self.command
        began, killed_before = time.monotonic(), out_of_memory_kills()
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.command.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken until its group is gone
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.command.pid, signal.SIGKILL)
        _, status, used = os.wait4(self.command.pid, 0)
        code = self.command.returncode = os.waitstatus_to_exitcode(status)
        signal.setitimer(signal.ITIMER_REAL, 0)
        megabytes = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)
        end: dict[str, object] = {
            "exit": code,
            "seconds": round(time.monotonic() - began, 2),
            "peak_mb": round(megabytes),
            "out_of_memory": code == -signal.SIGKILL and not self.stopped and out_of_memory_kills() > killed_before,
            "at": owners.this_process().since,
        }
        write_atomic(self.folder / "end.json", json.dumps(end, indent=2) + "\n")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the command to end; the second time as well, which a training takes as "at once"."""
        self.stopped = True
        if self.command is not None:
            self._ask()

    def _ask(self) -> None:
        """Send what lets a training save (SIGTERM), and what any other command knows as Ctrl-C (SIGINT)."""
        self._send(signal.SIGTERM if self.queue == "training" else signal.SIGINT)
        if self.deadline == float("inf"):
            self.deadline = time.monotonic() + self.grace
            signal.setitimer(signal.ITIMER_REAL, min(self.grace, owners.BEAT), owners.BEAT)

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        """Show that this process lives, kill a command that does not end, and cut a log that grows without end."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / "supervisor.json")
        if time.monotonic() >= self.deadline:
            self._send(signal.SIGKILL)
        with contextlib.suppress(OSError):
            cut(self.folder / "log.txt")

    def _send(self, number: signal.Signals) -> None:
        assert self.command
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.command.pid, number)


def cut(log: Path) -> None:
    """Keep the end of a log that has grown too large. Its writer appends, so it goes on behind what is kept."""
    size = log.stat().st_size
    if size > LARGEST_LOG:
        with log.open("r+b") as file:
            file.seek(size - KEPT_OF_LOG)
            kept = file.read(KEPT_OF_LOG)
            file.seek(0)
            file.write(b"(the beginning was cut)\n" + kept)
            file.truncate()


def out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed on this machine for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text("ascii"), re.MULTILINE):
            return int(found[1])
    return 0


def main() -> None:
    """Leave the program that started this, run the command of the words, and let the next job have its turn.

    The program waits until the command's process is noted.
    """
    folder, queue, grace, *words = sys.argv[1:]
    ready, noted = os.pipe()
    if os.fork():
        os.close(noted)
        os._exit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    supervisor = Supervisor(Path(folder), queue, float(grace), words)
    supervisor.start()
    os.write(noted, b"1")
    os.close(noted)
    supervisor.wait()
    from accord.runtime import jobs  # the end's work alone: while the command runs, this process stays small
    from accord.runtime.project import Project

    jobs.advance(Project.open(Path(folder).parent.parent))


if __name__ == "__main__":
    main()
