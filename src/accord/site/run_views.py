"""Runs as the pages show them: read from the project's folders, whoever started them, and never failing on a file that is being written."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from accord.evaluation.findings import Finding
from accord.evaluation.run_facts import examine, facts_of, kept_findings, together
from accord.runtime import jobs, owners
from accord.runtime.jobs import Job
from accord.runtime.logs import Metrics, parse, read_metrics, read_object, read_samples
from accord.runtime.project import Project

State = Literal["queued", "running", "stopping", "done", "failed", "stopped", "lost"]
LISTED = 200
"""Runs in the list, the newest."""
SAMPLES = 6
"""Newest samples that a run's page shows."""
LOG = 12_000
"""Characters of a log that a page shows."""
FILES = ("config.json", "metrics.jsonl", "samples.jsonl", "summary.json", "doctor.json", "owner.json", "log.txt")
FIGURES = ("validation_accuracy", "validation_loss", "held_out_win_rate", "held_out_reward", "accuracy", "reward", "reward_total", "loss")
"""Metrics by which a run is told apart in the list: the first that it has."""


@dataclass(frozen=True)
class Row:
    """A run in the list."""

    name: str
    stage: str
    state: State
    began: str
    step: int
    figure: tuple[str, float] | None
    """A metric and its newest value."""
    job: Job | None
    """The newest job that trains it, if it was started from a page."""

    @property
    def live(self) -> bool:
        return self.state in ("queued", "running", "stopping")


@dataclass(frozen=True)
class Page:
    """All that a run's page shows."""

    row: Row
    settings: Mapping[str, object]
    asked: Mapping[str, object]
    inputs: Mapping[str, str]
    summary: Mapping[str, Any]
    metrics: Metrics
    samples: Sequence[Mapping[str, Any]]
    findings: Sequence[Finding]
    remarks: str
    """The end of the run's own log."""
    version: str
    """Changes when anything of this does."""
    took: float
    """Seconds that reading took."""


def rows(project: Project, known: Sequence[Job]) -> list[Row]:
    """Return the newest runs, the last one first, with those that a waiting job will begin."""
    folders = [project.run(name) for name in project.runs()]
    by_run = newest_of(known)
    found = [row(folder, by_run.get(folder.name)) for folder in folders]
    there = {folder.name for folder in folders}
    found += [row(project.run(name), job) for name, job in by_run.items() if name not in there and job.unfinished]
    found.sort(key=lambda each: (each.live, each.began), reverse=True)
    return found[:LISTED]


def newest_of(known: Sequence[Job]) -> dict[str, Job]:
    """Return the newest job of each run; ``known`` has the newest first."""
    found: dict[str, Job] = {}
    for job in sorted(known, key=lambda each: each.number):
        if job.run and job.queue == "training" and "/" not in job.run:
            found[job.run] = job
    return found


def row(folder: Path, job: Job | None) -> Row:
    """Return a run in a line."""
    config = _read(folder / "config.json")
    stage = str(config.get("stage") or (job.command if job else folder.name))
    last = _last_rows(folder / "metrics.jsonl", 1)
    step = last[-1].get("step", 0) if last else 0
    return Row(folder.name, stage, _state(folder, job), _began(folder, job), int(step), _figure(folder, last), job)


def _state(folder: Path, job: Job | None) -> State:
    if job is not None and job.unfinished:
        return "stopping" if job.stopping and job.state == "running" else cast("State", job.state)
    if (folder / "summary.json").is_file():
        return "done"
    if owners.living(folder / owners.OWNER):
        return "running"
    return cast("State", job.state) if job is not None and job.state != "done" else "stopped"


def _began(folder: Path, job: Job | None) -> str:
    try:
        at = min((folder / name).stat().st_mtime for name in ("config.json", "metrics.jsonl") if (folder / name).exists())
    except (OSError, ValueError):
        return job.at if job else ""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _figure(folder: Path, last: Sequence[Mapping[str, Any]]) -> tuple[str, float] | None:
    told = {**(last[-1] if last else {}), **_read(folder / "summary.json")}
    for key in FIGURES:
        if isinstance(value := told.get(key), int | float) and not isinstance(value, bool):
            return key, float(value)
    return None


