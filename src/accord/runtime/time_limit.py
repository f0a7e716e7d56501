"""A limit on the seconds that a piece of Python may take, in whichever thread it runs."""

from __future__ import annotations

import _thread
import ctypes
import itertools
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

LOOK = 0.1
"""Seconds between two looks at the clock."""


class TookTooLong(Exception):
    """Python code ran past its time limit."""


class _Watch:
    """One thread for all limits, which sleeps while there are none: a thread of its own costs as much as a short rendering."""

    def __init__(self) -> None:
        self.limits: dict[int, tuple[int, float]] = {}
        """The thread and the moment of each limit."""
        self.lock, self.wanted, self.keys = threading.Lock(), threading.Event(), itertools.count()
        self.started = False

    def add(self, seconds: float) -> int:
        with self.lock:
            key = next(self.keys)
            self.limits[key] = (threading.get_ident(), time.monotonic() + seconds)
            if not self.started:
                self.started = True
                _thread.start_new_thread(self._look, ())
            self.wanted.set()
            return key

    def remove(self, key: int) -> None:
        with self.lock:
            self.limits.pop(key, None)

    def _look(self) -> None:
        while True:
            self.wanted.wait()
            time.sleep(LOOK)
            with self.lock:
                for key, (thread, end) in list(self.limits.items()):
                    if time.monotonic() > end:
                        del self.limits[key]
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TookTooLong))
                if not self.limits:
                    self.wanted.clear()


_WATCH = [_Watch()]


def _anew() -> None:
    _WATCH[0] = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)  # a fork has no thread but its own


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Stop the Python code inside once it has taken so long. A single call into C is stopped after it returns.

    Raises:
        TookTooLong: the limit was reached.
    """
    watch = _WATCH[0]
    key = watch.add(seconds)
    try:
        yield
    finally:
        watch.remove(key)
