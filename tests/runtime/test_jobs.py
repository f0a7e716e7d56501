"""Commands as processes of their own: they outlive what started them, wait for their turn, stop, and say how they ended. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installed import package

from accord.commands.app import app
from accord.errors import InputError, RunError, UsageError
from accord.feedback import sso
from accord.runtime import jobs, owners, supervisor
from accord.runtime.jobs import Job
from accord.runtime.project import Project

WAITS = '''
"""Formats that are never read: looking one up waits, does not let itself be stopped, or is killed."""
import os, signal, subprocess, sys

def __getattr__(name):
    if name == "slow":
        print("waiting", file=sys.stderr, flush=True)
        signal.pause()
    if name == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid, file=sys.stderr, flush=True)
        child.wait()
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise AttributeError(name)
'''
POINTS = "slow = accord_waits:slow\nstubborn = accord_waits:stubborn\nkilled = accord_waits:killed"
STARTS = """
import json, os, signal, sys
from accord.runtime import jobs
from accord.runtime.project import Project
jobs.ALLOWED = {**jobs.ALLOWED, "import": "training"}
project = Project.open(sys.argv[1])
for words in json.loads(sys.argv[2]):
    print(jobs.start(project, words).number, flush=True)
if len(sys.argv) > 3:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose jobs are gone when the test ends."""
    package(tmp_path / "packages", "accord-waits", WAITS, formats=POINTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "packages"), *sys.path]))
    made = Project.create(tmp_path / "a project")
    (made.path / "rows.jsonl").write_text('{"prompt": "Why?", "response": "So."}\n', "utf-8")
    yield made
    for job in jobs.newest(made):
        for file in ("supervisor.json", "process.json"):
            if (owner := owners.living(job.folder / file)) and owner.pid != os.getpid():
                os.kill(owner.pid, signal.SIGKILL)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports wait for each other and be resumed, as trainings do and are."""
    monkeypatch.setattr(jobs, "ALLOWED", {**jobs.ALLOWED, "import": "training"})
    monkeypatch.setattr(jobs, "RESUMED", (*jobs.RESUMED, "import"))


def imported(format: str = "demonstrations") -> list[str]:
    return ["import", "rows.jsonl", "--format", format]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def started_by_one_that_dies(project: Project, *commands: list[str]) -> list[int]:
    script = [sys.executable, "-c", STARTS, str(project.path), json.dumps(commands), "die"]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    return [int(line) for line in done.stdout.split()]


def test_a_command_runs_in_a_process_of_its_own_and_leaves_its_result(project: Project) -> None:
    job = jobs.start(project, [*imported(), "--limit", "1"], by="lead-1")
    assert (job.number, job.by, job.state) == (1, "lead-1", "running")
    job = jobs.wait(job, 60)
    assert (job.state, job.exit_code, job.error()) == ("done", 0, "")
    assert job.result()["demonstrations"] == 1
    assert job.seconds > 0
    assert job.peak_mb > 5
    assert job.line == f"accord import '{project.path}' rows.jsonl --format demonstrations --limit 1"


def test_a_failure_shows_the_commands_own_words_and_its_exit_code(project: Project) -> None:
    nowhere = jobs.start(project, ["import", "nowhere.jsonl"])
    misused = jobs.start(project, ["import", "rows.jsonl", "--limit", "many"])
    nowhere, misused = jobs.wait(nowhere, 60), jobs.wait(misused, 60)
    assert (nowhere.state, nowhere.exit_code, nowhere.result()) == ("failed", 1, None)
    assert "no such file" in nowhere.error()
    assert (misused.state, misused.exit_code) == ("failed", 2)
    assert "limit" in misused.error()


def test_a_job_survives_the_kill_of_what_started_it_and_a_later_program_stops_it(project: Project) -> None:
    (number,) = started_by_one_that_dies(project, imported("slow"))
    job = jobs.read(project, number)
    assert job.state == "running"
    until(lambda: "waiting" in job.log())
    jobs.stop(project, number, by="lead-2")
    job = jobs.wait(job, 60)
    assert (job.state, job.stopping) == ("stopped", True)
    assert job.exit_code in (75, -signal.SIGTERM)
    assert owners.living(job.folder / "process.json") is None


