"""Checkpoints that are written while the training goes on: those of the step, one at a time, whole whenever the process dies."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from accord.errors import RunError
from accord.runtime import checkpoints
from accord.runtime.runs import Run
from accord.settings import SftConfig

WRITER = """
import sys, torch
from pathlib import Path
from accord.runtime.runs import Run
from accord.settings import SftConfig
torch.set_num_threads(1)
run = Run.start(Path(sys.argv[1]), stage="sft", config=SftConfig(save_async=True), inputs={}, resume=False)
x = torch.zeros(1_000_000)
for step in range(1, 100_000):
    x += 1
    run.log(step, loss=1.0)
    if run.due(True):
        run.checkpoint(step, {"x": x, "more": [torch.full((7,), step)]})
    if step == 3:
        print("begun", flush=True)
"""
FILLER = """
import resource, signal, sys, torch
from pathlib import Path
from accord.errors import RunError
from accord.runtime.runs import Run
from accord.settings import SftConfig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Run.start(Path(sys.argv[1]), stage="sft", config=SftConfig(save_async=True), inputs={}, resume=False)
run.checkpoint(1, {"x": torch.ones(1000)})
run._written()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run.checkpoint(2, {"x": torch.zeros(1_000_000)})
print("went on", flush=True)
try:
    run.checkpoint(3, {"x": torch.ones(10)}) if sys.argv[2] == "next" else run.finish()
except RunError as error:
    print(error)
"""


def start(folder: Path, *, resume: bool = False) -> Run:
    return Run.start(folder, stage="sft", config=SftConfig(save_async=True), inputs={}, resume=resume)


def test_what_is_written_is_the_state_at_the_step_whatever_comes_after(tmp_path: Path) -> None:
    run = start(tmp_path)
    x = torch.ones(5_000_000)
    run.checkpoint(1, {"x": x, "more": {"y": (x[:3], 2)}})
    x.zero_()
    run.finish()
    assert run.restore() is not None
    step, state = run.restore() or (0, {})
    assert step == 1
    assert bool((state["x"] == 1).all())
    assert state["more"]["y"][0].tolist() == [1, 1, 1]


def test_the_next_checkpoint_waits_for_the_one_before(tmp_path: Path) -> None:
    run = start(tmp_path)
    for step in range(1, 6):
        run.checkpoint(step, {"x": torch.full((200_000,), float(step))})
        assert step == 1 or (checkpoints.load(tmp_path / "checkpoint")["step"]) >= step - 1
    run.finish()
    assert (run.restore() or (0, {}))[0] == 5


def test_a_kill_in_between_leaves_a_whole_checkpoint_and_a_resume_cuts_to_it(tmp_path: Path) -> None:
    for turn in range(3):
        folder = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            time.sleep(0.003 + 0.007 * turn)
            writer.kill()
        run = start(folder, resume=True)
        step, state = run.restore() or (0, {})
        assert step >= 2
        assert bool((state["x"] == step).all())
        assert bool((state["more"][0] == step).all())
        assert (folder / "metrics.jsonl").read_text().count("\n") == step
        run.finish()


@pytest.mark.parametrize("when", ["next", "end"])
def test_an_error_of_the_background_comes_at_the_next_checkpoint_or_the_end(when: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLER, str(tmp_path), when], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("went on\n")
    assert "the disk is full" in done.stdout
    assert bool((checkpoints.load(tmp_path / "checkpoint")["state"]["x"] == 1).all())
    assert not (tmp_path / "summary.json").exists()


def test_an_error_ends_the_run_only_after_the_writer(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(RunError, match="reward"):
        _failed(run)
    assert (start(tmp_path, resume=True).restore() or (0, {}))[0] == 1


def _failed(run: Run) -> None:
    with run.finishing():
        run.checkpoint(1, {"x": torch.ones(3_000_000)})
        raise RunError("a reward is not a number")