def page(project: Project, name: str, job: Job | None) -> Page:
    """Return a run's page. What did not change since it was read last is not read again."""
    folder = project.run(name)
    version = version_of(folder, job)
    found = _contents(folder, version)
    return Page(row(folder, job), **found, version=version)


def version_of(folder: Path, job: Job | None) -> str:
    """Return a few digits that change with the files of a run and of its job."""
    paths = [folder / name for name in FILES]
    paths += [job.folder / name for name in ("log.txt", "end.json", "process.json", "stop.json")] if job else []
    told = [f"{path.name} {stat.st_size} {stat.st_mtime_ns}" for path in paths if path.name != "owner.json" and (stat := _stat(path))]
    state = [str(job.number), job.state] if job else [_state(folder, None)]
    return hashlib.sha256("\n".join([*told, *state]).encode()).hexdigest()[:16]


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None


@lru_cache(maxsize=8)
def _contents(folder: Path, _version: str) -> dict[str, Any]:
    began = time.monotonic()
    config, summary = _read(folder / "config.json"), _read(folder / "summary.json")
    try:
        metrics = read_metrics(folder / "metrics.jsonl")
    except OSError:
        metrics = Metrics()
    return {
        "settings": _table(config.get("config")),
        "asked": _table(config.get("asked")),
        "inputs": _table(config.get("inputs")),
        "summary": summary,
        "metrics": metrics,
        "samples": list(reversed(_last_rows(folder / "samples.jsonl", SAMPLES))),
        "findings": _findings(folder, config, summary, metrics),
        "remarks": jobs.tail(folder / "log.txt", LOG),
        "took": time.monotonic() - began,
    }


def _findings(folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any], metrics: Metrics) -> list[Finding]:
    """Return what the doctor finds in the files of a run, and what `accord doctor` added."""
    if not config:
        return []
    try:
        samples = read_samples(folder / "samples.jsonl", 500).rows
        facts = facts_of(folder, config, summary, metrics, samples)
        return together(kept_findings(folder, metrics.rows), examine(facts, samples))
    except (OSError, ValueError, KeyError, TypeError):
        return []  # files that are half written, or were changed by hand


def metrics_of(project: Project, name: str) -> Metrics:
    """Return a run's metrics; empty when they cannot be read."""
    try:
        return read_metrics(project.run(name) / "metrics.jsonl")
    except OSError:
        return Metrics()


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Return the settings in which two runs differ; None where one has no such setting."""
    names = [*one, *(name for name in other if name not in one)]
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def figures(summaries: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[float | None]]]:
    """Return the numbers of the runs' summaries side by side, held-out ones first."""
    keys: dict[str, None] = {}
    for summary in summaries:
        keys |= {key: None for key, value in summary.items() if _number(value) is not None}
    held = ("held_out", "validation", "accuracy", "win_rate")
    ordered = sorted(keys, key=lambda key: not any(word in key for word in held))
    return [(key, [_number(summary.get(key)) for summary in summaries]) for key in ordered]


def _number(value: object) -> float | None:
    if isinstance(value, list) and value and isinstance(value[0], int | float):  # a value with its interval
        value = cast("list[float]", value)[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _last_rows(path: Path, most: int) -> list[dict[str, Any]]:
    """Return the last complete rows of a file of JSON lines, of its last 256 kB."""
    found: list[dict[str, Any]] = []
    for line in reversed(jobs.tail(path, 256_000).splitlines()):
        if (parsed := parse(line)) is not None:
            found.append(dict(parsed))
        if len(found) == most:
            break
    return found[::-1]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path) or {}
    except OSError:
        return {}


def _table(value: object) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def shown(value: object) -> str:
    """Return a setting or a figure as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else "–" if value is None else json.dumps(value, ensure_ascii=False)
