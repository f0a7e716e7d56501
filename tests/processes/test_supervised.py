"""The methods that learn from written rows, by two processes against one; processes that die, hang or differ."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_project import FLAGS, PROMPTS, labeled, rankings, with_sft_model
from started import HERE, SECONDS, Pair, environment, ran, torchrun
from supervised import RUNS, STEPS
from tiny import SENTENCES
from torch import Tensor

from accord.data.spans import Span
from accord.errors import Preempted
from accord.runtime.files import TEMPORARY

SCRIPT = str(HERE / "supervised.py")
NAMES = {"sft": "chat", "sft-lora": "lora"}
"""Runs that are not called after their method."""
CLOCK = ("second", "peak_rss")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with rankings, demonstrations and marked errors, on which nothing was trained but the SFT model."""
    folder = tmp_path_factory.mktemp("project")
    made = labeled(with_sft_model(folder / "unlabeled"), folder / "p", rankings())
    wrong = [Span(f"{prompt.id}-0", 0, SENTENCES[0].index(" "), "Irrelevant", "ann") for prompt in PROMPTS]
    read = [Span(f"{prompt.id}-1", 0, 0, "", "ann") for prompt in PROMPTS]
    (made.path / "annotations").mkdir()
    (made.path / "annotations" / "marks.jsonl").write_text("".join(json.dumps(asdict(span)) + "\n" for span in wrong + read))
    return made.path


def copy(project: Path, folder: Path) -> Path:
    return Path(shutil.copytree(project, folder))


@pytest.fixture(scope="module")
def one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every method's run by this process."""
    folder = copy(project, tmp_path_factory.mktemp("one") / "p")
    for run in RUNS.values():
        run(folder, FLAGS)
    return folder


