"""Commands as processes that have loaded everything already, so that a kill meets their work and not the start of Python.

A child process imports the package once, and forks for every command. The command runs as `accord` would run it, in a process of its
own, and dies by SIGKILL at the moment that was asked for.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOADED = (
    "torch",
    "accord.commands.data.import_",
    "accord.commands.data.undo",
    "accord.commands.data.export",
    "accord.commands.data.imports",
    "accord.commands.project.backup",
    "accord.commands.project.move_store",
    "accord.feedback.migrations",
    "accord.feedback.web.app",
    "accord.runtime.checkpoints",
)
SLOW = ("accord.commands.feedback.label", "accord.commands.serve.chat", "accord.commands.serve.serve")
"""Loaded where servers run."""
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); import forked; forked.answer(sys.argv[2:])"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    killed: bool
    code: int
    said: str
    seconds: float


class Forked:
    """A process that forks commands on request. Use it as a context manager."""

    def __init__(self, folder: Path, modules: Sequence[str] = LOADED, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        words = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), *modules]
        given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=given, start_new_session=True
        )
        self._ask({})  # it is ready when it answers

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def run(self, *words: str, seconds: float | None = None) -> Ended:
        """Run a command; kill it when the seconds are over, where any are given."""
        return Ended(**self._ask({"words": words, "seconds": seconds}))

    def start(self, *words: str) -> tuple[int, Path]:
        """Start a command that goes on, and return its process and the file with what it says."""
        found = self._ask({"words": words, "stays": True})
        return int(found["pid"]), Path(found["said"])

    def kill(self, pid: int) -> None:
        """Kill a command that was started."""
        self._ask({"kill": pid})

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks commands is gone")
        return json.loads(line)


class Site:
    """A server command that is killed and comes back on its port."""

    def __init__(self, forked: Forked, *words: str) -> None:
        self.forked, self.words, self.port, self.pid = forked, words, 0, 0
        self.start()

    def start(self) -> None:
        self.pid, said = self.forked.start(*self.words, "--port", str(self.port))
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", said.read_text())):
            if time.monotonic() > end or not Path(f"/proc/{self.pid}").exists():
                raise RuntimeError(f"{' '.join(self.words)} did not start: {said.read_text()[-2000:]}")
            time.sleep(0.01)
        self.port = int(found[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """kill -9."""
        self.forked.kill(self.pid)


# --- inside the process that forks ---


def answer(modules: Sequence[str]) -> None:
    """Carry out what is asked on standard input, one JSON object a line."""
    for module in modules:
        importlib.import_module(module)
    number = 0
    for line in sys.stdin:
        asked, number = json.loads(line), number + 1
        reply: dict[str, Any] = {}
        if "kill" in asked:
            os.kill(asked["kill"], signal.SIGKILL)
            os.waitpid(asked["kill"], 0)
        elif "words" in asked:
            said = Path(f"said-{os.getpid()}-{number % 4 if not asked.get('stays') else number}.txt").absolute()
            pid = _fork(asked["words"], said)
            reply = {"pid": pid, "said": str(said)} if asked.get("stays") else _ended(pid, asked["seconds"], said)
        print(json.dumps(reply), flush=True)


def _fork(words: Sequence[str], said: Path) -> int:
    said.touch()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        file = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _carry_out(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _carry_out(words: Sequence[str]) -> None:
    if words[0].startswith("!"):
        module, _, name = words[0][1:].partition(":")
        work: Callable[..., None] = getattr(importlib.import_module(module), name)
        work(*words[1:])
        return
    from accord.commands.app import main

    main(list(words))


def _ended(pid: int, seconds: float | None, said: Path) -> dict[str, Any]:
    began, killed = time.monotonic(), False
    while True:
        done, status = os.waitpid(pid, 0 if killed or seconds is None else os.WNOHANG)
        if done:
            break
        if seconds is not None and time.monotonic() - began >= seconds:
            os.kill(pid, signal.SIGKILL)
            killed = True
            continue
        time.sleep(0.0005)
    code = os.waitstatus_to_exitcode(status)
    text = said.read_text(errors="replace")[-3000:] if said.exists() else ""
    return {"killed": code == -signal.SIGKILL, "code": code, "said": text, "seconds": time.monotonic() - began}
