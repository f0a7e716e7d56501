"""Reads what runs wrote, with patience: metrics.jsonl by columns, samples.jsonl evenly thinned.

A file may be missing, still be written or be broken; nothing here fails on it. A million rows take 8 bytes a figure, so that a report
over them fits into memory.
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
"""Samples kept of a run; of more, every so-manyth."""
_NAN = math.nan


@dataclass(frozen=True)
class Metrics:
    """metrics.jsonl by column: ``columns[key][i]`` is what row i says of a figure, NaN where it says nothing or no finite number."""

    columns: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    rows: int = 0
    lost: int = 0
    """Lines that were no JSON object."""

    def series(self, key: str) -> tuple[Floats, Floats]:
        """Steps in order and the figure at each, finite ones alone; a step that was logged twice (a resume) keeps its last value."""
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
        """The figure in the order of steps; empty when it was never logged."""
        return self.series(key)[1]

    def unusable(self) -> list[str]:
        """Figures that once were a number and then were none: what overflowed in a run."""
        return [key for key, column in self.columns.items() if key in _ALWAYS and _stops(column)]


_ALWAYS = ("loss", "policy_loss", "value_loss", "grad_norm", "reward", "kl_k1", "approx_kl", "entropy")
"""Figures that a stage which logs them logs at every step."""


def _stops(column: Floats) -> bool:
    bad = ~np.isfinite(column)
    return bool(bad.any()) and not bool(bad.all())


@dataclass(frozen=True)
class Samples:
    """Some rows of samples.jsonl, evenly spread, and how many there are."""

    rows: list[Table] = field(default_factory=list[Table])
    total: int = 0
    lost: int = 0


def read_metrics(path: Path) -> Metrics:
    """metrics.jsonl by columns; empty when there is no such file. Raises OSError when it cannot be read."""
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
    figures = {key: np.frombuffer(column, dtype=np.float64) for key, column in columns.items()}
    return Metrics({key: column for key, column in figures.items() if np.isfinite(column).any()}, rows, lost)


def _plain(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _NAN


def read_samples(path: Path, limit: int = SAMPLES) -> Samples:
    """At most ``limit`` rows of samples.jsonl, the first and the last among them. Raises OSError when it cannot be read."""
    total = sum(1 for _ in _lines(path))
    wanted = range(total) if total <= limit else {round(n * (total - 1) / (limit - 1)) for n in range(limit)}
    found = [parse(line) for at, line in enumerate(_lines(path)) if at in wanted]
    return Samples([row for row in found if row is not None], total, found.count(None))


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file; the last one may still be being written."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def parse(content: str | bytes) -> Table | None:
    """A JSON object, or None for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("Table", found) if isinstance(found, dict) else None


def read_object(path: Path) -> Table | None:
    """A file's JSON object; empty when there is no file, None when it holds something else. Raises OSError when it cannot be read."""
    return parse(path.read_bytes()) if path.is_file() else {}
