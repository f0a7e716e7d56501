"""A real server on a real port, in a thread of the test: what clients see is what users see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from accord.feedback.web.server import listen
from accord.serving.host import Host
from accord.serving.keys import Keys


@dataclass(frozen=True)
class Server:
    """Where it is, and with which keys one comes in."""

    url: str
    key: str
    hurried: str
    """A key of two requests a minute."""
    narrow: str
    """A key for ``tiny-2`` alone."""
    keys: Keys


@contextmanager
def serving(host: Host, app: ASGIApp) -> Generator[str]:
    """Opens the host, serves the app, and yields its address; both are closed in the end."""
    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=2))
    problems = list[BaseException]()
    up = threading.Event()

    async def run() -> None:
        await host.start()
        up.set()
        try:
            await server.serve(sockets=[socket])
        finally:
            await host.close()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as problem:  # told in the test's own thread
            problems.append(problem)
        finally:
            up.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert up.wait(60)
        assert not problems, problems
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
    assert not problems, problems
