"""`--find-lr`: a learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3).

A training command runs its own algorithm on its own data while the rate rises from a hundredth of the usual one to a hundred times it.
The suggestion is a tenth of the rate at which the smoothed loss is lowest. The run's folder is a temporary one and no model is saved.
"""

from __future__ import annotations

import atexit
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, TypeVar

import torch

from accord.commands.app import print_metrics
from accord.errors import UsageError
from accord.models.quantised import weights_in
from accord.runtime import ranks
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig, KtoConfig, RewardConfig, SftConfig
from accord.settings.methods import PREFERENCE
from accord.settings.rates import rate

Learned = SftConfig | RewardConfig | DpoConfig | KtoConfig
Row = TypeVar("Row")
STEPS = 60
"""Optimiser steps from the smallest rate to the largest."""
SPAN = 100.0
"""The smallest rate is the usual one divided by this, the largest the usual one times this."""
SECONDS = 60.0
"""The test ends this long after its first step. What comes before that, a reference's log-probabilities, is not counted."""
SMOOTHING = 0.8
"""Weight of the losses so far in the smoothed loss."""
DIVERGED = 4.0
"""The test ends when the smoothed loss exceeds its minimum by this factor."""
BELOW = 10
"""How far below the rate of the lowest loss the suggestion is."""
SETTLED = 6
"""Steps at the beginning in which the smoothed loss is a mean of few losses, and no minimum is looked for."""
ROWS = 12
"""Rates in the table that is printed, at most."""


