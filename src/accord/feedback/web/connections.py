"""Limits of a server's connections: how many, how large a request's head, how long it may take to arrive. All servers of ours use them.

When no place is left, the connection goes whose request has been incomplete for longest, so that whoever sends whole requests is served.
docs/limits.md names every limit.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import resource
import signal
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST = 4096
"""Open connections in all."""
RESERVED = 200
"""Files that are kept free of connections: for the database, models and logs."""
PER_ADDRESS = 512
"""Open connections from one other machine. A proxy on this machine may hold all there are."""
HEAD_SECONDS = 10.0
"""Longest time for the head of a request to arrive."""
REQUEST_SECONDS = 60.0
"""Longest time for a whole request to arrive; the applications allow 20 seconds for a body."""
LARGEST_HEAD = 65_536
"""Most bytes of a request's head, but for what arrives together with its end."""
LARGEST_REQUEST = 32_000_000
"""Most bytes of a request as it is sent, in however many chunks; the applications allow less for a body."""
ACCEPTED_AT_ONCE, WAITING = 64, 2048
"""Connections that are accepted in one step, so that there are never many more than allowed; and those that wait for it."""
SWEEP_SECONDS = 0.5
"""How often connections are looked for whose time is over: one timer for all costs less than a timer for each."""
NEW_OBJECTS = 20_000
"""New objects after which Python looks for those that nothing refers to."""
END_SECONDS, LAST_SECONDS = 5, 9.0
"""Time for requests in flight after a signal, and for the whole process: what cannot be stopped ends with it."""


@dataclass
class Connections:
    """The open connections of one server."""

    most: int = MOST
    per_address: int = PER_ADDRESS
    open: set[Limited] = field(default_factory=set["Limited"])
    by_address: Counter[str] = field(default_factory=Counter[str])
    incomplete: dict[Limited, None] = field(default_factory=dict["Limited", None])
    """Those whose request is not complete, the oldest first."""

    def sweep(self, now: float) -> None:
        """Close the connections whose request should have arrived by now."""
        for one in [one for one in self.incomplete if one.due <= now]:
            one.cut()

    def admit(self, new: Limited) -> bool:
        """Count a connection. Where no place is left, close the oldest with an incomplete request; False where there is none."""
        if len(self.open) >= self.most and not self._closed_one(""):
            return False
        own = _own(new.address)
        if not own and self.by_address[new.address] >= self.per_address and not self._closed_one(new.address):
            return False
        self.open.add(new)
        self.by_address[new.address] += 1
        return True

    def leave(self, one: Limited) -> None:
        """Forget a closed connection."""
        self.incomplete.pop(one, None)
        if one in self.open:
            self.open.remove(one)
            self.by_address[one.address] -= 1
            if not self.by_address[one.address]:
                del self.by_address[one.address]

    def _closed_one(self, address: str) -> bool:
        oldest = next((one for one in self.incomplete if not address or one.address == address), None)
        if oldest is None:
            return False
        oldest.cut()
        return True


class Limited(HttpToolsProtocol):
    """An HTTP connection of uvicorn's with limits of time, size and number."""

    counted: Connections
    uploads: Mapping[str, int]
    """Addresses of pages that read a large body as it arrives, with its most bytes; such a request may pause for ``REQUEST_SECONDS``.
    Both are set by the class of a server."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.address = ""
        self._bytes, self._in_head, self._upload = 0, True, 0
        self.due = 0.0
        """When the request must have arrived, by the event loop's clock."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer: Any = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""  # pyright: ignore[reportUnknownArgumentType]
        if not self.counted.admit(self):
            transport.abort()
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._bytes > (LARGEST_HEAD if self._in_head else LARGEST_REQUEST + self._upload):
            self.cut()
        elif self._upload:
            self._wait(REQUEST_SECONDS)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._bytes = False, 0
        self._wait(REQUEST_SECONDS)
        super().on_headers_complete()
        path = str(self.scope.get("path", ""))  # the application may be under another path; its guard decides which page it is
        sizes = (most for address, most in self.uploads.items() if path.endswith(address))
        self._upload = 2 * next(sizes, 0) if self.scope.get("method") == "POST" else 0

    def on_message_complete(self) -> None:
        self._in_head, self._bytes = True, 0
        self.counted.incomplete.pop(self, None)
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.counted.leave(self)
        super().connection_lost(exc)

    def cut(self) -> None:
        """Close the connection without a word: its client has not said all of its request."""
        self.counted.leave(self)
        self.transport.abort()

    def _begin(self) -> None:
        """Begin to wait for a request's head."""
        self._in_head = True
        self.counted.incomplete.pop(self, None)
        if self in self.counted.open:
            self.counted.incomplete[self] = None
            self._wait(HEAD_SECONDS)

    def _wait(self, seconds: float) -> None:
        self.due = self.loop.time() + seconds


class Server(uvicorn.Server):
    """A server that ends within ten seconds after a signal."""

    counted: Connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(WAITING)  # the number in the configuration is how many are accepted at once
        # What is there by now stays: a search through all modules and models for what can go takes half a second, in which nobody
        # is answered, and a few large requests or a thousand half ones bring it about.
        gc.collect()
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS, 10, 10)
        self._sweep()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.counted.sweep(loop.time())
        loop.call_later(SWEEP_SECONDS, self._sweep)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the process after a while whatever still runs: threads that count or wait cannot be cancelled."""
        last = threading.Timer(LAST_SECONDS, os._exit, [128 + signal.SIGTERM])
        last.daemon = True
        last.start()
        super().handle_exit(sig, frame)


def server(app: ASGIApp, *, most: int = 0, **how: Any) -> Server:
    """Return a server of an application with the limits of this module.

    Args:
        most: open connections in all; 0 for as many as the process may have files, up to ``MOST``.
        how: settings of uvicorn's, which take precedence.
    """
    counted = Connections(most or _room())
    uploads: Mapping[str, int] = getattr(app, "streamed", {})
    protocol = type("LimitedHere", (Limited,), {"counted": counted, "uploads": uploads})
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "timeout_graceful_shutdown": END_SECONDS}
    made = Server(uvicorn.Config(app, http=protocol, ws="none", backlog=ACCEPTED_AT_ONCE, **(quiet | how)))
    made.counted = counted
    return made


def _room() -> int:
    """Return how many connections the process has files for, after asking for as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + RESERVED
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST if soft == resource.RLIM_INFINITY else max(16, min(MOST, soft - RESERVED))


def _own(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True
