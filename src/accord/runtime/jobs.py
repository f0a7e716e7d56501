"""Commands as processes of their own, each in a folder of the project: jobs/001/, jobs/002/...

job.json         the command, its queue, who started it and when
supervisor.json  the small process that waits for the command (runtime/supervisor.py); touched every few seconds while it lives
process.json     the command's own process
log.txt          what the command wrote to standard error
output.txt       what it wrote to standard output: its result as JSON
stop.json        a request to stop it
end.json         exit code, seconds and memory; its presence marks the job as ended

A job outlives the program that started it, and any later program finds it: everything is in these files. Two queues: trainings wait for
each other, `[project] trainings` of them run at once; commands that load no model do not wait for trainings.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from accord.errors import InputError, RunError, UsageError
from accord.runtime import owners
from accord.runtime.files import TEMPORARY, clean, disk_errors, own_mark, write_atomic
from accord.runtime.project import Project

Queue = Literal["training", "data"]
State = Literal["queued", "running", "done", "failed", "stopped", "lost"]
FOLDER = "jobs"
RESUMED = (
    *("pretrain", "sft", "reward", "process", "ppo", "grpo", "rloo", "reinforce", "raft", "online-dpo", "distill"),
    "generative-reward",
    *("dpo", "kto", "ilql", "star"),
)
"""Commands that ``--resume`` continues from their last checkpoint."""
CONTINUED = ("sample",)
"""Commands that go on where they stopped when they are given again."""
TRAINING = (
    *(*RESUMED, *CONTINUED, "critique", "prefer"),
    *("evaluate", "compare", "frontier", "examine", "explain", "probe", "solve", "algorithms"),
)
"""Commands that may be started here and load a model."""
DATA = (
    *("config", "lineage", "import", "imports", "undo", "remove", "export", "prompts", "provenance", "inspect", "redact", "forget"),
    *("dialogues", "problems", "queue", "label", "agreement", "plan", "plan-memory", "doctor", "report", "round", "switch"),
)
"""Commands that may be started here and take little. Those that print a secret (labelers, keys) or open a site are in neither list."""
ALLOWED: Mapping[str, Queue] = {**dict.fromkeys(TRAINING, "training"), **dict.fromkeys(DATA, "data")}
NO_RESULT = frozenset({"export"})
"""Commands that print no metrics, and so take no --json."""
PROJECT_BY_FLAG = frozenset({"plan-memory"})
NEEDED = {"label": "--by"}
"""A flag without which a command would open a site."""
REFUSED = frozenset({"--serve", "--json", "--help", "-h", "--version"})
DATA_AT_ONCE = 4
MOST_WAITING = 50
"""Jobs of a queue that may wait."""
WORDS, LONGEST_WORD = 300, 20_000
KEPT = 1_000
"""Ended jobs whose folders are kept."""
GRACE: Mapping[Queue, int] = {"training": 300, "data": 20}
"""Seconds that a command has to end by itself when it is asked to stop: a training finishes its step and saves."""
TAIL = 64_000
"""Characters of a log that are read."""
LARGEST_RESULT = 4_000_000
STOPPED = (75, 130)
"""Exit codes of commands that were told to end."""
_SECRET = re.compile(
    r"--?[\w-]*(?:token|secret|password|api-key)(?:=|$)|^(?:sk|hf|gh[pousr])[-_][A-Za-z0-9]{16,}|://[^/@\s]+:[^/@\s]+@", re.ASCII
)
_RUN = re.compile(r"--name(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Job:
    """A command that was started in a project, as it is at one moment: read it again to see what became of it."""

    folder: Path
    arguments: tuple[str, ...]
    """The command and its words, without the project."""
    queue: Queue
    at: str
    """When it was started or queued, in UTC."""
    by: str
    """Who started it: an account's id, or empty."""
    state: State
    began: str = ""
    """When it left the queue."""
    stopping: bool = False
    """Whether it was asked to stop."""
    exit_code: int | None = None
    """What the command returned; negative for a signal, None while it is not known."""
    seconds: float = 0.0
    peak_mb: int = 0
    out_of_memory: bool = False
    """Whether the system killed it because memory ran out."""

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def command(self) -> str:
        return self.arguments[0]

    @property
    def project(self) -> Path:
        return self.folder.parent.parent

    @property
    def unfinished(self) -> bool:
        return self.state in ("queued", "running")

    @property
    def run(self) -> str:
        """The run that ``--name`` gives the command; empty without it."""
        for word, following in zip(self.arguments, (*self.arguments[1:], ""), strict=True):
            if found := _RUN.fullmatch(word):
                return found[1] or following
        return ""

    @property
    def resumable(self) -> bool:
        """Whether ``resume`` can continue it."""
        return self.command in (*RESUMED, *CONTINUED) and self.state in ("failed", "stopped", "lost")

    @property
    def line(self) -> str:
        """The same in a terminal."""
        return command_line(self.project, self.arguments)

    def log(self, most: int = TAIL) -> str:
        """Return the end of what the command wrote to standard error."""
        return tail(self.folder / "log.txt", most)

    def result(self) -> Any:
        """Return what the command printed as JSON; None when it printed none."""
        lines = tail(self.folder / "output.txt", LARGEST_RESULT).splitlines()
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(next((line for line in reversed(lines) if line.strip()), ""))
        return None

    def error(self) -> str:
        """Return the last thing that a command said before it failed, in one line: its error, or the end of a traceback; else empty."""
        if self.state not in ("failed", "lost"):
            return ""
        lines = [line.strip() for line in self.log(8_000).splitlines() if line.strip()]
        own = [line.removeprefix("accord: ") for line in lines if line.startswith("accord: ")]
        return (own or lines or [""])[-1][:2_000]


