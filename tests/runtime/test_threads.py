"""Threads by the work of other programs: with a real busy program beside it, and in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accord.runtime import threads
from accord.runtime.runs import Run
from accord.runtime.threads import Look, others_use, spare

ONE_COMMAND = """
import os, torch
from accord.runtime.device import choose_device
choose_device("cpu")
print(torch.get_num_threads())
"""
BUSY = "import os; os.sched_setaffinity(0, {%d}); print(flush=True)\nwhile True: pass"


def threads_of_a_command(**environment: str) -> tuple[int, str]:
    """Return how many threads a fresh process computes with, and what it says about it."""
    plain = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", ONE_COMMAND], env=plain | environment, capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("most", "used", "left"), [(2, 0.0, 2), (2, 0.3, 2), (2, 0.9, 1), (2, 3.0, 1), (8, 2.1, 6), (8, 7.9, 1), (1, 0.0, 1), (64, 0.1, 64)]
)
def test_a_processor_that_others_use_gets_no_thread(most: int, used: float, left: int) -> None:
    assert spare(most, used) == left


def test_the_work_of_this_process_is_not_that_of_others() -> None:
    assert others_use(Look(10.0, 100.0, 5.0), Look(12.0, 103.0, 6.0)) == pytest.approx(1.0)
    assert others_use(Look(10.0, 100.0, 5.0), Look(12.0, 101.9, 7.0)) == 0.0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that pins programs to processors")
def test_beside_programs_that_fill_every_processor_a_command_computes_with_one_thread() -> None:
    cores = sorted(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", BUSY % core], stdout=subprocess.PIPE) for core in cores]
    try:
        for program in busy:
            assert program.stdout
            program.stdout.readline()  # it has begun
        count, said = threads_of_a_command()
        most, _ = threads_of_a_command(OMP_NUM_THREADS=str(len(cores)))
    finally:
        for program in busy:
            program.kill()
            program.communicate()
    assert count == 1
    assert ("threads: 1 of" in said) == (most > 1)
    assert most == len(cores), "OMP_NUM_THREADS is taken as it is"


def test_a_resumed_run_computes_with_the_threads_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads.choose_threads()  # this process's own choice, once
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run = Run.start(tmp_path / "run", stage="sft", config=threads.Threads(1, ""), inputs={}, resume=False)
        assert json.loads((run.folder / "config.json").read_text())["versions"]["threads"] == 2
        torch.set_num_threads(1)
        Run.start(tmp_path / "run", stage="sft", config=threads.Threads(1, ""), inputs={}, resume=True)
        assert torch.get_num_threads() == 2
        assert "threads" not in (run.folder / "log.txt").read_text()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        Run.start(tmp_path / "run", stage="sft", config=threads.Threads(1, ""), inputs={}, resume=True)
        assert torch.get_num_threads() == 1
        assert "versions.threads was 2, is 1" in (run.folder / "log.txt").read_text()
    finally:
        torch.set_num_threads(before)
