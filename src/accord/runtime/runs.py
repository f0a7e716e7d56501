"""A run's folder: settings, metrics, state. A resumed run leaves the same files as an uninterrupted one.

config.json       command, settings in force, inputs by digest, seed, versions; what was asked where a setting was left to the model;
                  how the models are computed
metrics.jsonl     one line per step
samples.jsonl     one line per sample
checkpoint/       the state from which a resume continues: one file, or a folder with a part of each process
policies/         policies of earlier steps, if asked for
aside/            weights of an earlier step that the run may end with, while it goes on
log.txt           remarks, with their time
data-card.md      what it learned from and from whom, once a model was saved
owner.json        the process that trains here, while it lives
summary.json      the last metrics; its presence marks the run as finished

Of several processes every one calls every method, rank 0 alone writes and owns the folder, and all read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import threading
import time
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from accord.errors import AccordError, Preempted, RunError, UsageError
from accord.runtime import checkpoints, owners, ranks
from accord.runtime.device import environment, out_of_memory, peak_device_mb, peak_rss_mb
from accord.runtime.files import append, clean, sync, write_atomic
from accord.runtime.jsonable import defined
from accord.runtime.preemption import NAMES, Preemption
from accord.runtime.threads import keep_threads
from accord.settings import PretrainConfig
from accord.settings.mixins import Training

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Config = TypeVar("Config", bound=DataclassInstance)
else:
    Config = TypeVar("Config")
POLICIES = "policies"
ASIDE = "aside"
DRAWING = ("sample", "ppo", "grpo", "rloo", "reinforce", "raft", "star")
"""Stages whose ``max_tokens`` limits the responses that they draw."""
FORMER_LENGTH = 512
"""The default of their ``max_tokens`` before 0 left it to the model."""
_FIXED = ("stage", "config", "inputs", "seed")
"""Fields that a resume may not change, except settings below. Versions may change; log.txt says so."""
_PLACE = ("cpu", "cores", "threads", "gpu")
"""What may differ between the machines of processes that train together."""
_FREE = (
    *(f"config.{name} " for name in ("micro_tokens", "recompute", "save_minutes", "save_async", "shard", "offload")),
    "config.sampler",  # where responses are drawn, and how weights get there
)
"""Settings that change how much memory is taken or how often is saved, and weights by rounding alone: a resume may have others."""


@dataclass
class _Live:
    """What a run knows only while it goes on."""

    preemption: Preemption = field(default_factory=Preemption)
    finishing: bool = False
    saved: float = field(default_factory=time.monotonic)
    """When the last checkpoint was saved, or the run was opened."""
    ends: str = ""
    """The signal that all processes end by after this step; empty while they go on."""
    in_background: bool = False
    """Whether checkpoints are written while the training goes on."""
    snapshot: checkpoints.Snapshot | None = None
    """The checkpoint that is being written, and its thread."""
    writer: threading.Thread | None = None


@dataclass(frozen=True)
class Run:
    """One run of a command in its folder. Steps count from 1: ``checkpoint(n)`` follows ``log(n)`` and holds the
    state after n steps."""

    folder: Path
    stage: str
    inputs: Mapping[str, str]
    _live: _Live = field(default_factory=_Live, init=False, repr=False, compare=False)

    @classmethod
    def start(cls, folder: Path, *, stage: str, config: object, inputs: Mapping[str, str], resume: bool, seed: int = 0) -> Run:
        """Start a new run. With ``resume``, open a stopped one and cut its records back to its last checkpoint.

        Args:
            config: the command's settings, a dataclass.
            inputs: digests of everything the run learns from: parent models, the feedback snapshot.

        Raises:
            RunError: there is a run of that name and ``resume`` is off, it was started with other settings
                or inputs, another process trains in its folder, or a process that trains along has other settings or inputs.
            UsageError: several processes run a command that knows of one alone.
        """
        run, owned = cls(folder, stage, dict(inputs)), owners.owns(folder)
        run._live.in_background = isinstance(config, Training | PretrainConfig) and _in_background(config)
        ranks.from_first(partial(cls.claim, folder))
        try:
            run._open(config, seed, resume=resume)
        except BaseException:
            if not owned:
                owners.release(folder)
            raise
        return run

    @property
    def done(self) -> bool:
        """Whether the run is finished. Resuming it then does nothing."""
        return (self.folder / "summary.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether the run has taken a step, so that a resume has something to keep."""
        return self._metrics.exists() or checkpoints.exists(self.folder / "checkpoint")

    @staticmethod
    def claim(folder: Path) -> None:
        """Make this process, the first of several, the owner of a run's folder, until the run is finished or the process ends.

        Raises:
            RunError: another process that lives owns it.
        """
        dead = owners.claim(folder)
        if dead is not None:
            _note(folder, f"taken over from {dead}, which is no more")

    @staticmethod
    def started(folder: Path) -> bool:
        """Return whether a run was started in a folder, finished or not."""
        return (folder / "config.json").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """The summary passed to ``finish``; empty for an unfinished run."""
        path = self.folder / "summary.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def settle(self, config: Config, **found: float) -> Config:
        """Return the settings with values for those that they left to the model, and write them into config.json.

        What was asked stays there under ``asked``. A resumed run keeps the values that it began with.
        """
        record: dict[str, Any] = ranks.from_first(lambda: json.loads(self._config.read_text("utf-8")))
        kept = {name: record["config"][name] for name in record.get("asked", {})}
        settled = dataclasses.replace(config, **{**found, **kept})
        asked = {name: getattr(config, name) for name in found} | record.get("asked", {})
        if asked and ranks.first():
            write_atomic(self._config, _json(record | {"config": _plain(_fields(settled)), "asked": asked}))
        return settled

    def record_paths(self, **paths: str) -> None:
        """Write into config.json how the run's models are computed, as ``models.paths`` names it."""
        if ranks.first():
            record: dict[str, Any] = json.loads(self._config.read_text("utf-8"))
            write_atomic(self._config, _json(record | {"paths": record.get("paths", {}) | paths}))

    @property
    def paths(self) -> dict[str, str]:
        """How the run's models are computed, as ``record_paths`` wrote it."""
        return json.loads(self._config.read_text("utf-8")).get("paths", {})

    def log(self, step: int, **metrics: float) -> None:
        """Append a step's metrics to metrics.jsonl. NaN and infinity are written as null."""
        if not ranks.first():
            return
        for line in ranks.news():
            self.note(f"step {step}: {line}")
        append(self._metrics, json.dumps({"step": step, **{name: _number(value) for name, value in metrics.items()}}) + "\n")

    def samples(self, step: int, rows: Iterable[Mapping[str, object]]) -> None:
        """Append a step's samples to samples.jsonl."""
        if ranks.first():
            append(self._samples, "".join(json.dumps({"step": step, **row}, ensure_ascii=False) + "\n" for row in rows))

    def note(self, text: str) -> None:
        """Append a remark to log.txt."""
        if ranks.first():
            _note(self.folder, text)

    def due(self, planned: bool, minutes: float = 0.0) -> bool:
        """Return whether a checkpoint follows this step. Ask once a step, after everything else that it writes.

        It does where the loop plans one, when the last one is ``minutes`` old (0: never for that), and when the process is told to end:
        when any of several is, since all go on to the same step.
        """
        live = self._live
        old = minutes > 0 and time.monotonic() - live.saved >= 60 * minutes
        told = 1 + NAMES.index(live.preemption.asked) if live.preemption.asked else 0
        told, old, writing = ranks.most([told, int(old), int(live.writer is not None and live.writer.is_alive())])
        if not writing:
            self._written()
        live.ends = NAMES[told - 1] if told else ""
        return planned or bool(old or told)

    def checkpoint(self, step: int, state: Mapping[str, object]) -> None:
        """Replace the checkpoint by the state after ``step`` steps.

        Raises:
            RunError: the disk is full, or another process has taken the run over.
            Preempted: a signal told the process to end; the checkpoint is saved.
        """
        live = self._live
        self._written()
        ranks.from_first(self._ready)
        copied = live.in_background and not live.ends
        live.snapshot = checkpoints.Snapshot(self.folder / "checkpoint", {"step": step, "state": dict(state)}, step, copied=copied)
        if copied:
            live.writer = threading.Thread(target=live.snapshot.write, name="accord-checkpoint")
            live.writer.start()
        else:
            live.snapshot.write()
            self._written()
        self._live.saved = time.monotonic()
        if self._live.ends:
            self.note(f"ended by {self._live.ends} after step {step}")
            hint = "the same command with --resume continues it"
            raise Preempted(f"ended by {self._live.ends} after step {step}, which is saved", where=str(self.folder), hint=hint)

    def _ready(self) -> None:
        """Make sure that the folder is still this run's, and that the records of a checkpoint's steps are on disk before it is."""
        owners.check(self.folder)
        for path in (self._metrics, self._samples):
            if path.exists():
                sync(path)

    def _written(self) -> None:
        """Wait for the checkpoint that is being written, if one is, and make it the last one. Raises RunError where it could not be."""
        live = self._live
        snapshot, writer = live.snapshot, live.writer
        live.snapshot = live.writer = None
        if writer is not None:
            writer.join()
        if snapshot is not None:
            snapshot.complete()

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """Return the last checkpoint's step and state, or None if there is no checkpoint yet. Steps follow, which a signal lets end."""
        if self._live.finishing:
            self._live.preemption.listen()
        return self._last()

    def _last(self) -> tuple[int, dict[str, Any]] | None:
        if not checkpoints.exists(self.folder / "checkpoint"):
            return None
        saved = checkpoints.load(self.folder / "checkpoint")
        return saved["step"], saved["state"]

    def keep(self, step: int, state: Mapping[str, object]) -> None:
        """Keep the policy after ``step`` steps for good, apart from the checkpoint. Raises RunError when the
        disk is full."""
        checkpoints.save(self.folder / POLICIES / f"{step:06d}", state, step)

    def put_aside(self, step: int, state: Mapping[str, object]) -> None:
        """Write the weights after ``step`` steps, to be read again before the run ends. Raises RunError when the disk is full."""
        checkpoints.save(self.folder / ASIDE / f"{step:06d}", state, step)

    def aside(self, step: int) -> dict[str, Any]:
        """Return the weights that were put aside at a step. Raises RunError when they are missing or damaged."""
        ranks.barrier()  # rank 0 may be writing them
        return checkpoints.load(self.folder / ASIDE / f"{step:06d}")

    def forget_aside(self, but: Collection[int] = ()) -> None:
        """Remove the weights that were put aside, except those of some steps; 0 is before the first."""
        if not ranks.first():
            return
        for path in (self.folder / ASIDE).glob("[0-9]*"):
            if int(path.name) not in but:
                shutil.rmtree(path)
        if not but:
            shutil.rmtree(self.folder / ASIDE, ignore_errors=True)

    def kept(self) -> list[int]:
        """Return the steps whose policies were kept, in order."""
        return sorted(int(path.name) for path in (self.folder / POLICIES).glob("[0-9]*") if checkpoints.exists(path))

    def policy(self, step: int) -> dict[str, Any]:
        """Return a kept policy. Raises RunError when it is missing or damaged."""
        return checkpoints.load(self.folder / POLICIES / f"{step:06d}")

    @contextmanager
    def finishing(self) -> Generator[dict[str, Any]]:
        """Finish the run with its seconds, its peak memory and the metrics that the block puts into the yielded dict.

        A run whose input turns out to be unusable before its first step leaves nothing behind. Where memory runs out, the error names
        the parts that took it, by the line ``memory_plan`` in the dict, and settings that take less.

        Raises:
            RunError: memory ran out.
        """
        started, metrics = time.perf_counter(), dict[str, Any]()
        self._live.finishing = True
        try:
            yield metrics
        except BaseException as error:
            if self._live.writer is not None:
                self._live.writer.join()
            ours = isinstance(error, AccordError)
            if ours and ranks.first() and not self.begun:
                shutil.rmtree(self.folder, ignore_errors=True)
            owners.release(self.folder)
            if not ours and out_of_memory(error):
                raise self._exhausted(metrics.get("memory_plan", "")) from error
            raise
        finally:
            self._live.preemption.ignore()
        metrics.pop("memory_plan", None)
        on_device = round(peak_device_mb())
        memory = {"peak_rss_mb": round(peak_rss_mb())} | ({"peak_device_mb": on_device} if on_device else {})
        self.finish(**metrics, seconds=round(time.perf_counter() - started, 2), **memory)

    def _exhausted(self, plan: str) -> RunError:
        if not plan:
            hint = "close other programs, take fewer rows at once by --batch-size, or use a smaller model"
            return RunError("out of memory", where=str(self.folder), hint=hint)
        less = "continue with --resume and a smaller --micro-tokens, or --recompute, which change the weights by rounding alone"
        other = "--lora-rank 16 with --lora-bits 4 under another --name takes much less"
        ways = f"{less}; {other}; `accord plan-memory {self.stage}` says what each saves"
        return RunError(f"out of memory ({plan})", where=str(self.folder), hint=ways)

    @staticmethod
    def discard(folder: Path, stage: str) -> None:
        """Remove a run of this command, if there is one, so that it can start again.

        Raises:
            UsageError: the run belongs to another command.
            RunError: another process trains in its folder.
        """
        if not folder.exists():
            return
        owners.claim(folder)
        config = folder / "config.json"
        if config.exists() and f'"stage": "{stage}"' not in config.read_text("utf-8"):
            raise UsageError(f"is not a run of {stage}", where=str(folder), hint="choose another --name")
        shutil.rmtree(folder)

    def finish(self, **summary: object) -> None:
        """Write summary.json, which marks the run as done. Raises RunError when another process has taken the run over."""
        self._written()
        if ranks.first():
            owners.check(self.folder)
            write_atomic(self.folder / "summary.json", _json(_plain(defined(summary))))
            self.forget_aside()
            owners.release(self.folder)
        ranks.barrier()

    @property
    def _config(self) -> Path:
        return self.folder / "config.json"

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def _samples(self) -> Path:
        return self.folder / "samples.jsonl"

    def _open(self, config: object, seed: int, *, resume: bool) -> None:
        if resume:
            self._keep_threads()
        asked = _plain({"stage": self.stage, "config": _fields(config), "inputs": self.inputs, "seed": seed, "versions": environment()})
        asked["world"] = ranks.world()
        if ranks.world() > 1:
            shared = {name: value for name, value in asked["versions"].items() if name not in _PLACE}
            ranks.same(asked | {"versions": shared}, where=str(self.folder))
        ranks.from_first(partial(self._enter, asked, _plain(_defaults(config)), resume=resume))

    def _enter(self, asked: dict[str, Any], defaults: dict[str, Any], *, resume: bool) -> None:
        if not self._config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            clean(self.folder)
            self._cut(-1)
            write_atomic(self._config, _json(asked))
        elif not resume:
            hint = "continue it with --resume, or start a new one under another --name"
            raise RunError(f"a {'finished' if self.done else 'stopped'} run of this name exists already", where=str(self.folder), hint=hint)
        else:
            self._check_same(asked, defaults)
            self._continue()

    def _check_same(self, asked: dict[str, Any], defaults: dict[str, Any]) -> None:
        """Refuse a resume with other settings. A setting that is newer than the run counts as having had its default."""
        try:
            begun = json.loads(self._config.read_text("utf-8"))
        except ValueError as error:
            raise RunError("is not JSON", where=str(self._config), hint="start the run again under another --name") from error
        left_open = {"max_tokens": 0} if self._had_former_length(begun, asked["config"]) else {}
        begun["config"] = {**defaults, **begun.get("config", {}), **begun.get("asked", {}), **left_open}
        changed = [key for name in _FIXED for key in _differences(begun.get(name), asked[name], name)]
        differing = [key for key in changed if not key.startswith(_FREE)]
        if differing:
            hint = "resume it with its original settings, or start a new run under another --name"
            raise RunError(f"cannot resume the run: {'; '.join(differing)}", where=str(self.folder), hint=hint)
        if left_open and not self.done:
            record = json.loads(self._config.read_text("utf-8"))
            write_atomic(self._config, _json(record | {"asked": record.get("asked", {}) | left_open}))
        free = [key for key in changed if key.startswith(_FREE)]
        for change in [*free, *_differences(begun.get("versions"), asked["versions"], "versions")]:
            self.note(f"resumed with {change}")
        if (world := begun.get("world", 1)) != asked["world"] and not self.done:
            self.note(
                f"resumed with world was {world}, is {asked['world']}: sums over the processes are taken in another order from here on"
            )
            record = json.loads(self._config.read_text("utf-8"))
            write_atomic(self._config, _json(record | {"world": asked["world"]}))

    def _had_former_length(self, begun: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Return whether a run has the length that older versions gave where nobody named one; it keeps that length, and goes on."""
        length = begun.get("config", {}).get("max_tokens")
        unnamed = length == FORMER_LENGTH and "max_tokens" not in begun.get("asked", {})
        return self.stage in DRAWING and unnamed and config.get("max_tokens") == 0

    def _keep_threads(self) -> None:
        """Compute with the threads that the run began with: another number changes the last bit of a sum."""
        try:
            versions = json.loads(self._config.read_text("utf-8"))["versions"]
            count, device = int(versions["threads"]), str(versions["device"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # not begun, damaged, or of a version that did not note them
        if device == "cpu":
            keep_threads(count)

    def _continue(self) -> None:
        clean(self.folder)
        if self.done:
            owners.release(self.folder)
            return
        restored = self._last()
        step = restored[0] if restored else -1
        self._cut(step)
        self.note(f"resumed after step {step}" if restored else "resumed from the beginning: there was no checkpoint yet")

    def _cut(self, step: int) -> None:
        """Remove the records of later steps, and an incomplete last line."""
        for path in (self._metrics, self._samples):
            if path.exists():
                lines = path.read_text("utf-8", errors="replace").split("\n")
                kept = [line for line in lines[:-1] if json.loads(line)["step"] <= step]
                write_atomic(path, "".join(line + "\n" for line in kept))


def _note(folder: Path, text: str) -> None:
    append(folder / "log.txt", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def _in_background(config: Training | PretrainConfig) -> bool:
    return config.save_async


def _fields(config: object) -> dict[str, Any]:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config is a {type(config).__name__}, not a dataclass")
    return dataclasses.asdict(config)


def _defaults(config: Any) -> dict[str, Any]:
    """Return each default of a dataclass's fields. Fields without one are missing."""
    fields = [field for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING]
    return {field.name: field.default for field in fields}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value as JSON would return it, so that a written value compares equal to a given one."""
    return json.loads(json.dumps(value, default=str))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _number(value: float) -> float | None:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _differences(begun: object, asked: object, where: str) -> list[str]:
    """Return every differing key, as ``config.lr was 0.1, is 0.2``."""
    if isinstance(begun, dict) and isinstance(asked, dict):
        one, other = cast("dict[str, object]", begun), cast("dict[str, object]", asked)
        keys = [*one, *(key for key in other if key not in one)]
        return [line for key in keys for line in _differences(one.get(key), other.get(key), f"{where}.{key}")]
    return [] if begun == asked else [f"{where} was {json.dumps(begun)}, is {json.dumps(asked)}"]
