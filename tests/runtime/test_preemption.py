"""A signal ends a run after its step, by a code of its own; a second one at once. Without a run, signals do what they always do."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accord.errors import Preempted
from accord.runtime.runs import Run
from accord.settings import SftConfig

ALGORITHMS = Path(__file__).parents[2] / "src/accord/algorithms"
RUN = """
import sys, time
from pathlib import Path
from accord.runtime.runs import Run
from accord.settings import SftConfig
run = Run.start(Path(sys.argv[1]), stage="sft", config=SftConfig(), inputs={}, resume=False)
with run.finishing():
    run.restore()
    print("begun", flush=True)
    for step in range(1, 1000):
        run.log(step, loss=1.0)
        if run.due(step % 500 == 0):
            print("asked", flush=True)
            if sys.argv[2] == "slow":
                time.sleep(60)
            run.checkpoint(step, {"x": step})
        time.sleep(0.01)
"""


def started(folder: Path, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder), kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_step_that_was_logged_last(number: signal.Signals, tmp_path: Path) -> None:
    process = started(tmp_path, "quick")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    restored = Run(tmp_path, "sft", {}).restore()
    assert restored is not None
    assert f"Preempted: {tmp_path}: ended by {number.name} after step {restored[0]}, which is saved" in errors
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == restored[0]
    assert f"ended by {number.name} after step {restored[0]}" in (tmp_path / "log.txt").read_text()


def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, "slow")
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert Run(tmp_path, "sft", {}).restore() is None


def test_sigterm_after_a_warning_is_the_first_sigterm(tmp_path: Path) -> None:
    process = started(tmp_path, "slow")
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def test_a_run_that_is_over_leaves_signals_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = Run.start(tmp_path, stage="sft", config=SftConfig(), inputs={}, resume=False)
    with run.finishing():
        run.restore()
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_with_handlers_of_its_own_keeps_them(tmp_path: Path) -> None:
    mine = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        run = Run.start(tmp_path, stage="sft", config=SftConfig(), inputs={}, resume=False)
        with run.finishing():
            run.restore()
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, mine)


def test_a_checkpoint_is_due_by_plan_by_time_and_by_a_signal(tmp_path: Path) -> None:
    run = Run.start(tmp_path, stage="sft", config=SftConfig(), inputs={}, resume=False)
    assert run.due(True)
    assert not run.due(False)
    assert not run.due(False, minutes=60)
    assert run.due(False, minutes=1e-9)
    with pytest.raises(Preempted) as caught:
        _told_to_end(run)
    assert caught.value.exit_code == 75
    assert run.restore() == (3, {"x": 1})


def _told_to_end(run: Run) -> None:
    with run.finishing():
        run.restore()
        signal.raise_signal(signal.SIGUSR1)
        assert run.due(False)
        run.checkpoint(3, {"x": 1})


@pytest.mark.parametrize("path", sorted(ALGORITHMS.glob("*.py")), ids=lambda path: path.stem)
def test_every_loop_that_saves_does_so_by_time_too(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("run.checkpoint(") == text.count(", config.save_minutes):")


@pytest.mark.parametrize("path", sorted(ALGORITHMS.parent.rglob("*.py")), ids=lambda path: path.stem)
def test_whoever_listens_to_signals_looks_whether_there_was_one(path: Path) -> None:
    """``restore`` lets a run listen; without ``due`` a signal would do nothing."""
    text = path.read_text("utf-8")
    assert ("run.restore()" in text) == ("run.due(" in text)
