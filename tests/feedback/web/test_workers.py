"""`accord label --workers 2` as it is operated: a worker that dies, a proxy before it, its logs, its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from accord.feedback import accounts
from accord.feedback.store import Store
from accord.feedback.web import workers
from accord.feedback.web.app import create
from accord.runtime.project import Project
from accord.settings import LabelConfig


@contextmanager
def opened(project: Project, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = [sys.executable, "-m", "accord", "label", str(project.path), "--port", "0", *flags]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.terminate()


def children(process: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def awaited(what: str, true: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_worker_that_dies_is_replaced_and_all_end_in_order(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "bakery")
    with opened(project, "--workers", "2") as (process, address):
        awaited("two workers", lambda: len(children(process.pid)) == 2)
        assert httpx.get(f"{address}/ready", timeout=60).json() == {"status": "ok"}
        with Store.open(project.store_url) as store:
            token = accounts.invite(store, "labeler", "ann", by="tests", now=datetime.now(UTC))
        first = children(process.pid)
        with httpx.Client(base_url=address, timeout=60) as ann:
            assert ann.post("/join", data={"token": token}).status_code == 303
            os.kill(min(first), signal.SIGKILL)
            for _ in range(6):  # whichever answers knows the session, and its forms
                with httpx.Client(base_url=address, timeout=60, cookies=ann.cookies) as anew:
                    page = anew.get("/profile")
                    assert page.status_code == 200
                    csrf = re.search(r'name="csrf" value="(\w+)"', page.text)
                    assert csrf
                with httpx.Client(base_url=address, timeout=60, cookies=ann.cookies) as anew:
                    assert anew.post("/profile", data={"csrf": csrf[1], "groups": "nurses"}).status_code == 303
        awaited("a new worker", lambda: len(children(process.pid)) == 2 and children(process.pid) != first)
        last, began = children(process.pid), time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert time.monotonic() - began < 15
        assert not [pid for pid in last if alive(pid)]


def test_workers_end_with_a_first_process_that_was_killed(tmp_path: Path) -> None:
    with opened(Project.create(tmp_path / "bakery"), "--workers", "2") as (process, address):
        httpx.get(f"{address}/health", timeout=60)
        awaited("two workers", lambda: len(children(process.pid)) == 2)
        time.sleep(0.5)
        started = children(process.pid)
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200
        process.kill()
        awaited("their end", lambda: not [pid for pid in started if alive(pid)])


def test_the_single_process_has_a_place_also_where_the_temporary_folder_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with workers.single() as apart:
        assert apart.path.is_socket()
        assert apart.path.parent.stat().st_mode & 0o077 == 0, "nobody else reaches it"
    assert not apart.path.parent.exists()


WORKER = "from accord.feedback.web import workers; workers.end_with_parent(); print('serves')"


def test_a_worker_whose_first_process_was_killed_while_it_loaded_ends() -> None:
    for first, serves in ((os.getpid(), True), (os.getpid() + 1, False)):  # the second is not its parent, or not any more
        environment = os.environ | {workers.STARTED_BY: str(first)}
        ran = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, timeout=60)
        assert (ran.stdout == "serves\n") == serves == (ran.returncode == 0), ran


@pytest.mark.parametrize("trusted", [False, True])
def test_who_asks_is_who_connects_unless_a_proxy_is_trusted(tmp_path: Path, trusted: bool) -> None:
    flags = ("--trusted-proxies", "127.0.0.1") if trusted else ()
    with opened(Project.create(tmp_path / "bakery"), "--access-log", *flags) as (process, address):
        said = []
        for number in range(accounts.ATTEMPTS + 1):
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            said.append(httpx.post(f"{address}/join?token=SECRET", data={"token": "wrong"}, headers=headers, timeout=60).status_code)
        assert said == [403] * accounts.ATTEMPTS + ([403] if trusted else [429])
        process.terminate()
        assert process.stderr
        logged = process.stderr.read()
    assert len(re.findall(r"POST /join 4\d\d \d+ ms", logged)) == accounts.ATTEMPTS + 1
    assert ("198.51.100.3 POST /join" in logged) == trusted
    assert "SECRET" not in logged


def test_alive_is_not_ready_when_the_database_does_not_answer(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/feedback.db") as store:
        client = TestClient(create(store, LabelConfig(), name="bakery"), base_url="http://127.0.0.1:8400")
        assert client.get("/ready").status_code == 200
        store.engine.dispose()
        (tmp_path / "feedback.db").write_bytes(b"no database any more, but some other file of another program")
        for end in ("-wal", "-shm"):
            (tmp_path / f"feedback.db{end}").unlink(missing_ok=True)
        assert client.get("/ready").status_code == 503
        assert client.get("/health").json() == {"status": "ok"}
