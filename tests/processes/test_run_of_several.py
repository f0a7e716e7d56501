"""The folder of a run that several processes share: rank 0 owns and writes, and all end together. Two real processes over gloo."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from accord.runtime.runs import Run
from accord.settings import SftConfig

LOOP = """
import os, sys, time, torch
from pathlib import Path
from accord.errors import AccordError
from accord.runtime import ranks
from accord.runtime.runs import Run
from accord.settings import SftConfig
ranks.start(torch.device("cpu"), 60)
try:
    run = Run.start(Path(sys.argv[1]), stage="sft", config=SftConfig(), inputs={}, resume="resume" in sys.argv)
    with run.finishing():
        done = (run.restore() or (0,))[0]
        print("begun", done, "process", os.getpid(), flush=True)
        for step in range(done + 1, 1000):
            run.log(step, loss=float(ranks.summed(torch.tensor(step))))
            if run.due(step % 500 == 0):
                run.checkpoint(step, {"x": step})
            time.sleep(0.01)
except AccordError as error:
    print(error, flush=True)
    ranks.end()
    sys.exit(error.exit_code)
"""
SAVER = """
import sys, torch
from pathlib import Path
from accord.errors import AccordError
from accord.runtime import ranks
from accord.runtime.runs import Run
from accord.settings import SftConfig
ranks.start(torch.device("cpu"), 60)
try:
    run = Run.start(Path(sys.argv[1]), stage="sft", config=SftConfig(save_async=True), inputs={}, resume=False)
    x, y = torch.zeros(300_000), torch.zeros(200_000)
    for step in range(1, 100_000):
        x, y = x + 1, y + 1
        run.log(step, loss=1.0)
        if run.due(True):
            run.checkpoint(step, {"x": x, "y": y})
        if step == 4:
            print("begun", flush=True)
except AccordError as error:
    print(error, flush=True)
"""


@contextmanager
def two(*arguments: str, script: str = LOOP) -> Generator[list[subprocess.Popen[str]]]:
    """Two processes that torchrun would have started, with their output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *arguments]
    started = [subprocess.Popen(command, env=told | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_signal_to_either_process_ends_both_after_the_same_step_and_a_second_start_is_refused(tmp_path: Path) -> None:
    with two(str(tmp_path)) as [first, second]:
        assert [heard(first), heard(second)] == [f"begun 0 process {process.pid}" for process in (first, second)]
        with two(str(tmp_path), "resume") as others:
            told = [process.communicate(timeout=120)[0] for process in others]
        assert all(f"another process trains in this folder: process {first.pid} on" in each for each in told), told
        second.send_signal(signal.SIGUSR1)
        said = [process.communicate(timeout=60)[0] for process in (first, second)]
        assert [first.returncode, second.returncode] == [75, 75], said
    restored = Run(tmp_path, "sft", {}).restore()
    assert restored is not None
    assert all(f"ended by SIGUSR1 after step {restored[0]}, which is saved" in each for each in said), said
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == restored[0]


def test_either_process_killed_by_9_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / str(number)
        with two(str(folder), script=SAVER) as processes:
            assert [heard(process) for process in processes] == ["begun", "begun"]
            processes[number].kill()
            said, _ = processes[1 - number].communicate(timeout=60)
        assert f"process {number}" in said or "is gone" in said, said
        run = Run.start(folder, stage="sft", config=SftConfig(save_async=True), inputs={}, resume=True)
        step, state = run.restore() or (0, {})
        assert step >= 3
        assert bool((state["x"] == step).all())
        assert bool((state["y"] == step).all())
        assert (folder / "metrics.jsonl").read_text().count("\n") == step
        assert "resumed with world was 2, is 1" in (folder / "log.txt").read_text()
        assert json.loads((folder / "config.json").read_text())["world"] == 1
        run.finish()


def test_under_torchrun_a_signal_that_comes_to_each_process_twice_lets_all_save(tmp_path: Path) -> None:
    """As when a scheduler ends every process of a job, and torchrun passes on what it got itself."""
    script, said = tmp_path / "loop.py", tmp_path / "said.txt"
    script.write_text(LOOP)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(tmp_path / "run")]
    with said.open("w") as file:
        agent = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
        workers = list[int]()
        try:
            end = time.monotonic() + 120
            while len(workers) < 2:
                assert agent.poll() is None, said.read_text()
                assert time.monotonic() < end, said.read_text()
                workers = [int(number) for number in re.findall(r"begun 0 process (\d+)", said.read_text())]
                time.sleep(0.01)
            for process in (*workers, agent.pid):
                os.kill(process, signal.SIGTERM)
            agent.wait(60)
        finally:
            agent.kill()
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
    restored = Run(tmp_path / "run", "sft", {}).restore()
    assert restored is not None, said.read_text()
    assert f"ended by SIGTERM after step {restored[0]}, which is saved" in said.read_text()
