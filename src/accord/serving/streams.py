"""Work that ends when its client disconnects, and answers sent as events while they grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from accord.serving.gate import Gone

Result = TypeVar("Result")


class Stream(Response):
    """Server-sent events. When the client disconnects, the generator is closed at once, which cancels the
    requests behind it."""

    def __init__(self, events: AsyncGenerator[bytes], headers: dict[str, str], ended: Callable[[], None]) -> None:
        super().__init__(None, 200, headers, "text/event-stream")
        del self.headers["content-length"]
        self.events, self.ended = events, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self.events):
                async for event in self.events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await while_there(receive, sent())
        finally:
            await self.events.aclose()
            self.ended()


async def while_there(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Run work until it is done or the client disconnects, which cancels it. Raises Gone then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Gone
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
