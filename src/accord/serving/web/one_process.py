"""Several processes for a site with a chat: models, and the answers that they are writing, live in one of them.

The others serve every page that needs the database alone, and pass on requests for a conversation. The process that answers serves the same
pages by the same rules, and judges each request itself: what passes one on is trusted with nothing.
"""

from __future__ import annotations

import logging
import re
import socket
import string
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import quote

import httpx
from anyio import to_thread
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.feedback.web import workers
from accord.feedback.web.app import Lifespan, few_threads, tell
from accord.feedback.web.connections import server
from accord.feedback.web.server import bound, is_loopback, lead_link, secret_for, serve
from accord.feedback.web.sub_path import route_of
from accord.serving.web import translations
from accord.serving.web.app import create, models_open
from accord.serving.web.site import ChatSite
from accord.settings import LabelConfig

HELD = re.compile(r"/say|/c/.+|/t/[^/]+/again|/arena/ask")
"""Addresses of pages that begin, follow or show an answer in progress."""
TRIES = 3
"""How often a page is asked for whose process went away; it is started again, and its socket waits for it. A form is sent once."""
HOPS = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"proxy-connection", b"expect"})
"""Headers that hold for one connection (RFC 9110, section 7.6.1)."""
OWN = frozenset({b"date", b"server"})
"""Headers that each server writes itself."""
SECONDS = {"connect": 60.0, "write": 60.0, "read": 3600.0, "pool": None}
"""Limits on passing a request on. An answer takes as long as its model does, and says nothing for an hour at most."""
log = logging.getLogger("accord.chat")


class Forward:
    """ASGI middleware: pass requests for ``HELD`` addresses on to the process that answers.

    Args:
        path: of that process's socket.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        # A connection per request: one that is kept may be closed by the other side just as a form is sent.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._there = httpx.AsyncHTTPTransport(uds=path, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not HELD.fullmatch(route_of(scope)):
            await self.app(scope, receive, send)
            return
        await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        """Return the other process's answer, or a page that says that there was none."""
        for _ in range(TRIES if scope["method"] == "GET" else 1):
            try:
                reply = await self._there.handle_async_request(_passed_on(scope))
            except httpx.TransportError as error:
                log.warning("%s %s: the process that answers went away: %r", scope["method"], ascii(route_of(scope)), error)
                continue
            answer = StreamingResponse(_parts(reply), reply.status_code)
            answer.raw_headers = [(name.lower(), value) for name, value in reply.headers.raw if name.lower() not in HOPS | OWN]
            return answer
        return await to_thread.run_sync(tell, Request(scope), 502, translations.INTERRUPTED)


def _passed_on(scope: Scope) -> httpx.Request:
    """Return a request as it came. Its address goes as it is: httpx would resolve ``..`` in it, which makes another page of it."""
    target, query = quote(scope["path"]), quote(cast("bytes", scope["query_string"]), safe=string.punctuation)
    headers = [(name, value) for name, value in scope["headers"] if name not in HOPS]
    more = {"timeout": SECONDS, "target": f"{target}{'?' if query else ''}{query}".encode()}
    return httpx.Request(scope["method"], "http://accord", headers=headers, content=scope["accord.body"], extensions=more)


async def _parts(reply: httpx.Response) -> AsyncGenerator[bytes]:
    """Yield an answer as it comes. Where the other process dies meanwhile, the answer breaks off here too."""
    try:
        async with aclosing(cast("AsyncGenerator[bytes]", reply.aiter_raw())) as parts:
            async for part in parts:
                yield part
    finally:
        with suppress(httpx.TransportError):
            await reply.aclose()


Make = Callable[[Lifespan, Sequence[Middleware]], ASGIApp]
"""Returns a site's application from what runs around it, and the layers around its pages."""


def serve_processes(site: ChatSite, make: Make, made: socket.socket, config: LabelConfig) -> None:
    """Serve a site until it is stopped: by this process alone, or by as many workers as it is to have and one that answers.

    Args:
        made: the socket that browsers reach.
    """
    if config.workers == 1:
        serve(make(models_open(site), ()), made, config)
        return
    with workers.single() as apart:
        workers.look_after(made, config.workers, apart=apart)


def serve_worker(site: ChatSite, make: Make, handed: socket.socket, config: LabelConfig) -> None:
    """Serve a site as one of several processes, on the socket that it was handed."""
    workers.end_with_parent()
    if at := workers.single_at():
        serve(make(few_threads, [Middleware(Forward, path=at)]), handed, config)
    else:
        server(make(models_open(site), ()), loop="asyncio").run(sockets=[handed])


def open_chat(site: ChatSite, *, insecure: bool, folder: Path) -> None:
    """Serve the chat until it is stopped. On an address of this machine's own it prints a link for the lead.

    Raises:
        UsageError: the address needs a secret and https.
        RunError: the address is taken.
    """
    site = replace(site, secret=secret_for(site.config, insecure=insecure))

    def make(lifespan: Lifespan, around: Sequence[Middleware]) -> ASGIApp:
        return create(site, lifespan, around)

    if (handed := workers.handed_over()) is not None:
        serve_worker(site, make, handed, site.config)
        return
    made, address = bound(site.config)
    print(f"The chat is at {address}  (Ctrl-C ends it)", flush=True)
    if is_loopback(site.config.host):
        print(f"Come in as lead, once: {lead_link(site.store, address, datetime.now(UTC))}", flush=True)
    print(f"Invite users: accord labelers invite {folder} NAME --role user --url {address}", flush=True)
    serve_processes(site, make, made, site.config)
