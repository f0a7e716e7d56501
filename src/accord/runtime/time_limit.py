"""A limit on the seconds that a piece of Python may take, in whichever thread it runs."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TookTooLong(Exception):
    """Python code ran past its time limit."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop the Python code inside once it has taken so long. A single call into C is stopped after it returns.

    Raises:
        TookTooLong: the limit was reached.
    """
    thread, lock, over = threading.get_ident(), threading.Lock(), False

    def stop() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TookTooLong))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()
