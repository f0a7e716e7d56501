"""One process trains in a folder; a second one is told which, and a dead one's folder is taken over. Real processes throughout."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from accord.errors import RunError
from accord.runtime import owners
from accord.runtime.runs import Run

CLAIMANT = """
import sys
from itertools import chain
from pathlib import Path
from accord.errors import RunError
from accord.runtime import owners
print("ready", flush=True)
sys.stdin.readline()
try:
    dead = owners.claim(Path(sys.argv[1]))
    print("owner", dead.pid if dead else "", flush=True)
    sys.stdin.readline()
except RunError as error:
    print(error, flush=True)
"""

RACER = """
import sys
from itertools import chain
from pathlib import Path
from accord.errors import RunError
from accord.runtime import owners
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(200):
    try:
        owners.claim(Path(sys.argv[1]) / str(number))
        won.append(number)
    except RunError:
        pass
print(*won, flush=True)
sys.stdin.readline()
"""
QUICK = """
import sys, time
from itertools import chain
from pathlib import Path
from accord.runtime import owners
owners.BEAT = 0.02
owners.claim(Path(sys.argv[1]))
print("owner", flush=True)
time.sleep(60)
"""


@contextmanager
def claimants(folder: Path, count: int, script: str = CLAIMANT) -> Generator[list[subprocess.Popen[str]]]:
    """Processes that each wait for a line, then claim the folder, and hold it until they are given another one."""
    command = [sys.executable, "-c", script, str(folder)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        assert [heard(process) for process in started] == ["ready"] * count
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("left", [False, True], ids=["new", "left by a dead owner"])
def test_of_several_starts_at_once_exactly_one_owns_the_folder(left: bool, tmp_path: Path) -> None:
    """In 200 folders one after another, so that the starts meet in the same moment."""
    for number in range(200 if left else 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / owners.OWNER).write_text(record(pid=2**22 + 1))  # above the kernel's largest
    with claimants(tmp_path, 3, RACER) as processes:
        for process in processes:
            go(process)
        won = [list(map(int, heard(process).split())) for process in processes]
    assert sorted(chain.from_iterable(won)) == list(range(200)), [len(each) for each in won]


def test_the_second_of_two_is_told_which_the_first_is_and_an_owner_that_ends_gives_the_folder_up(tmp_path: Path) -> None:
    with claimants(tmp_path, 2) as [first, second]:
        go(first)
        assert heard(first) == "owner"
        go(second)
        assert f"process {first.pid} on {platform.node()}, since 20" in heard(second)
        go(first)
        first.wait(60)
    assert not (tmp_path / owners.OWNER).exists()


def test_an_owner_killed_by_9_is_recognised_and_its_folder_taken_over_with_a_note(tmp_path: Path) -> None:
    with claimants(tmp_path, 1) as [process]:
        go(process)
        assert heard(process) == "owner"
        with pytest.raises(RunError, match=f"another process trains in this folder: process {process.pid} on") as caught:
            start(tmp_path, resume=False)
        assert "--name" in caught.value.hint
        assert not (tmp_path / "config.json").exists()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie still
        start(tmp_path, resume=True)
    assert f"taken over from process {process.pid} on" in (tmp_path / "log.txt").read_text()
    assert json.loads((tmp_path / owners.OWNER).read_text())["pid"] == os.getpid()


def test_a_process_that_got_the_number_of_a_dead_owner_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / owners.OWNER).write_text(record(pid=os.getppid(), began="1"))  # the parent lives, and began later
    dead = owners.claim(tmp_path)
    assert dead is not None
    assert dead.pid == os.getppid()


def test_a_live_process_that_is_not_ours_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / owners.OWNER).write_text(record(pid=os.getppid(), began=owners.began(os.getppid())))
    with pytest.raises(RunError, match=f"process {os.getppid()} on"):
        owners.claim(tmp_path)


ELSEWHERE = {"host": "node-7", "machine": "node-7 another-boot pid:[1]"}


def test_an_owner_on_another_machine_that_is_silent_for_long_is_dead(tmp_path: Path) -> None:
    (tmp_path / owners.OWNER).write_text(record(**ELSEWHERE))
    before = (tmp_path / owners.OWNER).stat().st_mtime - owners.SILENT - 1
    os.utime(tmp_path / owners.OWNER, (before, before))
    dead = owners.claim(tmp_path)
    assert dead is not None
    assert dead.host == "node-7"


def test_an_owner_on_another_machine_is_watched_until_it_beats_or_is_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / owners.OWNER
    path.write_text(record(**ELSEWHERE))
    script = "import os, sys, time\nwhile True: time.sleep(0.1); os.utime(sys.argv[1])"
    monkeypatch.setattr(owners, "SILENT", 3.0)
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as heart:
        try:
            with pytest.raises(RunError, match="on node-7, since 2026"):
                owners.claim(tmp_path)
        finally:
            heart.kill()
    monkeypatch.setattr(owners, "SILENT", 0.5)
    dead = owners.claim(tmp_path)
    assert dead is not None


def test_the_owner_touches_its_file(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", QUICK, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert heard(process) == "owner"
            os.utime(tmp_path / owners.OWNER, (1, 1))
            while (tmp_path / owners.OWNER).stat().st_mtime == 1:
                assert process.poll() is None
        finally:
            process.kill()


def test_a_process_that_lost_its_folder_writes_no_checkpoint_and_no_end(tmp_path: Path) -> None:
    run = start(tmp_path, resume=False)
    run.checkpoint(1, {"x": 1})
    (tmp_path / owners.OWNER).write_text(record(**ELSEWHERE))
    with pytest.raises(RunError, match="taken over by process 5 on node-7"):
        run.checkpoint(2, {"x": 2})
    assert run.restore() == (1, {"x": 1})
    again = start(tmp_path / "again", resume=False)
    (tmp_path / "again" / owners.OWNER).unlink()
    with pytest.raises(RunError, match="was removed"):
        again.finish()
    assert not again.done


def test_a_run_that_ended_by_an_error_or_was_refused_is_owned_by_nobody(tmp_path: Path) -> None:
    run = start(tmp_path, resume=False)
    run.checkpoint(1, {"x": 1})
    with pytest.raises(RunError, match="reward"), run.finishing():
        raise RunError("a reward is not a number")
    assert not (tmp_path / owners.OWNER).exists()
    with pytest.raises(RunError, match="stopped run of this name"):
        start(tmp_path, resume=False)
    assert not (tmp_path / owners.OWNER).exists()


def test_a_fork_of_the_owner_gives_nothing_up(tmp_path: Path) -> None:
    owners.claim(tmp_path)
    child = os.fork()
    if not child:
        owners.release(tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / owners.OWNER).exists()
    owners.release(tmp_path)
    assert not (tmp_path / owners.OWNER).exists()


def start(folder: Path, *, resume: bool) -> Run:
    from accord.settings import SftConfig

    return Run.start(folder, stage="sft", config=SftConfig(), inputs={}, resume=resume)


def record(**changed: Any) -> str:
    known = {"host": platform.node(), "machine": owners.this_process().machine, "pid": 5, "began": "", "since": "2026-11-01T00:00:00Z"}
    return json.dumps({**known, **changed})
