"""What a project folder holds, read with patience: a run may be under way, a file may not be there yet or be broken.

Nothing here fails on a missing or unreadable file; what could not be read is remembered and said on the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError
from accord.evaluation.statistics import Interval

Table = Mapping[str, Any]
Series = list[tuple[float, float]]


@dataclass(frozen=True)
class RunRecord:
    """One folder of runs/."""

    name: str
    stage: str
    config: Table
    rows: list[Table]
    """metrics.jsonl, one row a step."""
    summary: Table
    """Empty while the run is not finished."""
    samples: list[Table]

    def series(self, key: str) -> Series:
        """(step, value) in order of steps; a step that was logged twice (a resume) keeps its last value."""
        found = {_number(row.get("step", at)): _number(row.get(key)) for at, row in enumerate(self.rows, 1) if key in row}
        return sorted((step, value) for step, value in found.items() if step is not None and value is not None)

    def last(self, key: str) -> float | None:
        """The run's final figure: out of its summary, else the last one that was logged."""
        line = self.series(key)
        return value if (value := number(self.summary.get(key))) is not None else (line[-1][1] if line else None)


@dataclass(frozen=True)
class ProjectRecord:
    """All that the page is made of."""

    name: str
    summary: Table
    runs: list[RunRecord]
    models: dict[str, Table]
    """lineage.json by model name, empty for a model without one."""
    broken: list[str] = field(default_factory=list[str])
    """Files and lines that could not be read."""

    def of(self, stage: str) -> list[RunRecord]:
        """The runs of a stage, the one with the stage's own name first."""
        first = {"pretrain": "base"}.get(stage, stage)
        return sorted((run for run in self.runs if run.stage == stage), key=lambda run: (run.name != first, run.name))

    def one(self, stage: str) -> RunRecord | None:
        """The run that stands for a stage."""
        return next(iter(self.of(stage)), None)


STAGES = {"base": "pretrain", "pretrain": "pretrain", "sft": "sft", "sample": "sample", "label": "label", "reward": "reward"} | {
    "ppo": "ppo",
    "evaluate": "evaluate",
}
"""What a run without a config.json is taken for, by how its name starts."""


def read_project(path: Path) -> ProjectRecord:
    """Reads a project folder. Raises InputError when there is no such folder."""
    if not path.is_dir():
        raise InputError("there is no such project folder", where=str(path), hint="accord init makes one")
    broken: list[str] = []
    runs = [_run(folder, path, broken) for folder in _folders(path / "runs")]
    models = {folder.name: _object(folder / "lineage.json", path, broken) for folder in _folders(path / "models")}
    return ProjectRecord(path.resolve().name, _object(path / "summary.json", path, broken), runs, models, broken)


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith(".")) if parent.is_dir() else []


def _run(folder: Path, project: Path, broken: list[str]) -> RunRecord:
    config = _object(folder / "config.json", project, broken)
    stage = str(config.get("stage") or next((stage for start, stage in STAGES.items() if folder.name.startswith(start)), folder.name))
    rows, samples = (_lines(folder / name, project, broken) for name in ("metrics.jsonl", "samples.jsonl"))
    return RunRecord(folder.name, stage, config, rows, _object(folder / "summary.json", project, broken), samples)


def _text(path: Path, project: Path, broken: list[str]) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        broken.append(path.relative_to(project).as_posix())
        return ""


def _object(path: Path, project: Path, broken: list[str]) -> Table:
    content = _text(path, project, broken)
    found = _parse(content) if content else None
    if content and found is None:
        broken.append(path.relative_to(project).as_posix())
    return found or {}


def _lines(path: Path, project: Path, broken: list[str]) -> list[Table]:
    content = _text(path, project, broken)
    lines = content.splitlines() if content.endswith("\n") else content.splitlines()[:-1]  # the last line is still being written
    found = [_parse(line) for line in lines]
    lost = found.count(None)
    if lost:
        broken.append(f"{path.relative_to(project).as_posix()} ({lost} of {len(lines)} lines)")
    return [row for row in found if row is not None]


def _parse(content: str) -> Table | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("Table", found) if isinstance(found, dict) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def number(value: object) -> float | None:
    """A figure as a finite number; the mean when it comes with its interval, None when it is neither."""
    three = interval_of(value)
    return three.mean if three else _number(value)


def interval_of(value: object) -> Interval | None:
    """``[mean, low, high]`` as an interval, None for anything else."""
    if not isinstance(value, list | tuple):
        return None
    items = [_number(item) for item in cast("list[object]", value)]
    return Interval(*(item for item in items if item is not None)) if len(items) == 3 and None not in items else None


def table(value: object) -> Table:
    """The value where it is a JSON object, else an empty one."""
    return cast("Table", value) if isinstance(value, dict) else {}
