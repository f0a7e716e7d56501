"""A limit on the memory that a piece of Python may take, on Linux."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_limit(size: int) -> Generator[None]:
    """Raise MemoryError where the code inside wants more than ``size`` bytes beyond what the process has.

    It is a limit of the whole process, so use it where no other thread allocates much. Elsewhere than on Linux it does nothing.

    Raises:
        MemoryError: the code wanted more.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    wanted = pages * os.sysconf("SC_PAGE_SIZE") + size
    if before[0] != resource.RLIM_INFINITY and before[0] <= wanted:
        yield  # a tighter one is in force
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
