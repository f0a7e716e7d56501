"""The gate before every request: a limit on its body, a limit on the time to send it, and response headers.

A client that sends its body too slowly is refused (408). One that stops reading its answer is disconnected after
``READ_SECONDS``, so that it holds neither memory nor a slot. Every answer has a request id of its own (``X-Request-Id``).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 4_000_000
"""Largest request body, in bytes."""
SEND_SECONDS = 20.0
"""Longest time for a client to send its body."""
READ_SECONDS = 30.0
"""Longest time for a client to read one part of the answer before the connection is closed."""
LEFT_BYTES, LEFT_SECONDS = 32_000_000, 2.0
"""How much of a body that is too large is read and thrown away, and for how long."""
NO_KEY = "give a working API key as Authorization: Bearer KEY"
LARGE_BODY = 256_000
"""Bytes of a body from which on its reading is noticed by others: such bodies are read one after another, and others are answered in
between."""
MOST_WAITING = 16
"""Large bodies that wait to be read; a further one is refused, since each holds its memory meanwhile."""
TICK, CALM, REST_SECONDS = 0.01, 0.05, 2.0
"""Seconds between two looks at the event loop after a large body, by how much it may be late where nothing holds it up, and the longest
time until the next large body is read."""
Known = Callable[[str], bool]
"""From the header ``Authorization`` to whether it holds a working key."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'"}


class Gone(Exception):
    """The client has disconnected, or reads nothing."""


def problem(status: int, message: str, *, code: str = "", param: str | None = None) -> bytes:
    """Return an error in OpenAI's form."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code or None}}, ensure_ascii=False).encode()


class Gate:
    """ASGI middleware. The body is read here, once, and passed on whole; without a working key it is not read at all."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        largest: int = LARGEST_BODY,
        seconds: float = SEND_SECONDS,
        known: Known | None = None,
        larger: Mapping[str, int] | None = None,
    ) -> None:
        self.app, self.largest, self.seconds, self.known = app, largest, seconds, known
        self.larger = dict(larger or {})
        """Most bytes of a body by the path, where that is another limit."""
        self._large, self._waiting, self._resting = asyncio.Lock(), 0, set[asyncio.Task[None]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, largest = Headers(scope=scope), self.larger.get(scope["path"], self.largest)
        announced = headers.get("content-length", "0")
        sends = announced != "0" or "transfer-encoding" in headers
        if sends and self.known and not self.known(headers.get("authorization", "")):
            await _refuse(send, 401, NO_KEY, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
            return
        if not announced.isdecimal() or int(announced) > largest:
            if "expect" not in headers:  # such a client waits for leave to send
                await _drain(receive)
            await _refuse(send, 413, f"the request is too large: {largest} bytes at most", "request_too_large")
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await _body(receive, largest)
        except TimeoutError:
            await _refuse(send, 408, f"the request took longer than {self.seconds:g} seconds to arrive", "too_slow")
            return
        except Gone:
            return  # half a request costs no more than this
        if body is None:
            await _drain(receive)
            await _refuse(send, 413, f"the request is too large: {largest} bytes at most", "request_too_large")
            return
        if len(body) >= LARGE_BODY:
            if self._waiting >= MOST_WAITING:
                await _refuse(send, 503, "too many large requests wait to be read: try again", "overloaded", {"Retry-After": "2"})
                return
            self._waiting += 1
            try:
                await self._large.acquire()
            finally:
                self._waiting -= 1
            self._resting.add(rest := asyncio.create_task(self._rest(asyncio.get_running_loop().time())))
            rest.add_done_callback(self._resting.discard)
        try:
            await self.app(scope, _replay(body, receive), _patient(send))
        except Gone:
            return

    async def _rest(self, began: float) -> None:
        """Let the next large body be read once the event loop is on time again, and others have had twice as long as this one took.

        Args:
            began: when this one was handed on, by the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        late, calm = loop.time() - began, 0
        try:
            while calm < 3 and loop.time() - began < REST_SECONDS:
                before = loop.time()
                await asyncio.sleep(TICK)
                waited = loop.time() - before - TICK
                late, calm = max(late, waited), calm + 1 if waited < CALM else 0
            await asyncio.sleep(min(2 * late, REST_SECONDS))
        finally:
            self._large.release()


def _headers() -> dict[str, str]:
    return {**HEADERS, "X-Request-Id": f"req_{secrets.token_hex(12)}"}


def _patient(send: Send) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _headers().items():
                headers.setdefault(name, value)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await send(message)
        except (TimeoutError, OSError) as error:
            raise Gone from error

    return dressed


async def _refuse(send: Send, status: int, message: str, code: str, more: Mapping[str, str] | None = None) -> None:
    body = problem(status, message, code=code)
    own = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    fields: Mapping[str, str] = {**own, **_headers(), **(more or {})}
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drain(receive: Receive) -> None:
    """Read what is left of a body that is refused, within bounds, so that its sender comes to read the answer.

    A connection that is closed while bytes wait to be read is reset, and the reset takes the answer with it (RFC 9112, 9.6).
    """
    left = LEFT_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LEFT_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


async def _body(receive: Receive, largest: int) -> bytes | None:
    """Return the whole body; None when it is too large. Raises Gone when the sender disconnected."""
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > largest:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
