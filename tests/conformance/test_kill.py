"""T40 with real processes: kill -9 in the middle of each training stage, --resume, and the very bytes of an uninterrupted run."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from accord.settings.methods import LABELED

WORLD = ["--documents", "150", "--prompts", "60", "--demonstrations", "40", "--users", "12"]
MODEL = ["--vocab-size", "600", "--hidden-size", "16", "--layers", "1", "--heads", "2", "--intermediate-size", "32", "--context", "256"]
STAGES: dict[str, list[str]] = {  # in the order in which they are run
    "pretrain": [*MODEL, "--tokens", "16000", "--batch-tokens", "400", "--save-every", "4"],
    "sft": ["--epochs", "5", "--batch-size", "4", "--save-every", "4", "--ptx-tokens", "256"],
    "reward": ["--epochs", "3", "--batch-size", "2", "--save-every", "4", "--ties", "model"],
    "ppo": [
        "--steps",
        "24",
        "--batch-size",
        "8",
        "--minibatch-size",
        "4",
        "--max-tokens",
        "8",
        "--save-every",
        "4",
        "--ema",
        "0.9",
        "--kl-target",
        "1",
        "--kl-horizon",
        "50",
        "--ptx-tokens",
        "256",
        "--gap-multiple",  # a policy of 16 dimensions in bfloat16, three nats away from its start
        "4",
    ],
    "grpo": ["--steps", "16", "--batch-size", "8", "--minibatch-size", "4", "--group-size", "2", "--max-tokens", "8", "--save-every", "4"],
    "dpo": ["--epochs", "6", "--batch-size", "2", "--save-every", "4", "--loss", "plackett-luce", "--muon-lr", "0.01"],
    "kto": ["--epochs", "6", "--batch-size", "8", "--save-every", "4", "--thumbs", "ranks"],
    "ilql": ["--epochs", "6", "--batch-size", "8", "--save-every", "4", "--returns", "ranks"],
}
MODELS = {stage: [stage] for stage in STAGES} | {"pretrain": ["base"], "ppo": ["ppo", "ppo-value"]}
"""What a stage leaves: a model of its own name, most of them."""
ALIKE = ("dpo", "kto", "ilql")
"""Stages that keep their place in the data as `sft` and `reward` do: their kills take minutes more, and belong to the slow tests."""
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
IN_ONE_GO = "import sys, accord.commands.app as c\nfor line in sys.argv[1:]: c.main(line.split())"


def commands(project: Path) -> list[str]:
    sampled = f"sample {project} --k 4 --prompts 24 --held-out 4 --max-tokens 8"
    pretrain, sft, *others = (" ".join([stage, str(project), *flags]) for stage, flags in STAGES.items())
    return [f"init {project} --world {' '.join(WORLD)}", pretrain, sft, sampled, f"label {project} --by world", *others]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("kill") / "whole"
    done = subprocess.run([sys.executable, "-c", IN_ONE_GO, *commands(project)], env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return project


def test_every_method_that_learns_from_labels_is_killed_here() -> None:
    assert {*LABELED} <= STAGES.keys()


def accord(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "import accord.commands.app as c; c.main()", *arguments],
        env=ALONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def digests(project: Path, stage: str) -> dict[str, str]:
    files = [file for name in MODELS[stage] for file in (project / "models" / name).glob("*.safetensors")]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def wait_for(file: Path, process: subprocess.Popen[str], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None, f"it ended before its first checkpoint: {process.communicate()}"
        assert time.monotonic() < end, "no checkpoint yet"
        time.sleep(0.003)


def begun_anew(stage: str, uninterrupted: Path, project: Path) -> tuple[str, Path]:
    """Copy a project without what a stage left there. Return the stage's run and its folder."""
    name = MODELS[stage][0]
    shutil.copytree(uninterrupted, project)
    shutil.rmtree(project / "runs" / name)
    for model in MODELS[stage]:
        shutil.rmtree(project / "models" / model)
    return name, project / "runs" / name


@pytest.mark.parametrize("stage", [pytest.param(each, marks=pytest.mark.slow if each in ALIKE else ()) for each in STAGES])
def test_t40_kill_9_and_resume_leave_the_same_bytes(stage: str, uninterrupted: Path, tmp_path: Path) -> None:
    project = tmp_path / "cut"
    name, run = begun_anew(stage, uninterrupted, project)
    arguments = [stage, str(project), *STAGES[stage]]

    process = accord(arguments)
    wait_for(run / "checkpoint" / "state.pt", process)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert not (project / "models" / name).exists(), "it was over before it was killed"

    resumed = accord([*arguments, "--resume"])
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert "resumed after step" in (run / "log.txt").read_text()
    assert digests(project, stage) == digests(uninterrupted, stage)


@pytest.mark.parametrize(("stage", "number"), [("sft", signal.SIGTERM), ("ppo", signal.SIGUSR1), ("grpo", signal.SIGTERM)])
def test_a_signal_lets_the_step_end_and_saves_and_a_resume_leaves_the_same_bytes(
    stage: str, number: signal.Signals, uninterrupted: Path, tmp_path: Path
) -> None:
    """By steps alone nothing would be saved before the last one."""
    project = tmp_path / "cut"
    name, run = begun_anew(stage, uninterrupted, project)
    flags = STAGES[stage].copy()
    flags[flags.index("--save-every") + 1] = "1000"
    arguments = [stage, str(project), *flags]

    process = accord(arguments)
    wait_for(run / "metrics.jsonl", process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    assert f"ended by {number.name} after step " in errors.splitlines()[-1]
    assert "--resume" in errors.splitlines()[-1]
    assert (run / "checkpoint" / "state.pt").exists()
    assert not (run / "owner.json").exists()
    assert not (project / "models" / name).exists(), "it was over before it was told to end"

    resumed = accord([*arguments, "--resume"])
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert digests(project, stage) == digests(uninterrupted, stage)
