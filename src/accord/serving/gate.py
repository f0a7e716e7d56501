"""The gate before every request: a limit on its body, a limit on the time to send it, and response headers.

A client that sends its body too slowly is refused (408). One that stops reading its answer is disconnected after
``READ_SECONDS``, so that it holds neither memory nor a slot. Every answer has a request id of its own (``X-Request-Id``).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 4_000_000
"""Largest request body, in bytes."""
SEND_SECONDS = 20.0
"""Longest time for a client to send its body."""
READ_SECONDS = 30.0
"""Longest time for a client to read one part of the answer before the connection is closed."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'"}


class Gone(Exception):
    """The client has disconnected, or reads nothing."""


def problem(status: int, message: str, *, code: str = "", param: str | None = None) -> bytes:
    """Return an error in OpenAI's form."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code or None}}, ensure_ascii=False).encode()


class Gate:
    """ASGI middleware. The body is read here, once, and passed on whole."""

    def __init__(self, app: ASGIApp, *, largest: int = LARGEST_BODY, seconds: float = SEND_SECONDS) -> None:
        self.app, self.largest, self.seconds = app, largest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self.largest:
            await _refuse(send, 413, f"the request is too large: {self.largest} bytes at most", "request_too_large")
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await _body(receive, self.largest)
        except TimeoutError:
            await _refuse(send, 408, f"the request took longer than {self.seconds:g} seconds to arrive", "too_slow")
            return
        if body is None:
            await _refuse(send, 413, f"the request is too large: {self.largest} bytes at most", "request_too_large")
            return
        try:
            await self.app(scope, _replay(body, receive), _patient(send))
        except Gone:
            return


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


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    body = problem(status, message, code=code)
    fields: Mapping[str, str] = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **_headers()}
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive, largest: int) -> bytes | None:
    """Return the whole body; None when it is too large. It is empty when the sender disconnected: nobody reads
    the answer."""
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
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