def test_trainings_take_turns_and_the_next_begins_without_anybody(project: Project, one_at_a_time: None) -> None:
    first, second = jobs.start(project, imported("slow")), jobs.start(project, imported())
    beside = jobs.start(project, ["config"])
    assert (first.state, second.state, beside.state) == ("running", "queued", "running")
    assert jobs.wait(beside, 60).state == "done"
    assert jobs.read(project, second.number).state == "queued"
    jobs.stop(project, first.number)
    assert jobs.wait(second, 60).state == "done"
    assert [job.number for job in jobs.newest(project)] == [3, 2, 1]


def test_two_programs_that_start_jobs_at_once_get_numbers_of_their_own(project: Project, one_at_a_time: None) -> None:
    jobs.start(project, imported("slow"))
    words = [[["import", "rows.jsonl", "--limit", f"{100 * who + each}"] for each in range(12)] for who in (1, 2)]
    script = [sys.executable, "-c", STARTS, str(project.path)]
    both = [subprocess.Popen([*script, json.dumps(some)], stdout=subprocess.PIPE, text=True) for some in words]
    numbers = [int(line) for one in both for line in one.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(2, 26))
    found = [jobs.read(project, number) for number in numbers]
    assert [list(job.arguments) for job in found] == [*words[0], *words[1]]
    assert {job.state for job in found} == {"queued"}
    for job in found:
        assert jobs.stop(project, job.number).state == "stopped"


