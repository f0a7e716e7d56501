"""The rest of a request that is refused is read and thrown away, within bounds, so that its sender comes to read the answer.

A connection that is closed while bytes wait to be read is reset, and the reset takes the answer with it (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

MOST_BYTES = 32_000_000
"""Bytes of a refused body that are read. Whoever sends more may find the connection closed."""
SECONDS = 2.0
"""The longest time for it."""


async def drain(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Read what is left of a request's body, by ASGI's ``receive``."""
    left = MOST_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
