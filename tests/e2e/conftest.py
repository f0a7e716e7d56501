"""A real server in a process of its own on each database, emptied for every test, and a real Chromium before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from feedback.conftest import Postgres, empty, postgres
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from visitor import Visitor

from accord.feedback import accounts, tasks
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.feedback.tasks import Kind, Task
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project

__all__ = ["postgres"]

expect.set_options(timeout=60_000)  # a busy machine is no failure
SEED = 5
KEPT = frozenset({"meta", "alembic_version", "guidelines", "questions"})
"""Tables that a server fills when it starts."""
TEXTS = (
    "Rye bread, **baked** at noon.",
    "| day | bread |\n|---|---|\n| Tue | rye |",
    "```python\nprint('bread')\n```",
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>",
    "[press me](javascript:window.hacked=1) and ![picture](http://127.0.0.1:9/p.png)",
    "面包在中午烤好。",
)


def prompt(number: int) -> Prompt:
    return Prompt(f"p{number}", (Message("user", f"Question {number}: which bread, and why?"),), source="tests")


def task(number: int, kind: Kind = "rank", k: int = 6, overlap: int = 2, priority: float = 0.0) -> Task:
    asked = prompt(number)
    if kind == "conversation":
        turns = (Message("user", "First?"), Message("assistant", "One."), Message("user", "Second?"), Message("assistant", "Two."))
        asked = Prompt(f"p{number}", (*turns, Message("user", "Thanks")), source="tests")
    responses = tuple(Response(f"r{number}-{n}", asked.id, f"{TEXTS[n]} ({number}.{n})", "sft") for n in range(k))
    return Task(f"t{number}", kind, asked, responses, "evaluation" if kind == "evaluate" else "training", overlap, priority)


class Server:
    """``accord label`` on a project. It ends with these tests, also when they are killed: its watcher's pipe closes then."""

    def __init__(self, folder: Path, url: str, **label: object) -> None:
        """Creates the project; ``label`` is more of its section [label]."""
        self.project = Project.create(folder, settings={"store": {"url": url}, "label": {"seed": SEED, **label}})
        self.url, self.store = url, Store.open(url)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        start = "from accord.commands.app import main; main()"
        command = [sys.executable, "-c", start, "label", str(self.project.path), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet())
        end_with_us = ["sh", "-c", 'read -r _; kill -9 "$1"', "sh", str(self.process.pid)]
        self.watch = subprocess.Popen(end_with_us, stdin=subprocess.PIPE, start_new_session=True)
        assert self.process.stdout
        said = self.process.stdout.readline()
        found = re.search(r"(http://\S+:(\d+))", said)
        assert found, said + self.process.stdout.read()
        self.address, self.port = found[1], int(found[2])
        self.link = self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.watch.kill()  # first: it would kill whoever gets the number next
        self.watch.communicate()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> None:
        self.kill()
        self.store.__exit__()

    def refresh(self) -> None:
        """Empties the store, and starts the server again when a test left it killed."""
        empty(self.store, KEPT)
        if self.process is None or self.process.poll() is not None:
            self.start()

    def queue(self, *queued: Task) -> None:
        tasks.add(self.store, queued)

    def invite(self, name: str = "ann", role: Role = "labeler") -> str:
        """The token of an invitation."""
        return accounts.invite(self.store, role, name, by="tests", now=datetime.now(UTC))

    def visitor(self, name: str = "ann", role: Role = "labeler") -> Visitor:
        """A program that is logged in."""
        found = Visitor(self.address)
        assert found.join(self.invite(name, role)).status == 200
        return found

    def rankings(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Ranks by prompt and labeler's name, in the order of the responses' ids."""
        names = {person.id: person.name for person in accounts.people(self.store)}
        found = {}
        for r in self.store.rankings():
            ranks = dict(zip(r.response_ids, r.ranks, strict=True))
            found[r.prompt_id, names[r.labeler]] = tuple(ranks[id] for id in sorted(ranks))
        return found


def quiet() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    private: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    server = Server(folder / "bakery", private.database() if private else f"sqlite:///{folder / 'feedback.db'}")
    yield server
    server.stop()


@pytest.fixture
def site(server: Server) -> Server:
    server.refresh()
    return server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; a machine without it fails the tests: .ci/chromium installs it.

    Ended with the file: as long as Playwright runs, this thread has an event loop, and no later test could have one of its own.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "chromium is not installed; `bash .ci/chromium` installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


Come = Callable[..., Page]


@pytest.fixture
def come(site: Server, browser: Browser) -> Iterator[Come]:
    """Opens a browser of its own for a new labeler, logged in, on the first page. Errors on any page fail the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def enter(name: str = "ann", role: Role = "labeler", **options: object) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 720}, "locale": "en-GB"} | options))
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        page.goto(f"{site.address}/join?token={site.invite(name, role)}")
        page.locator("main form button").click()
        page.wait_for_url(f"{site.address}/")
        return page

    yield enter
    # Chromium has been seen to wait for a page of its own that never closed, and Playwright waits for Chromium.
    impatient = threading.Timer(20.0, end_renderers)
    impatient.start()
    for context in contexts:
        context.close()
    impatient.cancel()
    assert not errors, errors


def end_renderers() -> None:
    """Kill the processes of the browser's pages: it closes what they held, and lives on."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"--type=renderer" in (process / "cmdline").read_bytes() and os.getpid() in _parents(process):
                os.kill(int(process.name), signal.SIGKILL)


def _parents(process: Path) -> Iterator[int]:
    """Yield the processes that a process came from, nearest first."""
    while (parent := int((process / "stat").read_text().rpartition(")")[2].split()[1])) > 1:
        yield parent
        process = Path("/proc") / str(parent)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)
