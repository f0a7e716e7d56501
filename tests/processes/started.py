"""Programs started as two processes, by torchrun or, as Slurm does, each by itself; what they started is killed with them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 240.0
"""Longest life of a test's processes on a busy machine."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that imports the tests' modules and computes with one thread."""
    folders = [HERE, HERE.parent, HERE.parent / "commands" / "train"]
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | more


def ran(words: Sequence[str], seconds: float = SECONDS, **more: str) -> tuple[int, str]:
    """Run a program; return its exit code and what it printed on standard error."""
    with subprocess.Popen(words, env=environment(**more), start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors


def torchrun(*words: str, **more: str) -> tuple[int, str]:
    """Run a program as two processes by torchrun."""
    return ran([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words], **more)


class Pair:
    """Two processes, each started by itself; a context manager that kills them in the end."""

    def __init__(self, *words: Sequence[str], environments: Sequence[Mapping[str, str]] = ({}, {})) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.stack, self.processes = ExitStack(), list[subprocess.Popen[str]]()
        for rank, (own, given) in enumerate(zip(words, environments, strict=True)):
            meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = subprocess.Popen(
                [sys.executable, *own], env=environment(**meet, **given), start_new_session=True, stderr=subprocess.PIPE, text=True
            )
            self.processes.append(self.stack.enter_context(process))

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        self.stack.close()

    def ended(self, rank: int, seconds: float = SECONDS) -> tuple[int, str]:
        """Wait for a process; return its exit code and its standard error."""
        _, errors = self.processes[rank].communicate(timeout=seconds)
        return self.processes[rank].returncode, errors
