"""Optional mirrors of a run's metrics: TensorBoard, W&B, MLflow, trackio, when installed and asked for.

Accord itself reads metrics.jsonl. A mirror only follows that file, so that no run ever waits for a tracker or
fails with one.
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from accord.errors import AccordError, RunError
from accord.runtime import packages
from accord.runtime.logs import Metrics, read_metrics, read_object

Kind = Literal["tensorboard", "wandb", "mlflow", "trackio"]
MODULES: dict[Kind, str] = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""The module that writes each kind of record. The package that it needs has the kind's name."""
MLFLOW_AT_ONCE = 1000


StepMetrics = tuple[int, Mapping[str, float]]
"""A step and its metrics."""


class Tracker(Protocol):
    """Destination of one run's metrics."""

    def log(self, rows: Sequence[StepMetrics]) -> None: ...

    def close(self) -> None: ...


def open_tracker(kind: Kind, project: Path, run: str, settings: Mapping[str, Any]) -> Tracker:
    """Return a tracker for one run.

    Raises:
        AccordError: the package is not installed.
        RunError: the tracker refuses, in its own words.
    """
    try:
        library: Any = importlib.import_module(MODULES[kind])
    except ImportError as error:
        raise AccordError(f"{kind} is not installed", where="--mirror", hint=packages.install(kind)) from error
    try:
        return _OPENERS[kind](library, project, run, settings)
    except Exception as error:
        raise RunError(f"{kind} refused: {error}", where=f"--mirror {kind}, run {run}") from error


@dataclass(frozen=True)
class _TensorBoard:
    writer: Any

    def log(self, rows: Sequence[StepMetrics]) -> None:
        for step, metrics in rows:
            for key, value in metrics.items():
                self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


def _tensorboard(library: Any, project: Path, run: str, settings: Mapping[str, Any]) -> Tracker:
    writer = library.SummaryWriter(str(project / "trackers" / "tensorboard" / run))
    writer.add_text("settings", f"```json\n{json.dumps(settings, indent=2, default=str)}\n```")
    return _TensorBoard(writer)


@dataclass(frozen=True)
class _Logging:
    """W&B or trackio, which share an interface."""

    session: Any

    def log(self, rows: Sequence[StepMetrics]) -> None:
        for step, metrics in rows:
            self.session.log(dict(metrics), step=step)

    def close(self) -> None:
        self.session.finish()


def _wandb(library: Any, project: Path, run: str, settings: Mapping[str, Any]) -> Tracker:
    return _Logging(library.init(project=project.name, name=run, config=dict(settings), dir=str(project), reinit="create_new"))


def _trackio(library: Any, project: Path, run: str, settings: Mapping[str, Any]) -> Tracker:
    return _Logging(library.init(project=project.name, name=run, config=dict(settings)))


@dataclass(frozen=True)
class _Mlflow:
    """MLflow, with one call per thousand metrics, its limit: a call is a transaction."""

    client: Any
    id: str
    metric: Any

    def log(self, rows: Sequence[StepMetrics]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(key, value, now, step) for step, row in rows for key, value in row.items()]
        for first in range(0, len(metrics), MLFLOW_AT_ONCE):
            self.client.log_batch(self.id, metrics=metrics[first : first + MLFLOW_AT_ONCE])

    def close(self) -> None:
        self.client.set_terminated(self.id)


def _mlflow(library: Any, project: Path, run: str, settings: Mapping[str, Any]) -> Tracker:
    folder = project / "trackers"
    folder.mkdir(exist_ok=True)
    client = library.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(project.name)
    experiment = found.experiment_id if found else client.create_experiment(project.name, artifact_location=str(folder / "mlflow"))
    opened = client.create_run(experiment, run_name=run)
    for key, value in settings.items():
        client.log_param(opened.info.run_id, key, value)
    return _Mlflow(client, opened.info.run_id, library.entities.Metric)


_OPENERS = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}


@dataclass
class Mirror:
    """Copies new rows of every run's metrics.jsonl to a tracker."""

    project: Path
    kind: Kind
    sent: dict[str, int] = field(default_factory=dict[str, int])
    open: dict[str, Tracker] = field(default_factory=dict[str, Tracker])

    def follow(self) -> dict[str, int]:
        """Send new rows and return their number per run."""
        gained: dict[str, int] = {}
        for folder in sorted((self.project / "runs").glob("[!.]*")):
            metrics = read_metrics(folder / "metrics.jsonl")
            if metrics.rows > self.sent.get(folder.name, 0):
                gained[folder.name] = self._send(folder, metrics)
        return gained

    def _send(self, folder: Path, metrics: Metrics) -> int:
        if folder.name not in self.open:
            settings = (read_object(folder / "config.json") or {}).get("config", {})
            self.open[folder.name] = open_tracker(self.kind, self.project, folder.name, settings)
        first, self.sent[folder.name] = self.sent.get(folder.name, 0), metrics.rows
        steps = metrics.columns.get("step", np.arange(1.0, metrics.rows + 1))
        columns = {key: column for key, column in metrics.columns.items() if key != "step"}
        rows = list[StepMetrics]()
        for row in range(first, metrics.rows):
            there = {key: float(column[row]) for key, column in columns.items() if np.isfinite(column[row])}
            rows.append((int(steps[row]) if np.isfinite(steps[row]) else row + 1, there))
        self.open[folder.name].log(rows)
        return metrics.rows - first

    def close(self) -> None:
        """End every run's tracker."""
        for tracker in self.open.values():
            tracker.close()
        self.open.clear()


SECONDS = 5.0
"""Seconds between two looks at the runs while a mirror follows them."""


@contextmanager
def mirrored(project: Path, kinds: Sequence[Kind], *, live: bool) -> Generator[dict[str, int]]:
    """Mirror existing metrics, and with ``live`` also new ones while the block lasts. Yields the number of rows
    sent per run, over all trackers.

    Raises:
        AccordError: a tracker is not installed.
        RunError: a tracker refuses.
    """
    mirrors, over, sent = [Mirror(project, kind) for kind in kinds], threading.Event(), dict[str, int]()

    def follow() -> None:
        for mirror in mirrors:
            for run, rows in mirror.follow().items():
                sent[run] = sent.get(run, 0) + rows

    def go_on() -> None:
        while not over.wait(SECONDS):
            follow()

    try:
        follow()
        thread = threading.Thread(target=go_on, daemon=True)
        if live and mirrors:
            thread.start()
        yield sent
        over.set()
        if live and mirrors:
            thread.join()
    finally:
        over.set()
        for mirror in mirrors:
            mirror.close()
