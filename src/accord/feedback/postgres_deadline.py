"""A PostgreSQL connection that gives up a server which neither answers nor closes, as behind a network that drops packets.

The server's own time-outs do not reach a client that hears nothing, and keep-alives are answered by whatever stands in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg


def connector(seconds: float) -> Callable[..., Any]:
    """Return a listener of SQLAlchemy's ``do_connect`` whose connections wait at most ``seconds`` for each answer of the server."""

    class Patient(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None) -> Any:
            return super().wait(_limited(gen, self, min(seconds, timeout or seconds)), interval)

    def connect(_: object, __: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        return Patient.connect(*arguments, **options)

    return connect


def _limited(steps: Generator[Any, Any, Any], connection: psycopg.Connection[Any], seconds: float) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for, and close the connection when it has waited too long."""
    end = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                connection.close()  # so that the pool takes it for lost; whether a commit arrived is unknown, as after any lost answer
                raise psycopg.OperationalError(f"the server did not answer within {seconds:g} seconds")
            wanted = steps.send(ready)
    except StopIteration as done:
        return done.value
