"""Responses that break off: counted before people rank them, asked about in a terminal, left out on request, marked on the page."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from accord.commands.feedback.cut_off import rankable_of
from accord.commands.feedback.queue import queue
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project

PROMPTS = [Prompt(f"p{n}", (Message("user", f"Where is number {n}?"),), split="train") for n in range(4)]
COMMAND = "from accord.commands.app import main; main()"


def responses(cut: int) -> list[Response]:
    """Three responses to each prompt; the first ``cut`` of all break off."""
    made: list[Response] = []
    for number in range(12):
        prompt = PROMPTS[number // 3].id
        made.append(Response(f"{prompt}-{number % 3}", prompt, f"It is number {number} of", "sft", (5, 6), finished=number >= cut))
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "p")
    with Store.open(project.store_url) as store:
        store.add(prompts=PROMPTS, responses=responses(5))
    return project


def test_they_are_counted_and_left_out_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    every = responses(5)
    assert rankable_of(every, "queue") == every
    assert capsys.readouterr().err == ""
    assert rankable_of(every, "leave_out") == every[5:]
    assert rankable_of(every, "ask") == every, "nobody can answer here"
    assert capsys.readouterr().err.count("5 of 12 responses break off") == 2
    assert rankable_of(responses(0), "ask") == responses(0)
    assert capsys.readouterr().err == ""


def test_many_are_refused_and_a_few_are_not(project: Project) -> None:
    few = responses(2)
    assert rankable_of(few, "refuse") == few
    with pytest.raises(UsageError, match="5 of 12 responses break off at the length limit; nothing was queued"):
        queue(project, cut_off="refuse")
    assert queue(project, cut_off="queue") == {"tasks": 4, "new": 4, "cut_off": 5}


def test_a_task_left_with_one_whole_response_is_none(project: Project) -> None:
    assert queue(project, cut_off="leave_out") == {"tasks": 2, "new": 2}, "p0 has no whole response, p1 one"
    assert queue(project, kind="correct", cut_off="leave_out")["tasks"] > 2, "a correction can complete what breaks off"


def _asked(project: Project, answer: str) -> tuple[int, str]:
    """Queue in a terminal and answer its question; the exit code and what was shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", COMMAND, "queue", str(project.path)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as running:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        code = running.wait(timeout=60)
    os.close(ours)
    return code, shown.decode()


def test_a_terminal_asks_first_and_no_queues_nothing(project: Project) -> None:
    code, shown = _asked(project, "n")
    assert code == 2, shown
    assert "5 of 12 responses break off at the length limit" in shown
    with Store.open(project.store_url) as store:
        assert store.counts().get("tasks", 0) == 0
    code, shown = _asked(project, "y")
    assert code == 0, shown
    assert "4" in shown
