"""Output while a command works: a progress bar on a terminal, a plain line now and then in a log, a short table
at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from accord.runtime import ranks

_LINE_SECONDS = 10.0


class Track(Protocol):
    """The interface through which a command reports its progress."""

    def advance(self, n: int = 1, /, **metrics: float) -> None:
        """Report n more items as done, with metrics: ``advance(loss=2.1, tokens_per_second=18_000)``."""
        ...


@contextmanager
def track(total: int, description: str, *, quiet: bool = False, done: int = 0) -> Generator[Track]:
    """Show the progress of ``total`` items on standard error. An earlier run finished ``done`` of them.

    A terminal gets a bar with count, elapsed and remaining time and the metrics. Elsewhere there is a line at
    most every 10 seconds and one at the end. With ``quiet`` there is nothing. Of several processes the first shows it, and each
    notes how far it is.
    """
    console = Console(stderr=True)
    if quiet or not ranks.first():
        yield _Silent(total, description, done)
    elif console.is_terminal:
        with _bar(console) as progress:
            yield _Bar(progress, progress.add_task(description, total=total, completed=done, metrics=""), _Silent(total, description, done))
    else:
        lines = _Lines(total, description, done, time.monotonic())
        ranks.stage(f"{description} {done}/{total}")
        try:
            yield lines
        finally:
            lines.write()


def say(line: str) -> None:
    """Print a line on standard error, beside the progress; of several processes the first one's."""
    if ranks.first():
        print(line, file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on standard output. Numbers are right-aligned."""
    drawn = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        drawn.add_row(*(short(cell) for cell in row))
    Console(highlight=False).print(drawn, markup=False)


def short(value: object) -> str:
    """Return a number in few digits, and anything else as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _written(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name.replace('_per_second', '/s').replace('_', ' ')} {short(value)}" for name, value in metrics.items())


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[metrics]}", markup=False), console=console)


@dataclass
class _Silent:
    total: int
    description: str
    done: int

    def __post_init__(self) -> None:
        self.advance(0)

    def advance(self, n: int = 1, /, **metrics: float) -> None:
        self.done += n
        ranks.stage(f"{self.description} {self.done}/{self.total}")


@dataclass(frozen=True)
class _Bar:
    progress: Progress
    task: TaskID
    told: _Silent

    def advance(self, n: int = 1, /, **metrics: float) -> None:
        self.told.advance(n)
        self.progress.advance(self.task, n)
        if metrics:
            self.progress.update(self.task, metrics=_written(metrics))


@dataclass
class _Lines:
    total: int
    description: str
    done: int
    start: float
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    written: float = field(init=False)

    def __post_init__(self) -> None:
        self.written = self.start

    def advance(self, n: int = 1, /, **metrics: float) -> None:
        self.done += n
        self.metrics |= metrics
        ranks.stage(f"{self.description} {self.done}/{self.total}")
        if time.monotonic() - self.written >= _LINE_SECONDS:
            self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        line = f"{self.description}: {self.done}/{self.total} in {self.written - self.start:.0f} s  {_written(self.metrics)}"
        print(line.rstrip(), file=sys.stderr, flush=True)
