"""A method's training run, by its own command in a process of its own, so that its time and memory are its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from accord.errors import RunError
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings.methods import Method

MAIN = "from accord.commands.app import main; main()"
PROBE_STEPS = 3
"""Steps of the run that finds out how many steps a budget pays for."""


def trained(project: Project, method: Method, name: str, seed: int, *, sft: str, reward: str, budget: float) -> Run:
    """Return the method's finished run under this name: as it is, or its command run to the end.

    Args:
        budget: seconds for a method that samples while it learns; 0 takes the steps of its settings.

    Raises:
        RunError: the command failed.
    """
    run = Run(project.run(name), method.name, {})
    if run.done:
        return run
    flags = training_flags(method, seed, sft=sft, reward=reward)
    if budget and method.iterations:
        flags += [f"--{method.iterations}", str(_affordable(project, method, name, flags, budget))]
    run_command(project, method, name, flags)
    return run


def training_flags(method: Method, seed: int, *, sft: str, reward: str) -> list[str]:
    """Return the flags that a method is trained with; only one that learns from its own samples knows a reward model."""
    return ["--sft", sft, "--seed", str(seed), *(["--reward", reward] if method.samples else [])]


def _affordable(project: Project, method: Method, name: str, flags: Sequence[str], budget: float) -> int:
    """Return how many iterations the budget pays for, by the time of a short run's last ones; decided once for a run."""
    decided = project.run(name) / "config.json"
    if decided.exists():
        return int(json.loads(decided.read_text("utf-8"))["config"][method.iterations])
    probe = Run(project.run(f"{name}-probe"), method.name, {})
    if not probe.done:
        run_command(project, method, f"{name}-probe", [*flags, f"--{method.iterations}", str(PROBE_STEPS)])
    lines = (probe.folder / "metrics.jsonl").read_text("utf-8").splitlines()[1:]  # the first step is slower than the others
    spent = 0.0
    for line in lines:
        spent += sum(value for key, value in json.loads(line).items() if key.startswith("seconds_"))
    return max(1, int(budget / (spent / len(lines))))


def run_command(project: Project, method: Method, name: str, flags: Sequence[str]) -> None:
    """Run a method's command to its end.

    Raises:
        RunError: it failed; with the last line that it wrote.
    """
    line = [sys.executable, "-c", MAIN, method.name, str(project.path), "--name", name, "--resume", "--device", str(pick_device()), *flags]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        what = f"{method.name} ended with exit code {done.returncode}: {said}"
        raise RunError(what, where=name, hint="fix that, then run the same command again")
