"""`accord report --watch`: serves the page on loopback and renders it again when a run has written something.

Loopback alone: other addresses and other Host names (DNS rebinding) are refused, nothing can be written, and
the page may ask this server only. Rendering takes about a second, once for all viewers.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path

from accord.report.page import Language, live_policy, page, read_everything

HOST = "127.0.0.1"
WATCHED = ("summary.json", "runs/*/*.json", "runs/*/metrics.jsonl", "runs/*/samples.jsonl", "models/*/lineage.json")


def state_of(project: Path) -> str:
    """Return a digest of names, sizes and times of all the page's source files."""
    found = sorted(chain.from_iterable(project.glob(pattern) for pattern in WATCHED))
    total = hashlib.sha256()
    for path in found:
        try:
            state = path.stat()
        except OSError:
            continue
        total.update(f"{path.relative_to(project)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]


@dataclass
class Live:
    """The newest page of a project."""

    project: Path
    state: str = ""
    back: str = ""
    """The address of the site that the page is part of."""
    language: Language | None = None
    body: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def newest(self) -> tuple[str, bytes]:
        """Return the page and the state it shows, rendered again if the files have changed."""
        with self.lock:
            state = state_of(self.project)
            if state != self.state:
                self.body = page(*read_everything(self.project), live=state, back=self.back, language=self.language).encode()
                self.state = state
            return self.state, self.body


def server(project: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server on loopback; its ``server_port`` is chosen when ``port`` is 0. ``serve_forever`` starts it."""
    live = Live(project)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "accord", ""

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in (HOST, "localhost"):
                return self._send(HTTPStatus.FORBIDDEN, b"this page is for this machine\n", "text/plain")
            if self.path == "/":
                return self._send(HTTPStatus.OK, live.newest()[1], "text/html; charset=utf-8")
            if self.path == "/state":
                return self._send(HTTPStatus.OK, json.dumps({"state": state_of(project)}).encode(), "application/json")
            return self._send(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain")

        def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            headers = {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }
            headers |= {"Content-Security-Policy": live_policy(), "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
            headers |= {"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer((HOST, port), Handler)


def watch(project: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. ``tell`` is called with the address once the server answers."""
    with server(project, port) as serving:
        tell(f"http://{HOST}:{serving.server_port}/")
        try:
            serving.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