def test_a_command_that_does_not_end_is_killed_with_what_it_started(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE", {"training": 1, "data": 1})
    job = jobs.start(project, imported("stubborn"))
    until(lambda: "child" in job.log())
    child = owners.process(int(job.log().split()[-1]))
    owners.write(project.path / "child.json", child)
    assert owners.living(project.path / "child.json") == child
    jobs.stop(project, job.number)
    job = jobs.wait(job, 60)
    assert (job.state, job.exit_code) == ("stopped", -signal.SIGKILL)
    assert owners.living(project.path / "child.json") is None


def test_a_killed_command_says_so(project: Project) -> None:
    job = jobs.wait(jobs.start(project, imported("killed")), 60)
    assert (job.state, job.exit_code, job.stopping) == ("failed", -signal.SIGKILL, False)


def test_a_job_whose_supervisor_was_killed_goes_on_and_is_lost_at_its_end(project: Project, one_at_a_time: None) -> None:
    job, after = jobs.start(project, imported("slow")), jobs.start(project, imported())
    until(lambda: "waiting" in job.log())
    waits, command = owners.living(job.folder / "supervisor.json"), owners.living(job.folder / "process.json")
    assert waits
    assert command
    os.kill(waits.pid, signal.SIGKILL)
    assert jobs.read(project, 1).state == "running"
    until(lambda: owners.living(job.folder / "supervisor.json") is None)  # until then a request to stop goes to it
    jobs.stop(project, 1)
    job = jobs.wait(job, 60)
    assert (job.state, job.resumable) == ("lost", True)
    assert jobs.read(project, after.number).state == "queued"
    jobs.advance(project)  # as a site does
    assert jobs.wait(after, 60).state == "done"
    assert jobs.stop(project, 1).state == "lost"


def test_a_command_is_asked_again_when_its_supervisor_died_with_the_first_request(project: Project, one_at_a_time: None) -> None:
    job = jobs.start(project, imported("slow"))
    until(lambda: "waiting" in job.log())
    waits = owners.living(job.folder / "supervisor.json")
    assert waits
    os.kill(waits.pid, signal.SIGSTOP)  # it takes the request, and dies before it hands it on
    jobs.stop(project, 1)
    os.kill(waits.pid, signal.SIGKILL)
    until(lambda: owners.living(job.folder / "supervisor.json") is None)
    assert jobs.read(project, 1).state == "running"
    jobs.stop(project, 1)
    assert jobs.wait(job, 60).state == "lost"


def test_a_number_that_another_process_has_now_is_not_mistaken(project: Project) -> None:
    job = jobs.wait(jobs.start(project, ["config"]), 60)
    (job.folder / "end.json").unlink()
    for file in ("supervisor.json", "process.json"):
        record = json.loads((job.folder / file).read_text("utf-8"))
        (job.folder / file).write_text(json.dumps(record | {"pid": os.getpid()}), "utf-8")
    assert jobs.stop(project, job.number).state == "lost"  # and this process has got no signal
    (job.folder / "process.json").write_text(json.dumps(record | {"pid": os.getpid(), "began": owners.began(os.getpid())}), "utf-8")
    assert jobs.read(project, job.number).state == "running"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a command"),
        (["serve"], "cannot be started from a page"),
        (["labelers", "invite", "ann"], "cannot be started from a page"),
        (["; touch x"], "cannot be started from a page"),
        (["config", "--help"], "cannot be given here"),
        (["label"], "needs --by"),
        (["import", "x", "--map", "a\0b"], "characters"),
        (["dpo", "--api-key=abc"], "looks like a secret"),
        (["dpo", "--model", "hf_abcdefghijklmnopqrst"], "looks like a secret"),
        (["dpo", "--judge-address", "https://me:word@host/v1"], "looks like a secret"),
        (["import", *["x"] * 300], "words"),
    ],
)
def test_what_may_not_be_started_is_refused(project: Project, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        jobs.start(project, words)
    assert jobs.newest(project) == []


def test_words_reach_no_shell(project: Project) -> None:
    job = jobs.wait(jobs.start(project, ["import", "$(touch x); `touch y`"]), 60)
    assert job.state == "failed"
    assert "$(touch x); `touch y`" in job.error()
    assert not {"x", "y"} & {path.name for path in project.path.iterdir()}


def test_a_form_that_is_sent_twice_starts_one_job_and_queues_are_bounded(
    project: Project, one_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = jobs.start(project, imported("slow"), once="form-1")
    assert jobs.start(project, imported("slow"), once="form-1").number == first.number
    monkeypatch.setattr(jobs, "MOST_WAITING", 1)
    assert jobs.start(project, imported("slow")).state == "queued"
    with pytest.raises(RunError, match="1 jobs wait already"):
        jobs.start(project, imported("slow"))


def test_a_training_is_resumed_by_the_same_words(project: Project, one_at_a_time: None) -> None:
    jobs.start(project, imported("slow"))
    job = jobs.start(project, ["import", "rows.jsonl", "--name=tried", "--again"])
    assert job.run == "tried"
    with pytest.raises(UsageError, match="is queued"):
        jobs.resume(project, job.number)
    jobs.stop(project, job.number)
    again = jobs.resume(project, job.number)
    assert again.arguments == ("import", "rows.jsonl", "--name=tried", "--resume")
    assert again.number == 3
    with pytest.raises(InputError, match="no job 9"):
        jobs.read(project, 9)


def test_a_command_is_resumed_as_it_can_be(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Project, "trainings", 0)
    for command in jobs.TRAINING:
        flags = {name for argument in app[command].assemble_argument_collection() for name in argument.names}
        job = jobs.stop(project, jobs.start(project, [command, "--seed", "1"]).number)
        if command == "sample":  # it goes on by itself
            assert jobs.resume(project, job.number).arguments == ("sample", "--seed", "1")
        elif "--resume" in flags:
            assert jobs.resume(project, job.number).arguments[-1] == "--resume"
        else:
            assert not job.resumable, f"{command} has no --resume"


def test_the_secret_of_the_site_is_not_handed_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCORD_SECRET", sso.SECRET):
        monkeypatch.setenv(name, "s" * 40)
    job = jobs.start(project, imported("slow"))
    until(lambda: "waiting" in job.log())
    command = owners.living(job.folder / "process.json")
    assert command
    environment = Path(f"/proc/{command.pid}/environ").read_bytes()
    assert b"PYTHONPATH" in environment
    assert b"s" * 40 not in environment
    jobs.stop(project, job.number, at_once=True)
    assert jobs.wait(job, 60).state == "stopped"


def test_a_log_is_bounded_on_disk_and_in_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LARGEST_LOG", 1000)
    monkeypatch.setattr(supervisor, "KEPT_OF_LOG", 100)
    log = tmp_path / "log.txt"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 900)
        supervisor.cut(log)
        assert log.stat().st_size == 900
        writer.write(b"y" * 200)
        supervisor.cut(log)
        writer.write(b"\x1b[31mlast\x1b[0m\r\n\x00")
    assert log.read_bytes().startswith(b"(the beginning was cut)\n" + b"y" * 100)
    job = Job(tmp_path, ("config",), "data", "", "", "done")
    assert job.log() == f"(the beginning was cut)\n{'y' * 100}last\n"
    assert job.log(120) == f"{'y' * 100}last\n"
