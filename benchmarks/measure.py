"""What every worker shares: its arguments, its clock, and the one JSON line it prints.

A worker measures one thing in a process of its own, between two runs of a fixed matrix product: when the machine drifts,
the products say so. Imports nothing but the standard library and torch, since it runs in each side's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from work import LENGTHS, SIZES, Size, sized

STARTED = "BENCH_STARTED"
"""Environment variable with the parent's ``time.monotonic()`` just before it started the worker."""


@dataclass(frozen=True)
class Task:
    """What a worker is asked for."""

    name: str
    size: Size
    models: Path
    """Folder that holds ``policy`` and ``reward``."""
    steps: int
    """Timed steps (optimiser steps, PPO iterations or generate calls)."""
    warmup: int
    """Untimed steps before them."""
    seed: int
    options: dict[str, Any]
    """The variant's settings, as the worker understands them."""


@dataclass(frozen=True)
class Measurement:
    """A worker's line. ``value`` is in ``unit``; ``matmul`` holds GFLOP/s before and after by dtype."""

    name: str
    size: str
    lengths: str
    dtype: str
    value: float
    unit: str
    peak_rss_mb: float
    minor_faults: int
    seconds: float
    matmul: dict[str, list[float]]
    phases: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)


def read_task() -> Task:
    """Parses the arguments that speed.py gives each worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("models", type=Path)
    parser.add_argument("--lengths", choices=LENGTHS, default="short")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", type=json.loads, default={})
    args = parser.parse_args()
    return Task(args.task, sized(args.size, args.lengths), args.models, args.steps, args.warmup, args.seed, args.options)


def matmul_gflops(n: int = 1024, repeats: int = 7) -> dict[str, float]:
    """Best of ``repeats`` [n, n] matrix products, GFLOP/s, in float32 and bfloat16."""
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {name: _best_product(torch.ones(n, n, dtype=dtype), repeats) for name, dtype in dtypes.items()}


def _best_product(matrix: Any, repeats: int) -> float:
    import torch

    out, seconds = torch.empty_like(matrix), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(matrix, matrix, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * matrix.shape[0] ** 3 / min(seconds[1:]) / 1e9


def peak_rss_mb() -> float:
    """The process's highest resident memory in MB. getrusage's figure survives exec, VmHWM does not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def seconds_since_start() -> float:
    """Time since the parent started this process (CLOCK_MONOTONIC is one clock for all processes)."""
    return time.monotonic() - float(os.environ[STARTED])


@dataclass
class Lap:
    """Counts work between marks, one mark at the end of each step; the first ``warmup`` steps do not count."""

    warmup: int
    marks: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    pending: float = 0.0

    def add(self, amount: float) -> None:
        """Work done in the step that is under way."""
        self.pending += amount

    def mark(self) -> None:
        """A step ends here."""
        self.marks.append(time.perf_counter())
        self.work.append(self.pending)
        self.pending = 0.0

    @property
    def seconds(self) -> float:
        """Time of the steps that count. The first step's beginning is unknown, so ``warmup`` is at least 1."""
        if self.warmup < 1 or len(self.marks) <= self.warmup:
            raise RuntimeError(f"{len(self.marks)} steps with {self.warmup} of warm-up leave nothing to time")
        return self.marks[-1] - self.marks[self.warmup - 1]

    @property
    def rate(self) -> float:
        """Work a second over the steps that count."""
        return sum(self.work[self.warmup :]) / self.seconds


@dataclass(frozen=True)
class Outcome:
    """What a measured function returns."""

    dtype: str
    value: float
    unit: str
    seconds: float
    phases: dict[str, float] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    """Evidence that a setting took effect (autocast seen, packed lengths ...)."""


def run(measurers: dict[str, Callable[[Task], Outcome]]) -> None:
    """Measures the asked task between two matrix products and prints its line. Start-up has no product before it."""
    task = read_task()
    before = {} if task.name == "startup" else matmul_gflops()
    outcome = measurers[task.name](task)
    peak, faults = peak_rss_mb(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    after = matmul_gflops()
    matmul = {dtype: [*([before[dtype]] if before else []), after[dtype]] for dtype in after}
    measurement = Measurement(
        task.name, task.size.name, task.size.lengths, outcome.dtype, outcome.value, outcome.unit, peak, faults, outcome.seconds, matmul,
        outcome.phases, task.options, outcome.checks,
    )  # fmt: skip
    print(json.dumps(asdict(measurement)), flush=True)