def command_line(project: Path, arguments: Sequence[str]) -> str:
    """Return a command as it is typed in a terminal."""
    return shlex.join(["accord", *_placed(project, arguments)])


def check(arguments: Sequence[str]) -> Queue:
    """Return the queue of a command.

    Raises:
        UsageError: it may not be started from a page, or one of its words may not.
    """
    name = arguments[0] if arguments else ""
    if name not in ALLOWED:
        hint = "run it in a terminal" if name else "name a command"
        raise UsageError(f"{name!r} cannot be started from a page", where="jobs", hint=hint)
    if len(arguments) > WORDS or any(len(word) > LONGEST_WORD or "\0" in word for word in arguments):
        raise UsageError(f"at most {WORDS} words of {LONGEST_WORD} characters", where=name, hint="run it in a terminal")
    for word in arguments[1:]:
        if word.partition("=")[0] in REFUSED:
            raise UsageError(f"{word} cannot be given here", where=name, hint="run it in a terminal")
        if _SECRET.search(word):
            what = f"{word.partition('=')[0][:12]!r} looks like a secret, and everybody on this machine can read a command's words"
            raise UsageError(what, where=name, hint="set it as an environment variable of the site")
    if name in NEEDED and NEEDED[name] not in {word.partition("=")[0] for word in arguments}:
        raise UsageError(f"needs {NEEDED[name]} here", where=name, hint="run it in a terminal")
    return ALLOWED[name]


def start(project: Project, arguments: Sequence[str], *, by: str = "", once: str = "") -> Job:
    """Start a command in a project, or queue it, and return at once.

    Args:
        arguments: the command, then its words without the project, such as ``["dpo", "--beta", "0.2"]``. They are never given to a shell.
        by: the account that asks.
        once: a token of the form that asks, so that a form sent twice starts one job.

    Raises:
        UsageError: the command may not be started so.
        RunError: too many wait already, or it cannot be started.
    """
    queue = check(arguments)
    jobs = project.path / FOLDER
    with _queueing(project):
        known = _folders(jobs)
        if once:
            for folder in known[-MOST_WAITING:]:
                if _object(folder / "job.json").get("once") == once:
                    return _read(folder)
        waiting = [job for job in _unfinished(known) if job.state == "queued" and job.queue == queue]
        if len(waiting) >= MOST_WAITING:
            raise RunError(f"{len(waiting)} jobs wait already", where=str(jobs), hint="wait, or stop some of them")
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        folder = _created(jobs, {"arguments": list(arguments), "queue": queue, "at": at, "by": by, "once": once})
        _forget_old(known)
        _start_waiting(project)
        return _read(folder)