def run_folder(project: Project, name: str, *, find_lr: bool, resume: bool) -> Path:
    """Return the folder of a run; for a range test a temporary one, which is removed when the process ends.

    Raises:
        UsageError: a range test is to be resumed.
    """
    if not find_lr:
        return project.run(name)
    if resume:
        raise UsageError("--find-lr saves nothing that --resume could continue", where=name, hint="leave one of them out")
    if ranks.world() > 1:
        raise UsageError("--find-lr looks at the clock, and the processes' clocks differ", where=name, hint="try rates with one process")
    folder = Path(tempfile.mkdtemp(prefix="accord-find-lr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def few(rows: Sequence[Row], config: Learned) -> Sequence[Row]:
    """Return as many rows as a range test sees at most, drawn by the seed."""
    seen = STEPS * config.batch_size
    return rows if len(rows) <= seen else random.Random(config.seed).sample(rows, seen)


def rising(step: int, _steps: int = 0, _warmup: int = 0) -> float:
    """Return the share of the usual rate at a step counted from 0, in place of warm-up and cosine."""
    return SPAN ** (2 * step / (STEPS - 1) - 1)


def range_test(config: Learned, learn: Callable[..., object], rows: int, run: Run, lm: Any, dtype: torch.dtype) -> Mapping[str, object]:
    """Return what the command prints: rates with their smoothed loss, the suggested rate, the usual one, and that of the table of rates.

    Args:
        learn: the algorithm's ``train`` with its model and its data.
        rows: how many rows it learns from.
        lm: the language model, whose size chooses the table's rate.
    """
    known = rate(config.recipe, weights_in(lm), lora=config.lora_rank > 0)
    watched = _Watched(run.folder, run.stage, run.inputs)
    passes = math.ceil(STEPS / math.ceil(rows / config.batch_size))
    with suppress(_EndedError):
        learn(replace(config, epochs=passes, save_every=STEPS + 1), run=watched, dtype=dtype, schedule=rising)
    rates = [config.lr * rising(step) for step in range(len(watched.losses))]
    losses, ended = smoothed(watched.losses), watched.ended
    suggestion = suggested(rates, watched.losses) if ended != "time" else None
    every = math.ceil(len(rates) / ROWS)
    shown = range((len(rates) - 1) % every, len(rates), every)  # the last one is among them
    tried = [{"lr": rates[i], "loss": losses[i] if math.isfinite(losses[i]) else None} for i in shown]
    found = {"suggested_lr": suggestion, "table_lr": known, "lr": config.lr, "ended": ended, "steps": len(rates), "rates": tried}
    if config.muon_lr and suggestion:
        found["suggested_muon_lr"] = _in_two_digits(suggestion * config.muon_lr / config.lr)
    return found


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the running means of the losses, each step weighing 0.8 of the next, as of those seen so far."""
    total, weight, means = 0.0, 0.0, list[float]()
    for loss in losses:
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1
        means.append(total / weight)
    return means


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return a tenth of the rate with the lowest smoothed loss, in two digits.

    None where that is below the range, and where the loss does not fall by more than its noise: the standard deviation of a step's
    loss, by the differences of neighbours.
    """
    finite = list(takewhile(math.isfinite, losses))
    means = smoothed(finite)
    if len(finite) <= SETTLED:
        return None
    lowest = min(range(SETTLED, len(means)), key=means.__getitem__)
    noise = math.sqrt(sum((one - other) ** 2 for one, other in pairwise(finite[: lowest + 1])) / (2 * lowest))
    falls = means[SETTLED - 1] - means[lowest] > noise
    return _in_two_digits(rates[lowest] / BELOW) if falls and rates[lowest] >= BELOW * rates[0] else None


def _in_two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def diverged(losses: Sequence[float]) -> bool:
    """Return whether the last of the smoothed losses is not finite, or far above the lowest."""
    return not math.isfinite(losses[-1]) or losses[-1] > DIVERGED * min(losses)


class _EndedError(Exception):
    """The range test has seen enough."""


@dataclass(frozen=True)
class _Watched(Run):
    """A run that ends by itself after ``STEPS`` steps, after a minute of them, or when its loss diverges."""

    losses: list[float] = field(default_factory=list[float])
    times: list[float] = field(default_factory=list[float])

    @property
    def ended(self) -> str:
        """What ends the test now: diverged, steps or time; empty while it goes on."""
        if diverged(smoothed(self.losses)):
            return "diverged"
        if len(self.losses) == STEPS:
            return "steps"
        return "time" if self.times[-1] - self.times[0] >= SECONDS else ""

    def log(self, step: int, **metrics: float) -> None:
        super().log(step, **metrics)
        self.losses.append(metrics["loss"])
        self.times.append(time.monotonic())
        if self.ended:
            raise _EndedError


def print_run(run: Run) -> None:
    """Print a run's metrics; of a range test the rates with their losses and the suggestion."""
    found = run.summary
    if "suggested_lr" not in found:
        return print_metrics(run)
    losses = [(row["lr"], "not finite" if row["loss"] is None else row["loss"]) for row in found["rates"]]
    table(f"{run.stage}: range test", ["lr", "smoothed loss"], losses)
    print(_ending(found))
    if found["ended"] == "time":
        print("No suggestion: it takes the whole range.")
    elif found["suggested_lr"] is None:
        print("No suggestion: in this range the loss did not fall by more than its noise. Another --lr moves the range.")
    else:
        muon = f" --muon-lr {found['suggested_muon_lr']:g}" if "suggested_muon_lr" in found else ""
        print(f"Suggestion: --lr {found['suggested_lr']:g}{muon}, a tenth of the rate with the lowest loss.")
        if run.stage in PREFERENCE:
            print("Take it as an upper bound: this loss keeps falling while the policy drifts from the reference.")
    print(f"The table's rate is {found['table_lr']:g} (docs/rates.md). No run and no model was saved.")


def _ending(found: Mapping[str, Any]) -> str:
    match found["ended"]:
        case "diverged":
            return f"The loss diverged after {found['steps']} steps: above {DIVERGED:g} times its minimum, or not finite."
        case "time":
            return f"Stopped after a minute and {found['steps']} of {STEPS} steps. A smaller --batch-size sees the whole range."
        case _:
            return "The loss did not diverge in this range. A larger --lr moves the range up."
