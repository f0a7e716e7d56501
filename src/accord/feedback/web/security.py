"""Protection of every page: headers, a limit on bodies, the sender's origin, and tokens in forms.

Nothing here has a default secret. A form's token is an HMAC under the session's own random token, which only the browser and (hashed)
the store know, together with a configured secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1_000_000
"""Maximum size of a request in bytes."""
SEND_SECONDS, READ_SECONDS = 20.0, 30.0
"""Longest time for a client to send its body, and to read one part of the answer before the connection is closed."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
POLICY_HEADER = "Content-Security-Policy"
HEADERS = {
    POLICY_HEADER: POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
log = logging.getLogger("accord.site")
HSTS = "max-age=31536000"


def form_token(session: str, secret: str) -> str:
    """Return the token that every form of a session carries."""
    return hmac.new(session.encode(), b"form:" + secret.encode(), hashlib.sha256).hexdigest()


def token_fits(session: str, secret: str, given: str) -> bool:
    """Return whether a form's token is the session's, compared in constant time."""
    return hmac.compare_digest(form_token(session, secret).encode(), given.encode())


def same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Return whether a browser says that a request came from our own pages. A program that sends neither header is judged by its token."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def upload_token(session: str, secret: str) -> str:
    """Return the token in the address of an upload. It fits no form: addresses are written down in more places than bodies."""
    return hmac.new(session.encode(), b"upload:" + secret.encode(), hashlib.sha256).hexdigest()


def upload_fits(session: str, secret: str, given: str) -> bool:
    """Return whether an upload's token is the session's, compared in constant time."""
    return hmac.compare_digest(upload_token(session, secret).encode(), given.encode())


def link_token(session: str, secret: str) -> str:
    """Return the token in the address that begins to link an account: no page of another site can begin it for somebody."""
    return hmac.new(session.encode(), b"link:" + secret.encode(), hashlib.sha256).hexdigest()


def link_fits(session: str, secret: str, given: str) -> bool:
    """Return whether a link's token is the session's, compared in constant time."""
    return hmac.compare_digest(link_token(session, secret).encode(), given.encode())


class Guard:
    """ASGI middleware: security headers on every response, 413 for a body that is too large, and 408 for one that comes too slowly.

    The body is read here, once, and passed on in the scope under ``accord.body``.

    Args:
        streamed: the exceptions, by address: pages that read the body themselves, as it arrives, with the most bytes of it. Such a page
            decides by the headers and the address alone whether it reads anything; no form of ours is posted to it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        https: bool = False,
        largest: int = LARGEST_BODY,
        seconds: float = SEND_SECONDS,
        streamed: Mapping[str, int] | None = None,
    ) -> None:
        self.app, self.largest, self.seconds, self.streamed = app, largest, seconds, dict(streamed or {})
        self.headers = HEADERS | ({"Strict-Transport-Security": HSTS} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        route = str(scope["path"]).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
        most = self.streamed.get(route, 0) if scope["method"] == "POST" else 0
        if not announced.isdecimal() or int(announced) > (most or self.largest):
            await self._refuse(self._dressed(send), 413, "the request is too large")
            return
        if most:
            scope["accord.body"] = b""
            await self.app(scope, _at_most(most, receive), self._dressed(send))
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await _body(receive, self.largest)
        except TimeoutError:
            await self._refuse(self._dressed(send), 408, f"the request took longer than {self.seconds:g} seconds to arrive")
            return
        except ConnectionAbortedError:
            return  # half a request costs no more than this
        if body is None:
            await self._refuse(self._dressed(send), 413, "the request is too large")
            return
        scope["accord.body"] = body
        try:
            await self.app(scope, _replay(body, receive), self._dressed(send))
        except TimeoutError as error:
            log.info("a client reads nothing: %s", error)  # uvicorn closes its connection, because the answer is not complete

    def _dressed(self, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                own = headers.get(POLICY_HEADER)  # a page of ours with a stricter or another policy, such as the report
                for name, value in self.headers.items():
                    headers[name] = value
                if own:
                    headers[POLICY_HEADER] = own
                headers.setdefault("Cache-Control", "no-store")
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        return dressed

    async def _refuse(self, send: Send, status: int, why: str) -> None:
        text = f"{status}: {why}".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})


async def _body(receive: Receive, largest: int) -> bytes | None:
    """Return the whole body; None when it is larger than allowed. Raises ConnectionAbortedError when the sender went away."""
    parts, size = list[bytes](), 0
    while True:
        message: MutableMapping[str, Any] = await receive()
        if message["type"] != "http.request":
            raise ConnectionAbortedError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > largest:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _at_most(most: int, receive: Receive) -> Receive:
    """Pass a body on as it arrives; past its limit it looks as if the sender had gone away."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > most else message

    return counted


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