def resume(project: Project, number: int, *, by: str = "") -> Job:
    """Start a training again that was stopped, failed or was lost; it continues from its last checkpoint.

    Raises:
        InputError: there is no such job.
        UsageError: it cannot be resumed.
    """
    job = read(project, number)
    if not job.resumable:
        raise UsageError(f"job {number} is {job.state}", where=job.command, hint="a training that ended before its end can be resumed")
    kept = [word for word in job.arguments if word not in ("--again", "--resume")]
    return start(project, [*kept, *(("--resume",) if job.command in RESUMED else ())], by=by)


def stop(project: Project, number: int, *, by: str = "", at_once: bool = False) -> Job:
    """Ask a job to end: a training finishes its step and saves, and any other command ends as by Ctrl-C.

    One that has not ended after its time in ``GRACE`` is killed, with every process that it started. It does not wait for the end.

    Args:
        at_once: kill it now.

    Raises:
        InputError: there is no such job.
    """
    with _queueing(project):
        job = read(project, number)
        if not job.unfinished:
            return job
        asked = (job.folder / "stop.json").exists()
        if not asked:
            write_atomic(job.folder / "stop.json", json.dumps({"by": by, "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}) + "\n")
        if job.state == "queued":
            write_atomic(job.folder / "end.json", json.dumps({"exit": None}) + "\n")
        elif not asked or at_once or not owners.living(job.folder / "supervisor.json"):  # the first request may have met a dying supervisor
            _signal(job, at_once=at_once)
        return _read(job.folder)


def read(project: Project, number: int) -> Job:
    """Return a job.

    Raises:
        InputError: there is none of this number.
    """
    folder = project.path / FOLDER / f"{number:03d}"
    if number < 1 or not (folder / "job.json").is_file():
        raise InputError(f"there is no job {number}", where=str(project.path / FOLDER), hint="see the list of jobs")
    return _read(folder)


def newest(project: Project, most: int = 100) -> list[Job]:
    """Return the newest jobs, the last one first, and before them every older one that has not ended."""
    known = _folders(project.path / FOLDER)
    older = [job for job in _unfinished(known[:-most]) if job.unfinished]
    return [*older, *(_read(folder) for folder in reversed(known[-most:]))]


def advance(project: Project) -> None:
    """Start the jobs whose turn it is. Every job does so for the next one when it ends; a site does when it begins, and now and then."""
    if (project.path / FOLDER).is_dir():
        with _queueing(project):
            _start_waiting(project)


def wait(job: Job, seconds: float) -> Job:
    """Wait for a job's end, but no longer than some seconds, and return it as it is then."""
    until = time.monotonic() + seconds
    while job.unfinished and time.monotonic() < until:
        time.sleep(0.05)
        job = _read(job.folder)
    return job


def _placed(project: Path, arguments: Sequence[str]) -> list[str]:
    """Return a command's words with the project where the command expects it."""
    name, *words = arguments
    return [name, *words, "--project", str(project)] if name in PROJECT_BY_FLAG else [name, str(project), *words]


@contextmanager
def _queueing(project: Project) -> Generator[None]:
    """Hold the project's queues: two sites that start a job at the same moment take turns."""
    with disk_errors(project.path / FOLDER):
        (project.path / FOLDER).mkdir(exist_ok=True, mode=0o700)  # logs and results hold what people wrote
        with owners.locked(project.path / FOLDER / ".lock"):
            yield


def _folders(jobs: Path) -> list[Path]:
    """Return the folders of all jobs by their numbers."""
    if not jobs.is_dir():
        return []
    return sorted((path for path in jobs.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


def _created(jobs: Path, record: Mapping[str, object]) -> Path:
    """Create a job's folder with the next number. It gets its name when it is complete, and no other job has that name."""
    clean(jobs)
    unnamed = jobs / f"{TEMPORARY}{own_mark()}-{time.monotonic_ns()}"
    unnamed.mkdir()
    try:
        write_atomic(unnamed / "job.json", json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    except BaseException:
        shutil.rmtree(unnamed, ignore_errors=True)
        raise
    number = max((int(path.name) for path in _folders(jobs)), default=0)
    while True:
        number += 1
        with contextlib.suppress(OSError):  # somebody was faster: a folder that holds something is not replaced
            return unnamed.rename(jobs / f"{number:03d}")
        if not (jobs / f"{number:03d}").exists():
            raise RunError("a job's folder cannot be created", where=str(jobs), hint="look at the folder's permissions")


def _forget_old(known: Sequence[Path]) -> None:
    for folder in known[:-KEPT]:
        if (folder / "end.json").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _unfinished(folders: Sequence[Path]) -> list[Job]:
    return [_read(folder) for folder in folders if not (folder / "end.json").exists() and (folder / "job.json").exists()]


def _start_waiting(project: Project) -> None:
    """Start as many of the jobs that wait as may run, the first first."""
    unfinished = _unfinished(_folders(project.path / FOLDER))
    running = Counter(job.queue for job in unfinished if job.state == "running")
    most: Mapping[Queue, int] = {"training": project.trainings, "data": DATA_AT_ONCE}
    for job in unfinished:
        if job.state == "queued" and running[job.queue] < most[job.queue]:
            _supervise(job)
            running[job.queue] += 1


def _supervise(job: Job) -> None:
    """Start a job's supervisor, which has noted itself and the command's process when this returns."""
    words = _placed(job.project, job.arguments) + ([] if job.command in NO_RESULT else ["--json"])
    grace = str(GRACE[job.queue])
    program = [sys.executable, "-P", "-m", "accord.runtime.supervisor", str(job.folder), job.queue, grace, *words]
    with (job.folder / "log.txt").open("ab") as log:
        try:
            subprocess.run(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            log.write(f"the command could not be started: {error}\n".encode())
            write_atomic(job.folder / "end.json", json.dumps({"exit": 1}) + "\n")


def _signal(job: Job, *, at_once: bool) -> None:
    """Let the supervisor end its command; where it is no more, end the command itself."""
    supervisor = owners.living(job.folder / "supervisor.json")
    command = owners.living(job.folder / "process.json")
    for owner in (supervisor, command):
        if owner is not None and not owners.is_here(owner):
            hint = f"stop it there, or on {owner.host} by the site"
            raise RunError(f"job {job.number} runs on {owner.host}, not on this machine", where=str(job.folder), hint=hint)
    with contextlib.suppress(ProcessLookupError):
        if command is not None and (at_once or supervisor is None):
            os.killpg(command.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        elif supervisor is not None:
            os.kill(supervisor.pid, signal.SIGTERM)


def _read(folder: Path) -> Job:
    asked, end = _object(folder / "job.json"), _object(folder / "end.json")
    state: State = "queued"
    supervised = (folder / "supervisor.json").exists()
    if not end and supervised:
        lives = owners.living(folder / "supervisor.json") or owners.living(folder / "process.json")
        end = _object(folder / "end.json")  # it may have ended between the two looks
        state = "running" if lives else "lost"
    stopping = (folder / "stop.json").exists()
    code = cast("int | None", end.get("exit"))
    if end:
        by_signal = code is None or code < 0 or code > 128
        state = "done" if code == 0 else "stopped" if code in STOPPED or (stopping and by_signal) else "failed"
    began = str(_object(folder / "supervisor.json").get("since", "")) if supervised else ""
    return Job(
        folder,
        tuple(map(str, asked.get("arguments", ["?"]))),
        asked.get("queue", "data"),
        str(asked.get("at", "")),
        str(asked.get("by", "")),
        state,
        began,
        stopping,
        code,
        float(end.get("seconds", 0.0)),
        int(end.get("peak_mb", 0)),
        bool(end.get("out_of_memory", False)),
    )


def _object(path: Path) -> dict[str, Any]:
    """Return a small file's JSON object; empty when it is missing or damaged."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(1_000_000))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def tail(path: Path, most: int) -> str:
    """Return the end of a text, without the control characters that a terminal would act on."""
    try:
        with path.open("rb") as file:
            skipped = max(os.fstat(file.fileno()).st_size - most, 0)
            file.seek(skipped)
            content = file.read(most)
    except OSError:
        return ""
    whole = (content.partition(b"\n")[2] or content) if skipped else content  # without the rest of a line
    text = whole.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t\x20-\x7e\xa0-\U0010ffff]", "", text)
