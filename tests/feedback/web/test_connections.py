"""Clients that send slowly, half or without an end, over real sockets: they are dropped, and everybody else is answered meanwhile."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

SITE = """
import asyncio, resource, sys, time
files = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
from accord.feedback.web import connections, security
from accord.feedback.web.server import listen
connections.HEAD_SECONDS = float(sys.argv[2])

async def page(scope, receive, send):
    if scope["path"] == "/stuck":
        await asyncio.to_thread(time.sleep, 120)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

made = listen("127.0.0.1", 0)
print(made.getsockname()[1], flush=True)
async def app(scope, receive, send):
    size, more = 0, scope["path"] == "/upload"
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await page(scope, receive, send)

guard = security.Guard(app, seconds=float(sys.argv[2]), streamed={"/upload": 100_000_000})
connections.server(guard, lifespan="off").run(sockets=[made])
"""
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Running:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def seconds(self) -> float:
        """Return how long a whole request of somebody else takes."""
        start = time.monotonic()
        with self.connect() as line:
            line.sendall(WHOLE)
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
        return time.monotonic() - start

    def kilobytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1])


@contextmanager
def running(files: int = 1024, seconds: float = 30.0) -> Generator[Running]:
    command = [sys.executable, "-c", SITE, str(files), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout
            yield Running(process, int(process.stdout.readline()))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def closed(line: socket.socket, seconds: float) -> bool:
    """Return whether the server closes a connection within this time."""
    ready, _, _ = select.select([line], [], [], seconds)
    try:
        return bool(ready) and not line.recv(4096).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return True


HALVES = {
    "bodies": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
    "heads": b"GET / HTTP/1.1\r\nHost: local",
    "nothing": b"",
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_1200_half_requests_under_1024_files_hold_nobody_up(sent: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with ExitStack() as held, running() as site:
            for _ in range(1200):
                line = held.enter_context(site.connect())
                line.sendall(sent)
            assert max(site.seconds() for _ in range(20)) < 2.0
            site.process.terminate()
            assert site.process.wait(10) in (0, -signal.SIGTERM)
            assert site.process.stderr
            assert b"Too many open files" not in (said := site.process.stderr.read())
            assert len(said) < 20_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_a_half_request_ends_with_its_time(sent: bytes) -> None:
    with running(seconds=0.5) as site, site.connect() as line:
        line.sendall(sent)
        assert closed(line, 8)
        site.seconds()


def test_a_head_without_an_end_is_cut() -> None:
    with running() as site, site.connect() as line:
        before = site.kilobytes()
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: ")
        with pytest.raises(ConnectionError):
            line.sendall(b"x" * 50_000_000)
        site.seconds()
        assert site.kilobytes() < before + 20_000


def test_trailers_without_an_end_are_cut() -> None:
    with running() as site, site.connect() as line:
        before = site.kilobytes()
        line.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Endless: ")
        with pytest.raises(ConnectionError):
            line.sendall(b"x" * 120_000_000)
        site.seconds()
        assert site.kilobytes() < before + 100_000


def test_an_upload_may_be_larger_and_take_longer_than_a_form() -> None:
    with running(seconds=0.5) as site, site.connect() as line:
        line.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 80000001\r\n\r\n" + b"z" * 80_000_000)
        site.seconds()
        assert not closed(line, 1)
        line.sendall(b"z")
        assert line.recv(1000).startswith(b"HTTP/1.1 200")


def test_many_requests_on_one_connection_are_each_answered() -> None:
    with running() as site, site.connect() as line:
        for _ in range(30):
            line.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000\r\n\r\n" + b"y" * 30_000)
            came = b""
            while not came.endswith(b"ok"):
                came += line.recv(1000)
            assert came.startswith(b"HTTP/1.1 200")


def test_the_process_ends_within_ten_seconds_whatever_runs() -> None:
    with running() as site, site.connect() as line:
        line.sendall(WHOLE.replace(b" / ", b" /stuck "))
        site.seconds()  # the first is under way
        start = time.monotonic()
        site.process.terminate()
        site.process.wait(15)
        assert time.monotonic() - start < 10.5
