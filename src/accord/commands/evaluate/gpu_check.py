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
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter

from accord.commands.app import Device, shows
from accord.commands.evaluate.gpu_check_speed import SIZES, Speed, peak_tflops, speed_of
from accord.engine.vllm_server import vllm_command
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
BY_TORCHRUN: Mapping[str, str] = {"sft-torchrun": "sft", "grpo-torchrun": "grpo", "ppo-torchrun": "ppo"}
"""Stages that torchrun starts, with sharded weights: a process for each GPU (one alone shares nothing), and two on a CPU."""
BY_VLLM = {"grpo-vllm": ("folder", ()), "grpo-vllm-adapter": ("adapter", ("--lora-rank", "4"))}
"""GRPO by a vLLM server that shares the device and sleeps while the policy learns: how its weights come, and further flags."""
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
    for what, asked, known in (("--sizes", sizes, SIZES), ("--stages", stages, (*STAGES, *BY_TORCHRUN, *BY_VLLM))):
        if unknown := [name for name in asked if name not in known]:
            raise UsageError(f"{unknown[0]!r} is not known", where=what, hint=f"one of {', '.join(known)}")
    chosen = choose_device(device)
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="accord-gpu-check-") as folder:
        ground = Path(folder, "ground")
        _make(ground)
        asked = stages or (*STAGES, *BY_TORCHRUN, *(BY_VLLM if has_vllm() else ()))
        agreement = [_checked(ground, stage, str(chosen), until) for stage in asked]
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


def has_vllm() -> bool:
    """Return whether `--sampler vllm` would find a vLLM to start."""
    try:
        return bool(vllm_command())
    except UsageError:
        return False


def _checked(ground: Path, stage: str, device: str, until: float) -> Agreement:
    """Run a stage on the device, and compare it with the CPU, or with a sampler's own proof."""
    if time.monotonic() > until:
        return Agreement(stage, 0.0, "no time was left")
    try:
        return _by_vllm(ground, stage, device) if stage in BY_VLLM else _agreement(ground, stage, device)
    except subprocess.CalledProcessError as error:
        return Agreement(stage, 0.0, _end(error.stderr))


def _by_vllm(ground: Path, stage: str, device: str) -> Agreement:
    """Learn from what a vLLM server draws on the same device; return how far its log-probabilities were from the policy's.

    Other tokens are drawn than by our engine, so that no step is compared. The run itself stops when the server has other weights.
    """
    way, more = BY_VLLM[stage]
    with _copied(ground, stage) as copy:
        told = ("--sampler", "vllm", "--sampler-sync", way, *(("--sampler-sleep",) if device.startswith("cuda") else ()), *more)
        _accord("grpo", copy, *STAGES["grpo"], *told, "--name", "checked", "--device", device, "--dtype", "float32")
        columns = read_metrics(copy / "runs" / "checked" / "metrics.jsonl").columns
        return Agreement(stage, max(map(float, columns["logprob_gap"])))


def _agreement(ground: Path, stage: str, device: str) -> Agreement:
    """Run a stage on the CPU and on the device, each in a copy of the ground, and compare their first steps."""
    command = BY_TORCHRUN.get(stage, stage)
    first: list[dict[str, float]] = []
    for number, on in enumerate(("cpu", device)):
        with _copied(ground, f"{stage}-{number}") as copy:
            words = (command, copy, *STAGES[command], "--name", "checked", "--device", on, "--dtype", "float32")
            if number and stage in BY_TORCHRUN:
                _accord(*words, "--shard", "full", processes=_processes(device))
            else:
                _accord(*words)
            columns = read_metrics(copy / "runs" / "checked" / "metrics.jsonl").columns
            first.append({name: float(values[0]) for name, values in columns.items() if not any(word in name for word in CLOCK)})
    one, other = first
    if one.keys() != other.keys():
        return Agreement(stage, 0.0, f"other metrics: {sorted(one.keys() ^ other.keys())}")
    return Agreement(stage, max((difference(one[name], other[name]) for name in one), default=0.0))


@contextmanager
def _copied(ground: Path, name: str) -> Generator[Path]:
    """Yield a copy of the ground, which is removed afterwards."""
    copy = ground.with_name(name)
    shutil.copytree(ground, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def difference(one: float, other: float) -> float:
    """Return the difference relative to the value, or to 1 if that is larger; 0 for two numbers that are none."""
    if one != one or other != other:
        return 0.0 if (one != one) == (other != other) else float("inf")
    return abs(one - other) / max(abs(one), 1.0)


def _processes(device: str) -> int:
    """Return how many processes torchrun starts: one for each GPU, unless one GPU is named, and two on a CPU."""
    return 2 if device == "cpu" else torch.cuda.device_count() if device == "cuda" else 1


def _accord(*words: object, processes: int = 0) -> None:
    """Run a command line in a process of its own, or in so many that torchrun starts.

    Raises:
        CalledProcessError: it failed; ``stderr`` says why.
    """
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    command = [sys.executable, *starter, "-m", "accord", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def _end(output: str) -> str:
    """Return the last line of an error output."""
    return (output.strip().splitlines() or ["failed without a word"])[-1][:200]
