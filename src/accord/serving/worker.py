"""The thread in which models draw: it steps every engine with work, in turn, and passes drawn tokens to the event loop.

A stream's tokens are passed on together, every ``PACE`` seconds: nobody reads faster, and each hand-over costs
more than a token. The first token and the last one go at once.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from accord.engine.batching import BatchEngine, Drawn, Request
from accord.serving.host import Unavailable

PACE = 0.02
"""Seconds between two hand-overs of a stream."""
log = logging.getLogger("accord.serve")

Part = TypeVar("Part")
Deliver = Callable[[list[Drawn] | Exception], None]
"""Callback in the event loop with a request's next tokens, or with the error."""


class Seat:
    """An engine with its requests. Only the worker's thread touches it."""

    def __init__(self, engine: BatchEngine) -> None:
        self.engine = engine
        self.deliver: dict[int, Deliver] = {}
        self.held: dict[int, list[Drawn]] = {}
        self.fresh = set[int]()
        """Tickets without a token yet."""
        self.due = 0.0

    def ready(self, drawn: list[Drawn]) -> dict[int, list[Drawn]]:
        """Return the tokens to hand over after a step."""
        for token in drawn:
            self.held.setdefault(token.ticket, []).append(token)
        now = time.monotonic()
        if now >= self.due:
            self.due, ready, self.held = now + PACE, self.held, {}
        else:
            urgent = {token.ticket for token in drawn if token.finish or token.ticket in self.fresh}
            ready = {ticket: self.held.pop(ticket) for ticket in urgent}
        self.fresh -= ready.keys()
        return ready


class Worker(threading.Thread):
    """Runs engines until it is stopped. It receives all its instructions through ``post``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="accord-models", daemon=True)
        self.loop = loop
        self.seats = list[Seat]()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._awaited = set[asyncio.Future[Any]]()
        """Parts of work beside the engines that the event loop waits for. Only its thread touches them."""

    def post(self, work: Callable[[], None] | None) -> None:
        """Run something in the worker's thread before the next step. None ends the thread, which tells all
        waiting requests."""
        self._inbox.put(work)

    def submit(self, seat: Seat, request: Request, deliver: Deliver, accepted: Callable[[int], None]) -> None:
        """Queue a request. ``accepted`` is called with its ticket, in the worker's thread."""

        def work() -> None:
            ticket = seat.engine.submit(request)
            seat.deliver[ticket] = deliver
            seat.fresh.add(ticket)
            accepted(ticket)

        self.post(work)

    def cancel(self, seat: Seat, ticket: int) -> None:
        """Drop a request."""

        def work() -> None:
            seat.engine.cancel(ticket)
            for left in (seat.deliver, seat.held):
                left.pop(ticket, None)
            seat.fresh.discard(ticket)

        self.post(work)

    async def parts(self, work: Generator[Part]) -> AsyncGenerator[Part]:
        """Yield what a generator yields, each part computed in the worker's thread between two steps of the engines.

        Raises:
            Unavailable: the work failed, or the worker has ended.
        """
        while True:
            if self._closed:
                raise _closing()
            future: asyncio.Future[tuple[Part] | None] = self.loop.create_future()
            self._awaited.add(future)
            self.post(lambda told=future: self._compute(work, told))
            try:
                part = await future
            finally:
                self._awaited.discard(future)
            if part is None:
                return
            yield part[0]

    def _compute(self, work: Generator[Part], future: asyncio.Future[tuple[Part] | None]) -> None:
        """Compute the next part, in the worker's thread, and tell the event loop."""
        try:
            part = next(((part,) for part in work), None)
        except Exception:  # the request is told, the others go on
            log.exception("a model failed while it was reading")
            self.loop.call_soon_threadsafe(_fail, {future}, Unavailable("the model failed while it was reading", seconds=5))
        else:
            self.loop.call_soon_threadsafe(lambda: future.done() or future.set_result(part))

    def _close(self) -> None:
        self._closed = True
        _fail(self._awaited, _closing())

    def run(self) -> None:
        while self._told():
            for seat in self.seats:
                if seat.engine.busy:
                    self._step(seat)
        waiting = [deliver for seat in self.seats for deliver in seat.deliver.values()]
        self.loop.call_soon_threadsafe(_hand_over, [(deliver, _closing()) for deliver in waiting])
        self.loop.call_soon_threadsafe(self._close)

    def _told(self) -> bool:
        """Run the posted calls, and wait for one while there is nothing else to do; False when the thread should end."""
        idle = not any(seat.engine.busy for seat in self.seats)
        while True:
            try:
                work = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if work is None:
                return False
            work()
            idle = False

    def _step(self, seat: Seat) -> None:
        try:
            ready: Mapping[int, list[Drawn] | Exception] = seat.ready(seat.engine.step())
        except Exception as error:  # out of memory, or a model that breaks: its requests are told, the others go on
            log.exception("a model failed while it was answering")
            ready = dict.fromkeys(seat.deliver, error)
            for ticket in seat.deliver:
                seat.engine.cancel(ticket)
        if ready:
            given = [(seat.deliver[ticket], drawn) for ticket, drawn in ready.items()]
            ended = [ticket for ticket, drawn in ready.items() if isinstance(drawn, Exception) or drawn[-1].finish]
            for ticket in ended:
                del seat.deliver[ticket]
            self.loop.call_soon_threadsafe(_hand_over, given)


def _hand_over(given: Sequence[tuple[Deliver, list[Drawn] | Exception]]) -> None:
    for deliver, drawn in given:
        deliver(drawn)


def _fail(futures: set[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _closing() -> Unavailable:
    return Unavailable("the server is closing", seconds=5)
