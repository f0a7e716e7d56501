"""Attackers for hardening.py: each is a process that spends little, so that what others feel is the server's and not the attacker's.

Requests are bytes that are made once and sent through plain sockets. An attack that opens connections opens at most ``PER_SECOND``
of them, and says how many it did.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PER_SECOND = 1000
"""New connections of one attack per second at most."""
ANSWER = b'data: {"choices": [{"delta": {"content": "Hello."}}]}\n\ndata: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DRIPPING = b"DRIP"
PROCESSES = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Attack:
    """What one attacker does, in one process, until it is told to stop. ``begin`` is called with the port, the flag that ends it, and a
    function that counts what was sent."""

    begin: Callable[[int, Any, Callable[[], None]], None]

    @contextmanager
    def going_on(self, address: str) -> Generator[Attacker]:
        """Attack a server; the attacker is killed in the end."""
        over, sent, spent = PROCESSES.Event(), PROCESSES.Value("q", 0), PROCESSES.Value("d", 0.0)

        def count() -> None:
            with sent.get_lock():
                sent.value += 1

        def work() -> None:
            threading.Thread(target=self.begin, args=(urlsplit(address).port, over, count), daemon=True).start()
            while not over.wait(0.2):
                spent.value = time.process_time()

        process = PROCESSES.Process(target=work, daemon=True)
        process.start()
        try:
            yield Attacker(sent, spent)
        finally:
            over.set()
            process.join(2)
            process.kill()
            process.join()


@dataclass(frozen=True)
class Attacker:
    """An attacker at work: how much it has sent, and how many seconds of a processor it has used."""

    _sent: Any
    _spent: Any

    @property
    def sent(self) -> int:
        return self._sent.value

    @property
    def seconds(self) -> float:
        return self._spent.value


def request(path: str, body: bytes = b"", *, cookie: str = "", kind: str = "application/json") -> bytes:
    """Return a whole request, for a connection of its own."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", "Accept: text/html, application/json"]
    if cookie:
        lines.append(f"Cookie: {cookie}")
    if body:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chat(*turns: str, **more: Any) -> bytes:
    """Return a request for a chat completion."""
    said = [{"role": "assistant" if place % 2 else "user", "content": turn} for place, turn in enumerate(turns)]
    return request("/v1/chat/completions", json.dumps({"model": "far", "messages": said, "max_tokens": 16, **more}).encode())


def status(port: int, sent: bytes, seconds: float = 30.0) -> int:
    """Send a request and return the status of its answer, once all of that has come; 0 where none comes."""
    came = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=seconds) as line:
        line.sendall(sent)
        while part := line.recv(65536):
            came = came[:12] + part if len(came) < 12 else came
        return int(came[9:12])
    return 0


def again(*sent: bytes, side_by_side: int = 4, seconds: float = 120.0, pause: float = 0.0) -> Attack:
    """Return an attack by several clients that send the same requests, again and again.

    Args:
        seconds: when a client gives up its request.
        pause: between two requests of a client.
    """

    def begin(port: int, over: Any, count: Callable[[], None]) -> None:
        def client() -> None:
            while not over.is_set():
                for one in sent:
                    count()
                    abandoned(port, one, seconds)
                    time.sleep(pause)

        for _ in range(side_by_side):
            threading.Thread(target=client, daemon=True).start()

    return Attack(begin)


def abandoned(port: int, sent: bytes, seconds: float) -> None:
    """Send a request and read what comes, for so many seconds."""
    end = time.monotonic() + seconds
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=seconds) as line:
        line.sendall(sent)
        while (left := end - time.monotonic()) > 0:
            line.settimeout(left)
            if not line.recv(65536):
                break


def halves(*parts: bytes, held: int = 1200) -> Attack:
    """Return an attack that holds so many half requests open, and opens new ones where the server closes them."""

    def begin(port: int, over: Any, count: Callable[[], None]) -> None:
        lines: list[socket.socket | None] = [None] * held
        due = time.monotonic()
        while not over.is_set():
            for place, old in enumerate(lines):
                if over.is_set():
                    return
                if old is None or _closed(old):
                    if old:
                        old.close()
                    due = max(due + 1 / PER_SECOND, time.monotonic() - 0.02)
                    time.sleep(max(0.0, due - time.monotonic()))
                    lines[place] = _opened(port, parts[place % len(parts)])
                    count()
            time.sleep(0.01)

    return Attack(begin)


def _opened(port: int, said: bytes) -> socket.socket | None:
    line = socket.socket()
    try:
        line.settimeout(5)
        line.connect(("127.0.0.1", port))
        line.sendall(said)
        line.setblocking(False)
    except OSError:
        line.close()
        return None
    return line


def _closed(line: socket.socket) -> bool:
    try:
        return not line.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def endless_heads(side_by_side: int = 4) -> Attack:
    """Return an attack by heads of requests that do not end."""
    part = b"GET / HTTP/1.1\r\nX-Endless: " + b"x" * 250_000

    def begin(port: int, over: Any, count: Callable[[], None]) -> None:
        def client() -> None:
            while not over.is_set():
                count()
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as line:
                    for _ in range(40):
                        line.sendall(part)
                time.sleep(side_by_side / PER_SECOND)

        for _ in range(side_by_side):
            threading.Thread(target=client, daemon=True).start()

    return Attack(begin)


class Model(BaseHTTPRequestHandler):
    """A server of one model, which drips comments for twenty seconds when it is asked to."""

    def do_GET(self) -> None:
        self._say(b'{"data": [{"id": "far"}]}')

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if DRIPPING not in asked:
            self._say(ANSWER)
            return
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(400):
                self.wfile.write(b": wait\n\n")
                time.sleep(0.05)

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def upstream() -> Generator[str]:
    """Run a server of a model in a process of its own, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    process = PROCESSES.Process(target=server.serve_forever, daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        process.kill()
        process.join()
        server.server_close()


class Wire:
    """A network between a server of ours and PostgreSQL, in a process of its own, that can stop delivering: it neither answers nor
    closes then."""

    def __init__(self, socket_file: Path) -> None:
        self.to, self.cut = socket_file, PROCESSES.Event()
        self.entrance = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.entrance.getsockname()[1])
        self._process = PROCESSES.Process(target=self._enter, daemon=True)
        self._process.start()

    def _enter(self) -> None:
        while True:
            near, far = self.entrance.accept()[0], socket.socket(socket.AF_UNIX)
            far.connect(str(self.to))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if not self.cut.is_set():
                    other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def hole(self, more: Attack) -> Attack:
        """Return an attack that stops delivering, while clients ask for what needs the database."""

        def begin(port: int, over: Any, count: Callable[[], None]) -> None:
            self.cut.set()
            more.begin(port, over, count)

        return Attack(begin)

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self.entrance.close()


def cpu_seconds(process: int) -> float:
    """Return the seconds of a processor that a process has used, with those of its children."""
    seconds = 0.0
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{process}/task").iterdir():
            seconds += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
    return seconds
