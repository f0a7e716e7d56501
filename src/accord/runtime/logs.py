"""Tolerant readers for a run's files: metrics.jsonl by columns, samples.jsonl evenly thinned.

A file may be missing, incomplete or broken; nothing here fails on it. A million rows take 8 bytes per metric,
so that a report over them fits into memory.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Table = Mapping[str, Any]
SAMPLES = 5_000
"""Samples kept per run. Of more, every n-th is kept."""
_NAN = math.nan


@dataclass(frozen=True)
class Metrics:
    """metrics.jsonl by column: ``columns[key][i]`` is the metric in row i, NaN where the row has none or no
    finite number."""

    columns: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    rows: int = 0
    lost: int = 0
    """Number of lines that are not JSON objects."""

    def series(self, key: str) -> tuple[Floats, Floats]:
        """Return the steps in order and the metric at each, finite values only. A step that was logged twice (a
        resume) keeps its last value."""
        values = self.columns.get(key)
        if values is None:
            return np.empty(0), np.empty(0)
        steps = self.columns.get("step", np.arange(1.0, self.rows + 1))
        kept = np.isfinite(values) & np.isfinite(steps)
        steps, values = steps[kept], values[kept]
        if steps.size > 1 and not bool((np.diff(steps) > 0).all()):
            order = np.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
            last = np.append(np.diff(steps) > 0, True)
            steps, values = steps[last], values[last]
        return steps, values

    def values(self, key: str) -> Floats:
        """Return the metric in step order, empty if it was never logged."""
        return self.series(key)[1]

    def unusable(self) -> list[str]:
        """Return the metrics that turned from a number into NaN or infinity during a run."""
        return [key for key, column in self.columns.items() if key in _ALWAYS and _stops(column)]


_ALWAYS = ("loss", "policy_loss", "value_loss", "grad_norm", "reward", "kl_k1", "approx_kl", "entropy")
"""Metrics that are logged at every step by the algorithms that log them at all."""


def _stops(column: Floats) -> bool:
    bad = ~np.isfinite(column)
    return bool(bad.any()) and not bool(bad.all())


@dataclass(frozen=True)
class Samples:
    """A selection of rows of samples.jsonl, evenly spread, and the total number."""

    rows: list[Table] = field(default_factory=list[Table])
    total: int = 0
    lost: int = 0


def read_metrics(path: Path) -> Metrics:
    """Return metrics.jsonl by columns, empty if there is no such file. Raises OSError when it cannot be read."""
    columns: dict[str, array[float]] = {}
    rows = lost = 0
    for line in _lines(path):
        row = parse(line)
        if row is None:
            lost += 1
            continue
        for key, value in row.items():
            column = columns.get(key)
            if column is None:
                column = columns[key] = array("d")
            if len(column) < rows:
                column.extend([_NAN] * (rows - len(column)))
            column.append(value if type(value) is float else _plain(value))
        rows += 1
    for column in columns.values():
        column.extend([_NAN] * (rows - len(column)))
    values = {key: np.frombuffer(column, dtype=np.float64) for key, column in columns.items()}
    return Metrics({key: column for key, column in values.items() if np.isfinite(column).any()}, rows, lost)


def _plain(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _NAN
    except OverflowError:  # a whole number of hundreds of digits
        return _NAN


def read_samples(path: Path, limit: int = SAMPLES) -> Samples:
    """Return at most ``limit`` rows of samples.jsonl, including the first and the last. Raises OSError when it
    cannot be read."""
    total = sum(1 for _ in _lines(path))
    wanted = range(total) if total <= limit else {round(n * (total - 1) / (limit - 1)) for n in range(limit)}
    found = [parse(line) for at, line in enumerate(_lines(path)) if at in wanted]
    return Samples([row for row in found if row is not None], total, found.count(None))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file. A last line without an end may still be in the writing."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def parse(content: str | bytes) -> Table | None:
    """Return the JSON object in a line, or None for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("Table", found) if isinstance(found, dict) else None


def read_object(path: Path) -> Table | None:
    """Return a file's JSON object: empty if there is no file, None if it holds something else. Raises OSError
    when it cannot be read."""
    return parse(path.read_bytes()) if path.is_file() else {}
