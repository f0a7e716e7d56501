"""How many threads the CPU computes with: never more than the machine has to spare.

Beside a busy program two threads wait for each other at every small product, and are slower than one. So before a command
computes, it looks at how much of the processors other programs use, and times its threads against a single one. Sums depend on the
number of threads in their last bit, so a run notes its number and resumes with it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

ENVIRONMENT = "OMP_NUM_THREADS"
"""The variable with which you fix the number of threads; torch reads it."""
SPARE = 0.4
"""A processor of which other programs use less than this share of one is still worth a thread."""
SAMPLE_SECONDS = 0.3
OLD_SECONDS = 30.0
"""A first look longer ago than this says nothing about now."""
CLEARLY = 1.1
"""How many times as fast one thread must be to be taken; timings are noisy."""


@dataclass(frozen=True)
class Look:
    """What the processors had done at a moment."""

    at: float
    busy: float
    """Seconds of work of all programs on the processors that this process may use."""
    own: float
    """Seconds of work of this process."""


@dataclass(frozen=True)
class Threads:
    """The number of threads that a process computes with, and why."""

    count: int
    reason: str


def look() -> Look | None:
    """Return what the processors have done so far, or None where the system does not tell (no /proc/stat)."""
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set[str]()
    try:
        with open("/proc/stat", encoding="ascii") as file:
            rows = [line.split() for line in file if line.startswith("cpu")]
    except OSError:
        return None
    ticks = 0
    for name, *counts in rows:
        if name in mine:
            user, nice, system, _idle, _waiting, *others = map(int, counts[:8])
            ticks += user + nice + system + sum(others)
    return Look(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


_FIRST = look()
_PROCESS: dict[str, Threads] = {}
"""The choice of this process, made once."""


def others_use(since: Look, now: Look) -> float:
    """Return how many processors other programs used on average between two looks."""
    return max((now.busy - since.busy) - (now.own - since.own), 0.0) / max(now.at - since.at, 1e-6)


def spare(most: int, used: float) -> int:
    """Return how many of ``most`` threads find a processor of their own while other programs use ``used`` of them; at least one."""
    return max(min(most, int(most - used + 1 - SPARE)), 1)


def choose_threads() -> Threads:
    """Choose once how many threads this process computes with, tell torch and, if it is fewer than there are, the user.

    The number only ever falls: one that you set by OMP_NUM_THREADS or ``torch.set_num_threads`` is the most. OMP_NUM_THREADS is
    always taken as it is.
    """
    if "threads" not in _PROCESS:
        import torch

        most = torch.get_num_threads()
        chosen = _chosen(most)
        if chosen.count != most:
            torch.set_num_threads(chosen.count)
            print(f"threads: {chosen.count} of {most}, for {chosen.reason} ({ENVIRONMENT} sets another number)", file=sys.stderr)
        _PROCESS["threads"] = chosen
    return _PROCESS["threads"]


def keep_threads(count: int) -> bool:
    """Compute with as many threads as a stopped run did, so that it resumes bit for bit; return whether that is another number.

    OMP_NUM_THREADS wins: what you set is not changed.
    """
    import torch

    if os.environ.get(ENVIRONMENT) or count < 1 or count == torch.get_num_threads():
        return False
    torch.set_num_threads(count)
    _PROCESS["threads"] = Threads(count, "as when the run began")
    return True


def _chosen(most: int) -> Threads:
    if os.environ.get(ENVIRONMENT):
        return Threads(most, f"{ENVIRONMENT} says so")
    if most == 1:
        return Threads(1, "there is one")
    used = _used()
    count = spare(most, used)
    if count < most:
        return Threads(count, f"other programs use {used:.1f} of {most} processors")
    return Threads(count, "the processors are free") if _gain(count) > 1 / CLEARLY else Threads(1, f"one is faster here than {count}")


def _used() -> float:
    """Return how many processors other programs use, since this module was loaded or over a moment of now."""
    since = _FIRST
    if since is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    age = time.monotonic() - since.at
    if age > OLD_SECONDS:
        since, age = look() or since, 0.0
    time.sleep(max(SAMPLE_SECONDS - age, 0.0))
    now = look()
    return 0.0 if now is None else others_use(since, now)


def _gain(count: int) -> float:
    """Return how many times as fast ``count`` threads are as one, on products and sums like those of a small model."""
    import torch

    states, weight = torch.ones(1024, 256), torch.ones(256, 1024)  # a run's random numbers stay untouched
    seconds: dict[int, float] = {}
    try:
        for threads in (count, 1, count, 1):
            torch.set_num_threads(threads)
            torch.mm(states, weight)
            began = time.perf_counter()
            for _ in range(10):
                torch.mm(states, weight).relu_().sum()
            spent = time.perf_counter() - began
            seconds[threads] = min(spent, seconds.get(threads, spent))
    finally:
        torch.set_num_threads(count)
    return seconds[1] / seconds[count]
