"""A run's folder: what it was asked, what it measured, where it stands. A resumed run leaves the files of an uninterrupted one.

config.json       stage, settings, inputs by digest, seed, versions
metrics.jsonl     one line a step
samples.jsonl     one line a sample
checkpoint/       where a resume goes on
policies/         policies of earlier steps, where they were asked to be kept
log.txt           remarks, with their time
summary.json      the last figures; its presence says that the run is finished
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from accord.errors import AccordError, RunError, UsageError
from accord.runtime import checkpoints
from accord.runtime.device import environment, peak_rss_mb
from accord.runtime.files import append, clean, sync, write_atomic

POLICIES = "policies"
_FIXED = ("stage", "config", "inputs", "seed")
"""What a resume may not change; versions may (they are remarked in log.txt)."""


@dataclass(frozen=True)
class Run:
    """One run of a stage in its folder. Steps count from 1: ``checkpoint(n)`` follows ``log(n)`` and holds the state after n steps."""

    folder: Path
    stage: str
    inputs: Mapping[str, str]

    @classmethod
    def start(cls, folder: Path, *, stage: str, config: object, inputs: Mapping[str, str], resume: bool, seed: int = 0) -> Run:
        """Opens a new run, or with ``resume`` one that was stopped, cutting its records back to its last checkpoint.

        Args:
            config: the stage's settings, a dataclass.
            inputs: digests of what the run learns from: parent models, the feedback snapshot.

        Raises:
            RunError: a run stands there already and ``resume`` is off, or it was started with other settings or inputs.
        """
        run = cls(folder, stage, dict(inputs))
        asked = _plain({"stage": stage, "config": _fields(config), "inputs": run.inputs, "seed": seed, "versions": environment()})
        if not run._config.exists():
            folder.mkdir(parents=True, exist_ok=True)
            clean(folder)
            run._cut(-1)
            write_atomic(run._config, _json(asked))
        elif not resume:
            hint = "--resume goes on with it; another --name starts a new one"
            raise RunError(f"a {'finished' if run.done else 'stopped'} run stands there already", where=str(folder), hint=hint)
        else:
            run._check_same(asked, _plain(_defaults(config)))
            run._continue()
        return run

    @property
    def done(self) -> bool:
        """Whether the run reached its end; resuming it is then nothing to do."""
        return (self.folder / "summary.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether it has taken a step: there is something a resume would keep."""
        return self._metrics.exists() or checkpoints.exists(self.folder / "checkpoint")

    @staticmethod
    def started(folder: Path) -> bool:
        """Whether a run was started in a folder, stopped or not."""
        return (folder / "config.json").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What ``finish`` was given; empty for a run that is not done."""
        path = self.folder / "summary.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def log(self, step: int, **metrics: float) -> None:
        """Adds a step's metrics to metrics.jsonl; what is not finite is written as null."""
        append(self._metrics, json.dumps({"step": step, **{name: _number(value) for name, value in metrics.items()}}) + "\n")

    def samples(self, step: int, rows: Iterable[Mapping[str, object]]) -> None:
        """Adds samples of a step to samples.jsonl."""
        append(self._samples, "".join(json.dumps({"step": step, **row}, ensure_ascii=False) + "\n" for row in rows))

    def note(self, text: str) -> None:
        """Adds a remark to log.txt."""
        append(self.folder / "log.txt", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")

    def checkpoint(self, step: int, state: Mapping[str, object]) -> None:
        """Saves the state after ``step`` steps in place of the last one. Raises RunError when the disk is full."""
        for path in (self._metrics, self._samples):
            if path.exists():
                sync(path)
        checkpoints.save(self.folder / "checkpoint", {"step": step, "state": dict(state)})

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """The last checkpoint's step and state, or None when the run has none yet."""
        if not checkpoints.exists(self.folder / "checkpoint"):
            return None
        saved = cast("dict[str, Any]", checkpoints.load(self.folder / "checkpoint"))
        return saved["step"], saved["state"]

    def keep(self, step: int, state: Mapping[str, object]) -> None:
        """Keeps a policy as it is after ``step`` steps, beside the checkpoint, which is replaced. Raises RunError when the disk is full."""
        checkpoints.save(self.folder / POLICIES / f"{step:06d}", state)

    def kept(self) -> list[int]:
        """The steps whose policies were kept, in order."""
        return sorted(int(path.name) for path in (self.folder / POLICIES).glob("[0-9]*") if checkpoints.exists(path))

    def policy(self, step: int) -> dict[str, Any]:
        """A policy that was kept. Raises RunError when it was not, or is damaged."""
        return cast("dict[str, Any]", checkpoints.load(self.folder / POLICIES / f"{step:06d}"))

    @contextmanager
    def finishing(self) -> Generator[dict[str, Any]]:
        """Finish the run with its seconds, its peak memory and the metrics that the block puts into what it is given.

        A run whose input turns out to be unusable before its first step leaves nothing behind.
        """
        started, metrics = time.perf_counter(), dict[str, Any]()
        try:
            yield metrics
        except AccordError:
            if not self.begun:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.finish(**metrics, seconds=round(time.perf_counter() - started, 2), peak_rss_mb=round(peak_rss_mb()))

    @staticmethod
    def discard(folder: Path, stage: str) -> None:
        """Remove a run of this stage, if there is one, so that it can be made again.

        Raises:
            UsageError: the run is another stage's.
        """
        if not folder.exists():
            return
        config = folder / "config.json"
        if config.exists() and f'"stage": "{stage}"' not in config.read_text("utf-8"):
            raise UsageError(f"is not a run of {stage}", where=str(folder), hint="choose another --name")
        shutil.rmtree(folder)

    def finish(self, **summary: object) -> None:
        """Writes summary.json, which marks the run as done."""
        write_atomic(self.folder / "summary.json", _json(_plain(summary)))

    @property
    def _config(self) -> Path:
        return self.folder / "config.json"

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def _samples(self) -> Path:
        return self.folder / "samples.jsonl"

    def _check_same(self, asked: dict[str, Any], defaults: dict[str, Any]) -> None:
        """A setting that came after the run was started counts as having had its default."""
        try:
            begun = json.loads(self._config.read_text("utf-8"))
        except ValueError as error:
            raise RunError("is no JSON", where=str(self._config), hint="start the run again under another --name") from error
        begun["config"] = {**defaults, **begun.get("config", {})}
        differing = [key for name in _FIXED for key in _differences(begun.get(name), asked[name], name)]
        if differing:
            hint = "resume with the settings it was started with, or start anew under another --name"
            raise RunError(f"cannot go on with the run: {'; '.join(differing)}", where=str(self.folder), hint=hint)
        for change in _differences(begun.get("versions"), asked["versions"], "versions"):
            self.note(f"resumed with {change}")

    def _continue(self) -> None:
        clean(self.folder)
        if self.done:
            return
        restored = self.restore()
        step = restored[0] if restored else -1
        self._cut(step)
        self.note(f"resumed after step {step}" if restored else "resumed from the beginning: there was no checkpoint yet")

    def _cut(self, step: int) -> None:
        """Removes the records of later steps, and a last line that was being written."""
        for path in (self._metrics, self._samples):
            if path.exists():
                lines = path.read_text("utf-8", errors="replace").split("\n")
                kept = [line for line in lines[:-1] if json.loads(line)["step"] <= step]
                write_atomic(path, "".join(line + "\n" for line in kept))


def _fields(config: object) -> dict[str, Any]:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config is a {type(config).__name__}, not a dataclass")
    return dataclasses.asdict(config)


def _defaults(config: Any) -> dict[str, Any]:
    """What each field of a dataclass is when nobody names it; nothing for a field that must be named."""
    fields = [field for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING]
    return {field.name: field.default for field in fields}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON gives it back, so that what was written compares equal to what is asked."""
    return json.loads(json.dumps(value, default=str))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _number(value: float) -> float | None:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _differences(begun: object, asked: object, where: str) -> list[str]:
    """Every key that differs, as ``config.lr was 0.1, is 0.2``."""
    if isinstance(begun, dict) and isinstance(asked, dict):
        one, other = cast("dict[str, object]", begun), cast("dict[str, object]", asked)
        keys = [*one, *(key for key in other if key not in one)]
        return [line for key in keys for line in _differences(one.get(key), other.get(key), f"{where}.{key}")]
    return [] if begun == asked else [f"{where} was {json.dumps(begun)}, is {json.dumps(asked)}"]
