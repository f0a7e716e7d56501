"""A `vllm serve` of our own: started for a run, waited for, started again when it dies, and ended with the run, whatever ends the run.

vLLM is found as the command `vllm`, or as ACCORD_VLLM says; it lives in an environment of its own and is never imported.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.engine.vllm_api import ServerFault, VllmServer
from accord.errors import RunError, UsageError

FOUND_BY = "ACCORD_VLLM"
"""Environment variable that names vLLM's command, or the Python of its environment."""
MODEL = "policy"
"""Name that the server gives the model."""
STARTS = 1800.0
"""Seconds to wait for a server: a large model is loaded and compiled in minutes."""
AGAIN = 3
"""How often a server that died is started again in one run."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks of adapters that vLLM makes room for."""
GUARD = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

def end(*_):
    for number, wait in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        try:
            os.killpg(child.pid, number)
            child.wait(wait)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

def watch():
    sys.stdin.buffer.read()
    end()

threading.Thread(target=watch, daemon=True).start()
code = child.wait()
end()
os._exit(code if code >= 0 else 1)  # the thread still reads, and would be in the way of an orderly exit
"""
"""Runs a command until it ends, or until standard input is closed: it is, by the system, when the process that started it dies."""


@dataclass
class OwnServer:
    """A server that this run starts.

    Args:
        model: folder or hub name.
        flags: of `vllm serve`, beside those that every server of ours has.
        log: file that the server's output is appended to.
    """

    model: str
    flags: Sequence[str]
    log: Path
    port: int = 0
    starts: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = STARTS) -> str:
        """Start the server and return its address, once it answers.

        Raises:
            UsageError: vLLM is not installed.
            RunError: the server ended or did not answer in time; the error quotes its log.
        """
        command = vllm_command()
        self.port = self.port or free_port()
        words = [*command, "serve", self.model, "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", MODEL]
        words += ["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm", *self.flags]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"$ {shlex.join(words)}\n".encode())
            log.flush()
            self.starts += 1
            self.process = subprocess.Popen(
                [sys.executable, "-c", GUARD, *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the trainer, which then ends the server
                env=environment(),
            )
        self._wait(seconds)
        return self.address

    def _wait(self, seconds: float) -> None:
        ends, server = time.monotonic() + seconds, VllmServer(self.address, 5.0)
        try:
            while time.monotonic() < ends:
                if self.process is None or self.process.poll() is not None:
                    self.end()
                    raise RunError(f"the vLLM server ended while it started: {self._last_words()}", where=str(self.log), hint=_HINT)
                try:
                    server.ask("GET", "/health")
                    return
                except (ServerFault, RunError):
                    time.sleep(0.2)
        finally:
            server.client.close()
        self.end()
        raise RunError(f"the vLLM server did not answer within {seconds:.0f} s: {self._last_words()}", where=str(self.log), hint=_HINT)

    def revive(self, server: VllmServer, model: str = "") -> bool:
        """Start the server again if it is this one and is gone or hangs. Returns whether it is there.

        Args:
            model: folder or hub name to start on now: the folder of the first weights is gone when newer ones have come.
        """
        if server.address != self.address or self.starts > AGAIN:
            return False
        self.end()
        self.model = model or self.model
        self.start()
        return True

    def end(self) -> None:
        """End the server and everything that it started."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _last_words(self) -> str:
        """Return the last line of the log that tells of an error, or its last line."""
        lines = [line.strip() for line in self.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if "Error" in line]
        return (telling or lines or ["it said nothing"])[-1][-300:]


_HINT = "its log tells why; docs/vllm.md tells what it needs"


def vllm_command() -> list[str]:
    """Return the words that start vLLM's command line.

    Raises:
        UsageError: it is not installed, or ACCORD_VLLM names no program.
    """
    told = os.environ.get(FOUND_BY, "")
    found = shutil.which(told or "vllm")
    if found is None:
        what = f"{FOUND_BY} is {told}, which is no program" if told else "vLLM is not installed: there is no command `vllm`"
        hint = f"install it into an environment of its own and set {FOUND_BY} to its command (docs/vllm.md)"
        raise UsageError(what, where="--sampler vllm", hint=hint)
    return [found, "-m", "vllm.entrypoints.cli.main"] if Path(found).name.startswith("python") else [found]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment() -> dict[str, str]:
    """Return the server's environment: ours, without what belongs to our Python and to torchrun, with the routes for weights turned on."""
    left_out = ("PYTHON", "TORCHELASTIC", "GROUP_", "ROLE_", "MASTER_", "OMP_", "MKL_")
    names = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in names and not name.startswith(left_out)}
    routes = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    return {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"} | kept | routes


def room_for(rank: int) -> int:
    """Return the rank that a server must make room for, for adapters of this one.

    Raises:
        UsageError: vLLM takes none so large.
    """
    found = next((size for size in RANKS if size >= rank), 0)
    if not found:
        raise UsageError(f"lora_rank is {rank}, and vLLM takes {RANKS[-1]} at most", where="--sampler vllm", hint="--sampler-sync folder")
    return found
