"""The access log: a line per request on the standard error stream, without what an address carries behind its path, such as tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("accord.access")


class AccessLog:
    """ASGI middleware: log method, path, status, milliseconds and the client's address of every request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.streamed: Mapping[str, int] = getattr(app, "streamed", {})  # the server reads it of what it serves
        if not log.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            log.addHandler(handler)
            log.setLevel(logging.INFO)
            log.propagate = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            client = (scope.get("client") or ("-",))[0]
            took = round(1000 * (time.monotonic() - began))
            path = ascii(str(scope["path"]))[1:-1]  # a line end in a path would begin a line of somebody else's
            log.info("%s %s %s %s %d ms", client, scope["method"], path, status, took)
