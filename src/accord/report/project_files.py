"""Tolerant reading of a project folder: a run may be under way, a file may be missing or broken.

Nothing here fails on a missing or unreadable file. Unreadable ones are recorded, and the page names them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import Interval
from accord.runtime.logs import Floats, Metrics, Samples, parse, read_metrics, read_samples

Table = Mapping[str, Any]
Series = list[tuple[float, float]]
POINTS = 400
"""Longest curve in points. A longer one is drawn as means of this many stretches."""


@dataclass(frozen=True)
class RunRecord:
    """One folder of runs/."""

    name: str
    stage: str
    folder: Path
    config: Table
    metrics: Metrics
    summary: Table
    """Empty while the run is not finished."""
    samples: Samples

    def series(self, key: str, against: str = "") -> Series:
        """Return (step, value) in step order, or (value of another metric, value); a long series as the means of
        ``POINTS`` stretches."""
        steps, values = self.metrics.series(key)
        if against:
            others, across = self.metrics.series(against)
            _, here, there = np.intersect1d(steps, others, assume_unique=True, return_indices=True)
            steps, values = across[there], values[here]
        return list(zip(thinned(steps).tolist(), thinned(values).tolist(), strict=True))

    def last(self, key: str) -> float | None:
        """Return the run's final value of a metric: from its summary, else the last one logged."""
        values = self.metrics.values(key)
        said = number(self.summary.get(key))
        return said if said is not None else (float(values[-1]) if values.size else None)

    def ends(self, key: str) -> tuple[float, float] | None:
        """Return a metric's first and last value."""
        values = self.metrics.values(key)
        return (float(values[0]), float(values[-1])) if values.size else None


def thinned(values: Floats, limit: int = POINTS) -> Floats:
    """Return at most ``limit`` values: the means of stretches of equal length when there are more."""
    if values.size <= limit:
        return values
    edges = np.arange(limit + 1) * values.size // limit
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


@dataclass(frozen=True)
class ProjectRecord:
    """Everything that the page is made from."""

    name: str
    path: Path
    summary: Table
    runs: list[RunRecord]
    models: dict[str, Table]
    """lineage.json by model name, empty for a model without one."""
    broken: list[str] = field(default_factory=list[str])
    """Files and lines that could not be read."""

    def of(self, stage: str) -> list[RunRecord]:
        """Return the runs of a stage, the one with the stage's own name first."""
        first = {"pretrain": "base"}.get(stage, stage)
        return sorted((run for run in self.runs if run.stage == stage), key=lambda run: (run.name != first, run.name))

    def one(self, stage: str) -> RunRecord | None:
        """Return the run that represents a stage."""
        return next(iter(self.of(stage)), None)


STAGES = {"base": "pretrain", "pretrain": "pretrain", "sft": "sft", "sample": "sample", "label": "label", "reward": "reward"} | {
    "ppo": "ppo",
    "evaluate": "evaluate",
}
"""The stage of a run without a config.json, by the start of its name."""


def read_project(path: Path) -> ProjectRecord:
    """Read a project folder. Raises InputError when there is no such folder."""
    if not path.is_dir():
        raise InputError("there is no such project folder", where=str(path), hint="create one with accord init")
    broken: list[str] = []
    runs = [_run(folder, path, broken) for folder in _folders(path / "runs")]
    models = {folder.name: _object(folder / "lineage.json", path, broken) for folder in _folders(path / "models")}
    return ProjectRecord(path.resolve().name, path, _object(path / "summary.json", path, broken), runs, models, broken)


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith(".")) if parent.is_dir() else []


def _run(folder: Path, project: Path, broken: list[str]) -> RunRecord:
    config = _object(folder / "config.json", project, broken)
    stage = str(config.get("stage") or next((stage for start, stage in STAGES.items() if folder.name.startswith(start)), folder.name))
    metrics, samples = _metrics(folder / "metrics.jsonl", project, broken), _samples(folder / "samples.jsonl", project, broken)
    return RunRecord(folder.name, stage, folder, config, metrics, _object(folder / "summary.json", project, broken), samples)


def _metrics(path: Path, project: Path, broken: list[str]) -> Metrics:
    try:
        found = read_metrics(path)
    except OSError:
        broken.append(path.relative_to(project).as_posix())
        return Metrics()
    _lost(path, project, broken, found.lost, found.lost + found.rows)
    return found


def _samples(path: Path, project: Path, broken: list[str]) -> Samples:
    try:
        found = read_samples(path)
    except OSError:
        broken.append(path.relative_to(project).as_posix())
        return Samples()
    _lost(path, project, broken, found.lost, found.total)
    return found


def _lost(path: Path, project: Path, broken: list[str], lost: int, of: int) -> None:
    if lost:
        broken.append(f"{path.relative_to(project).as_posix()} ({lost} of {of} lines)")


def _object(path: Path, project: Path, broken: list[str]) -> Table:
    try:
        content = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError):
        broken.append(path.relative_to(project).as_posix())
        return {}
    found = parse(content) if content else None
    if content and found is None:
        broken.append(path.relative_to(project).as_posix())
    return found or {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def number(value: object) -> float | None:
    """Return a value as a finite number: the mean of one with an interval, None for anything else."""
    three = interval_of(value)
    return three.mean if three else _number(value)


def interval_of(value: object) -> Interval | None:
    """Return ``[mean, low, high]`` as an interval, and None for anything else."""
    if not isinstance(value, list | tuple):
        return None
    items = [_number(item) for item in cast("list[object]", value)]
    return Interval(*(item for item in items if item is not None)) if len(items) == 3 and None not in items else None


def table(value: object) -> Table:
    """Return the value if it is a JSON object, else an empty one."""
    return cast("Table", value) if isinstance(value, dict) else {}
