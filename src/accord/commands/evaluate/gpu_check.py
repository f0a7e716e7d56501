"""`accord gpu-check`: does this machine's accelerator compute what the CPU computes, and how fast.

Needs a GPU, or another device by --device; the CPU is checked against itself. Leaves one JSON file. Each stage runs as you would run it,
a process of its own on a small built-in world, once on the CPU and once on the device, both in float32. Then the methods train models
of random weights on the device alone (``gpu_check_speed``). The time limit holds over all: what it leaves no time for is listed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Device, shows
from accord.commands.evaluate.gpu_check_speed import SIZES, Speed, peak_tflops, speed_of
from accord.errors import RunError, UsageError
from accord.runtime.device import choose_device, environment, matmul_dtype
from accord.runtime.files import write_atomic
from accord.runtime.logs import read_metrics
from accord.runtime.progress import table

WORLD = ("--documents", "400", "--prompts", "300", "--demonstrations", "100", "--users", "20")
TINY = ("--tokens", "20000", "--hidden-size", "32", "--layers", "2", "--heads", "2", "--intermediate-size", "64")
FEW = ("--epochs", "1", "--save-every", "1000")
SAMPLES = ("--steps", "2", "--batch-size", "12", "--minibatch-size", "6", "--epochs", "1", "--max-tokens", "8")
GROUND = (
    ("pretrain", *TINY),
    ("sft", *FEW),
    ("sample", "--k", "3", "--max-tokens", "12"),
    ("label", "--by", "world"),
    ("reward", *FEW),
)
"""What is made once, on the CPU: every stage that is compared starts from it."""
STAGES: Mapping[str, Sequence[str]] = {
    "pretrain": TINY,
    "sft": FEW,
    "reward": FEW,
    "dpo": FEW,
    "kto": FEW,
    "ilql": FEW,
    "ppo": SAMPLES,
    "grpo": (*SAMPLES, "--group-size", "3"),
    "rloo": (*SAMPLES, "--group-size", "3"),
    "reinforce": SAMPLES,
    "online-dpo": (*SAMPLES, "--group-size", "2"),
    "distill": ("--teacher", "base", "--on-policy", "1", "--steps", "2", "--batch-size", "12", "--max-tokens", "8"),
    "raft": ("--rounds", "1", "--batch-size", "12", "--group-size", "3", "--epochs", "1", "--max-tokens", "8"),
}
"""Each stage with its flags, for a few steps."""
LIMIT = 1e-3
"""Largest difference, relative to 1 or to the value, that rounding of float32 explains in the metrics of a first step."""
CLOCK = ("seconds", "per_second", "peak")
"""Parts of the names of metrics that depend on the clock or on the machine."""


@dataclass(frozen=True)
class Agreement:
    """How far a stage on the device is from the same stage on the CPU."""

    stage: str
    metrics: float
    """Largest difference in the metrics of the first step, relative to the value or to 1."""
    note: str = ""
    """Why there is no difference to tell: the end of the error, or the time limit."""

    @property
    def right(self) -> bool:
        """Whether the stage ran and differs by rounding alone."""
        return not self.note and self.metrics <= LIMIT


def print_check(found: Mapping[str, Any]) -> None:
    """Print what agrees, what is how fast, and where the file is."""
    rows = [(row["stage"], row["metrics"], row["note"] or ("agrees" if row["right"] else "differs")) for row in found["agreement"]]
    table(f"{found['environment']['device']} against the CPU, float32", ["stage", "difference", "verdict"], rows)
    fast = [(row["size"], row["method"], row["tokens_per_second"], row["share"], row["peak_gb"], row["note"]) for row in found["speed"]]
    if fast:
        title = f"random weights, {found['dtype']}, products at {found['tflops']:.3g} TFLOP/s"
        table(title, ["weights", "method", "tokens/s", "share of the products", "peak GB", "note"], fast)
    print(f"written to {found['file']}")


@shows(print_check, failed=lambda found: not all(row["right"] for row in found["agreement"]))
def gpu_check(
    *,
    device: Device = "auto",
    out: Annotated[Path, Parameter(help="The JSON file to write.")] = Path("gpu.json"),
    sizes: Annotated[tuple[str, ...], Parameter(help="Sizes of the random models: 1M, 0.1B, 0.5B, 1.5B.", consume_multiple=True)] = (
        "0.1B",
        "0.5B",
        "1.5B",
    ),
    stages: Annotated[
        tuple[str, ...], Parameter(help="The stages that are compared with the CPU; all when none is named.", consume_multiple=True)
    ] = (),
    minutes: Annotated[float, Parameter(help="Time limit; what it leaves no time for is listed.")] = 8.0,
) -> dict[str, Any]:
    """Check that an accelerator computes what the CPU computes, and measure how fast it trains. Exit code 1 when something differs.

    Example: accord gpu-check --device cuda --out gpu.json

    Raises:
        UsageError: there is no such device, size or stage.
        RunError: the small world that is compared on could not be made; the error says why, a missing extra among the reasons.
    """
    for what, asked, known in (("--sizes", sizes, SIZES), ("--stages", stages, STAGES)):
        if unknown := [name for name in asked if name not in known]:
            raise UsageError(f"{unknown[0]!r} is not known", where=what, hint=f"one of {', '.join(known)}")
    chosen = choose_device(device)
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="accord-gpu-check-") as folder:
        ground = Path(folder, "ground")
        _make(ground)
        agreement = [_agreement(ground, stage, str(chosen), until) for stage in stages or STAGES]
        tflops = peak_tflops(chosen, matmul_dtype(chosen)) if sizes else 0.0
        speed: list[Speed] = []
        for size in sizes:
            speed += speed_of(ground, size, str(chosen), tflops, until, _accord)
    found = {
        "environment": environment(),
        "system": platform.platform(),
        "dtype": str(matmul_dtype(chosen)).removeprefix("torch."),
        "tflops": tflops,
        "agreement": [vars(row) | {"right": row.right} for row in agreement],
        "speed": [vars(row) for row in speed],
        "file": str(out),
    }
    write_atomic(out, json.dumps(found, indent=2) + "\n")
    return found


def _make(ground: Path) -> None:
    """Make the small world with the models that the stages start from."""
    stage = "init"
    try:
        _accord("init", ground, "--world", *WORLD)
        for stage, *flags in GROUND:
            on = () if stage == "label" else ("--device", "cpu", "--dtype", "float32")
            _accord(stage, ground, *flags, *on)
    except subprocess.CalledProcessError as error:
        raise RunError(_end(error.stderr), where=f"gpu-check, {stage}") from error


def _agreement(ground: Path, stage: str, device: str, until: float) -> Agreement:
    """Run a stage on the CPU and on the device, each in a copy of the ground, and compare their first steps."""
    if time.monotonic() > until:
        return Agreement(stage, 0.0, "no time was left")
    first: list[dict[str, float]] = []
    for number, on in enumerate(("cpu", device)):
        copy = ground.with_name(f"{stage}-{number}")
        shutil.copytree(ground, copy)
        try:
            _accord(stage, copy, *STAGES[stage], "--name", "checked", "--device", on, "--dtype", "float32")
        except subprocess.CalledProcessError as error:
            return Agreement(stage, 0.0, _end(error.stderr))
        columns = read_metrics(copy / "runs" / "checked" / "metrics.jsonl").columns
        first.append({name: float(values[0]) for name, values in columns.items() if not any(word in name for word in CLOCK)})
        shutil.rmtree(copy)
    one, other = first
    if one.keys() != other.keys():
        return Agreement(stage, 0.0, f"other metrics: {sorted(one.keys() ^ other.keys())}")
    return Agreement(stage, max((difference(one[name], other[name]) for name in one), default=0.0))


def difference(one: float, other: float) -> float:
    """Return the difference relative to the value, or to 1 if that is larger; 0 for two numbers that are none."""
    if one != one or other != other:
        return 0.0 if (one != one) == (other != other) else float("inf")
    return abs(one - other) / max(abs(one), 1.0)


def _accord(*words: object) -> None:
    """Run a command line in a process of its own.

    Raises:
        CalledProcessError: it failed; ``stderr`` says why.
    """
    command = [sys.executable, "-c", "from accord.commands.app import main; main()", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def _end(output: str) -> str:
    """Return the last line of an error output."""
    return (output.strip().splitlines() or ["failed without a word"])[-1][:200]