@pytest.fixture(scope="module")
def two(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every method's run by two processes, all in one start of them."""
    folder = copy(project, tmp_path_factory.mktemp("two") / "p")
    code, errors = torchrun(SCRIPT, str(folder), *RUNS, EXCHANGE=str(folder.parent))  # exchanges.py, before the runs
    assert code == 0, errors
    assert errors.count("process 1 of 2: its gradient is not finite") == 1
    return folder


@pytest.fixture(scope="module")
def sharded(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by two processes that each hold half of the model."""
    folder = copy(project, tmp_path_factory.mktemp("sharded") / "p")
    code, errors = torchrun(SCRIPT, str(folder), *RUNS, SHARD="full")
    assert code == 0, errors
    return folder


def metrics(run: Path) -> list[dict[str, float]]:
    """Return what a run logged but for the clock; NaN where a figure is not defined, such as the mean over no thumbs."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = {name for row in rows for name in row if any(word in name for word in CLOCK)}
    return [{name: math.nan if value is None else value for name, value in row.items() if name not in timed} for row in rows]


def weights(model: Path) -> dict[str, Tensor]:
    return {f"{file.name} {name}": value for file in model.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.mark.parametrize("held", ["two", "sharded"])
@pytest.mark.parametrize("method", RUNS)
def test_two_processes_learn_what_one_learns(method: str, held: str, one: Path, request: pytest.FixtureRequest) -> None:
    two: Path = request.getfixturevalue(held)
    name = NAMES.get(method, method)
    alone, together = (metrics(folder / "runs" / name) for folder in (one, two))
    assert len(alone) == len(together) == STEPS, "one file, each step once"
    for before, after in zip(alone, together, strict=True):
        assert after == pytest.approx(before, abs=1e-5, rel=1e-5, nan_ok=True)
    mine, theirs = (weights(folder / "models" / name) for folder in (one, two))
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        torch.testing.assert_close(theirs[key], value, atol=1e-6, rtol=0, msg=key)
    summaries = [json.loads((folder / "runs" / name / "summary.json").read_text()) for folder in (one, two)]
    alone_, together_ = ({key: value for key, value in s.items() if not any(word in key for word in CLOCK)} for s in summaries)
    assert together_ == pytest.approx(alone_, abs=1e-5, rel=1e-5)


def test_they_say_what_one_says_and_leave_nothing_behind(two: Path) -> None:
    assert not list(two.rglob(f"{TEMPORARY}*"))
    versions = json.loads((two / "runs" / "chat" / "config.json").read_text())["versions"]
    assert (versions["processes"], versions["device"]) == (2, "cpu")


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_run_whose_process_is_killed_goes_on_to_the_same_model(rank: int, project: Path, two: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    code, _ = torchrun(SCRIPT, str(folder), "sft", DIE=f"{rank} 2")
    assert code != 0
    assert [row["step"] for row in metrics(folder / "runs" / "chat")] == [1, 2]
    code, errors = torchrun(SCRIPT, str(folder), "sft", RESUME="1")
    assert code == 0, errors
    assert metrics(folder / "runs" / "chat") == metrics(two / "runs" / "chat")
    files = [(path / "models" / "chat" / "model.safetensors").read_bytes() for path in (folder, two)]
    assert files[0] == files[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_other_which_says_where(rank: int, project: Path, tmp_path: Path) -> None:
    """Nobody watches over these two, as torchrun does."""
    folder, words = copy(project, tmp_path / "p"), [SCRIPT, str(tmp_path / "p"), "sft"]
    with Pair(words, words, environments=({"DIE": f"{rank} 2"}, {"DIE": f"{rank} 2"})) as pair:
        assert pair.ended(rank)[0] == -signal.SIGKILL
        code, errors = pair.ended(1 - rank, 60)
    assert code not in (0, -signal.SIGKILL)
    assert errors.count("accord.errors.RunError") == 1, errors
    if rank == 1:  # who is gone with rank 0 was told by rank 0 alone
        assert f"process 1 ({os.uname().nodename}, pid" in errors
        assert "was last at sft 1/3" in errors or "was last at sft 2/3" in errors
    assert folder.exists()


def test_a_process_that_hangs_is_named_in_time(project: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    words = ["-m", "accord", "sft", str(folder), "--name", "chat", "--epochs", "100000", "--batch-size", "4", "--ptx-tokens", "0"]
    words += ["--dtype", "float32", "--device", "cpu", "--process-timeout", "15"]
    with Pair(words, words) as pair:
        until, log = time.monotonic() + 120, folder / "runs" / "chat" / "metrics.jsonl"
        while not (log.exists() and log.read_text().count("\n") > 3) and time.monotonic() < until:
            assert pair.processes[0].poll() is None, pair.ended(0)
            time.sleep(0.05)
        pair.processes[1].send_signal(signal.SIGSTOP)
        code, errors = pair.ended(0, 60)
    assert code == 1
    assert f"process 1 ({os.uname().nodename}, pid {pair.processes[1].pid}), last at sft " in errors, errors
    assert "has not come for" in errors


def test_processes_with_other_settings_are_refused_and_named(project: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    words = ["-m", "accord", "sft", str(folder), "--name", "chat", "--ptx-tokens", "0", "--device", "cpu", "--dtype", "float32", "--lr"]
    with Pair([*words, "0.1"], [*words, "0.2"]) as pair:
        ended = [pair.ended(rank) for rank in (0, 1)]
    assert [code for code, _ in ended] == [1, 1]
    errors = "".join(text for _, text in ended)
    assert errors.count("accord: ") == 1, "said once"
    assert "the processes differ: config.lr is 0.1 on rank 0 and 0.2 on rank 1" in errors
    assert not (folder / "runs" / "chat" / "config.json").exists()


def test_the_command_starts_its_processes_and_passes_on_how_they_end(project: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    words = ["sft", str(folder), "--name", "chat", "--epochs", "1", "--ptx-tokens", "0", "--device", "cpu", "--dtype", "float32"]
    accord = [sys.executable, "-m", "accord"]
    code, errors = ran([*accord, *words, "--processes", "2"])
    assert code == 0, errors
    assert json.loads((folder / "runs" / "chat" / "config.json").read_text())["versions"]["processes"] == 2
    code, errors = ran([*accord, *words, "--processes", "2"])
    assert code == 1
    assert errors.count("a finished run of this name exists already") == 1
    assert "Traceback" not in errors


def test_a_signal_to_the_command_lets_its_processes_save_and_resume(project: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    words = [sys.executable, "-m", "accord", "sft", str(folder), "--name", "chat", "--epochs", "100000", "--batch-size", "4"]
    words += ["--ptx-tokens", "0", "--device", "cpu", "--dtype", "float32", "--processes", "2"]
    log = folder / "runs" / "chat" / "metrics.jsonl"
    steps: list[int] = []
    for resume in ([], ["--resume"]):
        code, errors = until_logged(log, max(steps, default=0) + 3, [*words, *resume])
        assert code == Preempted.exit_code, errors
        assert errors.count("accord: ") == 1, errors
        steps.append(len(metrics(folder / "runs" / "chat")))
        assert f"ended by SIGTERM after step {steps[-1]}" in errors
    assert steps[1] > steps[0]
    assert [row["step"] for row in metrics(folder / "runs" / "chat")] == list(range(1, steps[1] + 1))


def test_processes_whose_command_is_killed_save_and_end(project: Path, tmp_path: Path) -> None:
    folder = copy(project, tmp_path / "p")
    words = [sys.executable, "-m", "accord", "sft", str(folder), "--name", "chat", "--epochs", "100000", "--batch-size", "4"]
    words += ["--ptx-tokens", "0", "--device", "cpu", "--dtype", "float32", "--processes", "2", "--save-every", "1000000"]
    run = folder / "runs" / "chat"
    code, errors = until_logged(run / "metrics.jsonl", 3, words, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert f"ended by SIGTERM after step {len(metrics(run))}" in errors  # their last words: they end before the pipe does
    assert (run / "checkpoint" / "latest").exists()


def until_logged(log: Path, lines: int, words: list[str], by: int = signal.SIGTERM) -> tuple[int, str]:
    """Run a command until its run has logged so many steps, then send it a signal; return how it ended."""
    with subprocess.Popen(words, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + SECONDS
            while not (log.exists() and log.read_text().count("\n") >= lines) and time.monotonic() < until and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(by)
            _, errors = process.communicate(timeout=SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors
