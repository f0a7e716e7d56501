"""Requests to other servers: each ends within its deadline and its size, whatever the other side sends. All that we ask goes through here.

httpx limits each single read, so that a server that sends a byte of its head now and then holds a call for ever. Here the whole exchange
has one deadline: looking the name up, connecting, sending, the head and the body.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError

import httpx

CONNECT_SECONDS = 10.0
"""Longest time to wait for a connection."""
_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}
"""Headers that no longer hold for a body that is unpacked."""
_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""The event loop of this process, in a thread of its own; a process that is forked starts its own."""
_starting = threading.Lock()


class TooLarge(httpx.TransportError):
    """The answer is longer than it may be."""


class Bounded(httpx.BaseTransport):
    """A transport for ``httpx.Client`` that reads each answer whole.

    Args:
        seconds: of an exchange, from its beginning to the last byte of its answer; a request's extension ``seconds`` takes precedence.
        largest: bytes of an answer once it is unpacked.
        connections: at once; None for as many as there are requests.
    """

    def __init__(self, seconds: float, largest: int, *, connections: int | None = None) -> None:
        self.seconds, self.largest = seconds, largest
        self._limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._clients: dict[int, httpx.AsyncClient] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer.

        Raises:
            httpx.TransportError: there is none; a timeout when it was not complete in time.
            TooLarge: it is too long.
        """
        loop = _loop()
        future = asyncio.run_coroutine_threadsafe(self._whole(request), loop)
        try:
            return future.result()
        except CancelledError as error:
            raise httpx.ReadError("the request was cancelled", request=request) from error
        except BaseException:
            future.cancel()
            raise

    async def _whole(self, request: httpx.Request) -> httpx.Response:
        seconds = float(request.extensions.get("seconds", self.seconds))
        request.extensions["timeout"] = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None).as_dict()
        if (client := self._clients.get(os.getpid())) is None:  # to make one reads every certificate
            client = self._clients[os.getpid()] = httpx.AsyncClient(follow_redirects=False, limits=self._limits)
        text = bytearray()
        try:
            async with asyncio.timeout(seconds):
                response = await client.send(request, stream=True, auth=None, follow_redirects=False)
                try:
                    async for part in response.aiter_bytes():
                        text += part
                        if len(text) > self.largest:
                            raise TooLarge(f"the answer is longer than {self.largest:,} bytes", request=request)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"the answer was not complete within {seconds:g} seconds", request=request) from error
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(bytes(text)), request=request)

    def close(self) -> None:
        """Close the connections that wait for the next request."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None and os.getpid() in _loops:
            asyncio.run_coroutine_threadsafe(client.aclose(), _loop()).result(CONNECT_SECONDS)


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the outgoing requests of this process."""
    with _starting:
        if (found := _loops.get(os.getpid())) is None:
            found = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=found.run_forever, name="outgoing", daemon=True).start()
        return found
