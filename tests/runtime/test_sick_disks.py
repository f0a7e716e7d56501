"""Disks that are read-only, slow, or tore what was written, and clocks that go back: nothing acknowledged is lost without a word."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labeling_load import ROOT, Servers
from visitor import Visitor
from witness import rows

from accord.commands.data.import_ import import_
from accord.commands.data.undo import undo
from accord.commands.project.backup import backup
from accord.errors import AccordError, StoreError
from accord.feedback import accounts, tasks, write_ahead
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import Message, Prompt, Response
from accord.runtime import checkpoints, jobs
from accord.runtime.project import Project

COMMITS = 40


def prompt(number: int) -> Prompt:
    return Prompt(f"p{number:03}", (Message("user", f"Question {number}? " * 30),))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- read-only ---


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Project]:
    """A project with an import, a run and a task, on a disk that can only be read from now on."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, timeout=30).returncode == 0
    project = Project.create(place / "p")
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "A document."}) + "\n")
    import_(project.path, text, quiet=True)
    checkpoints.save(project.path / "runs" / "r" / "checkpoint", {"step": 1, "weights": torch.ones(3)})
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, timeout=30)
    else:
        for path in [place, *place.rglob("*")]:
            path.chmod(0o500 if path.is_dir() else 0o400)
    yield project
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)
    else:
        for path in [place, *place.rglob("*")]:
            path.chmod(0o700)


def test_a_read_only_disk_is_named_and_what_stands_stays(read_only: Project, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "1+1?", "response": "2"}) + "\n")
    before = files(read_only.path)
    attempts: dict[str, Callable[[], object]] = {
        "import": lambda: import_(read_only.path, rows, quiet=True),
        "undo": lambda: undo(read_only.path, 1),
        "checkpoint": lambda: checkpoints.save(read_only.path / "runs" / "r" / "checkpoint", {"step": 2}),
        "job": lambda: jobs.start(read_only, ["config"]),
        "backup": lambda: backup(read_only.path, read_only.path / "b.zip"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(AccordError) as caught:
            attempt()
        assert any(word in str(caught.value).lower() for word in ("read-only", "readonly", "cannot be written")), (name, str(caught.value))
        assert caught.value.hint, name
    assert files(read_only.path) == before


# --- torn and damaged logs ---


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A database file and its write-ahead log with one commit after another, as a killed server leaves them."""
    place = tmp_path_factory.mktemp("logged") / "feedback.db"
    with Store.open(f"sqlite:///{place}") as store:
        with store.read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(COMMITS):
            store.add_prompts([prompt(number)])
        return place.read_bytes(), place.with_name("feedback.db-wal").read_bytes()


def left(folder: Path, database: bytes, log: bytes) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "feedback.db").write_bytes(database)
    (folder / "feedback.db-wal").write_bytes(log)
    return f"sqlite:///{folder}/feedback.db"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_torn_write_loses_at_most_what_was_not_acknowledged(share: float, logged: tuple[bytes, bytes], tmp_path: Path) -> None:
    cut = int(share * len(logged[1]))
    with Store.open(left(tmp_path / "torn", logged[0], logged[1][:cut])) as store:
        found = [one.id for one in store.prompts()]
    assert found == [prompt(number).id for number in range(len(found))], "commits up to the tear, each whole"
    assert cut < len(logged[1]) or len(found) == COMMITS


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_log_is_named_and_stays_as_it_is(share: float, bit: int, logged: tuple[bytes, bytes], tmp_path: Path) -> None:
    log = bytearray(logged[1])
    at = 32 + int(share * (len(log) - 32))
    log[at] ^= 1 << bit
    folder = tmp_path / "damaged"
    url = left(folder, logged[0], bytes(log))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write_ahead, "refuse_damage", id)
        with Store.open(url) as store:
            readable = store.counts()["prompts"]
    url = left(folder, logged[0], bytes(log))
    if readable >= COMMITS - 1:  # the last commit may be one that a power cut tore
        with Store.open(url) as store:
            assert store.counts()["prompts"] == readable
        return
    with pytest.raises(StoreError, match="log of the last answers is damaged") as caught:
        Store.open(url)
    assert "accord restore" in caught.value.hint
    assert files(folder) == {"feedback.db": logged[0], "feedback.db-wal": bytes(log)}, "nothing was changed"
    with (folder / "feedback.db-wal").open("r+b") as file:  # the way on that the error tells
        file.truncate(int(caught.value.hint.split("--size=")[1].split()[0]))
    with Store.open(url) as store:
        assert [one.id for one in store.prompts()] == [prompt(number).id for number in range(readable)]


def test_what_is_refused_is_what_sqlite_would_lose(tmp_path: Path) -> None:
    place, other, commits, page = tmp_path / "a.db", tmp_path / "b.db", 8, 512
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        for pragma in (f"page_size={page}", "journal_mode=WAL", "synchronous=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(commits):
            connection.execute("INSERT INTO t VALUES (?)", ("y" * (700 if number % 2 else 100),))  # of several frames, and of one
        database, log = place.read_bytes(), place.with_name("a.db-wal").read_bytes()
    for start in range(32, len(log), 24 + page):
        for byte in (0, 5, 7, 8, 15, 16, 23, 24, 24 + page - 1):  # of the page's number, the mark of a commit, salts, sums, the page
            damaged = bytearray(log)
            damaged[start + byte] ^= 1
            other.with_name("b.db-shm").unlink(missing_ok=True)
            other.write_bytes(database)
            other.with_name("b.db-wal").write_bytes(damaged)
            try:
                write_ahead.refuse_damage(other)
                refused = False
            except StoreError:
                refused = True
            with closing(sqlite3.connect(other)) as connection:
                read = connection.execute("SELECT count(*) FROM t").fetchone()[0]
            assert refused == (commits - read > 1), (start, byte, read)


def test_a_sound_log_is_read_while_others_write(tmp_path: Path) -> None:
    url, over = f"sqlite:///{tmp_path}/feedback.db", threading.Event()
    with Store.open(url) as store:

        def write() -> None:
            for number in range(100_000):
                if over.is_set():
                    return
                store.add_prompts([Prompt(f"w{number}", (Message("user", "word " * 2000),))])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(15):
                with Store.open(url) as reader:
                    reader.counts()
        finally:
            over.set()
            writer.join()


KILLS = "#include <signal.h>\n#include <unistd.h>\nint fdatasync(int fd) { (void)fd; return kill(getpid(), SIGKILL); }\n"
"""Ends a process as it writes a commit to disk: the commit is whole in the log, and nobody knows of it."""
COMMIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous=FULL")
connection.execute("INSERT INTO meta VALUES (?, ?)", (sys.argv[2], "x" * 4096 * int(sys.argv[2])))
"""


def test_a_sound_log_with_the_ends_of_commits_that_were_killed_is_read(tmp_path: Path) -> None:
    place, library = tmp_path / "feedback.db", tmp_path / "kills.so"
    (tmp_path / "kills.c").write_text(KILLS)
    subprocess.run(["cc", "-shared", "-fPIC", str(tmp_path / "kills.c"), "-o", str(library)], check=True, timeout=60)
    with Store.open(f"sqlite:///{place}") as store:
        for pages in (40, 30, 20, 10):  # each is written over the beginning of the one before
            killed = [sys.executable, "-c", COMMIT, str(place), str(pages)]
            assert subprocess.run(killed, env=os.environ | {"LD_PRELOAD": str(library)}, timeout=60).returncode == -signal.SIGKILL
        store.add_prompts([prompt(1)])
        with Store.open(f"sqlite:///{place}") as other:
            assert [one.id for one in other.prompts()] == [prompt(1).id]
    assert not any(str(key).isdecimal() for (key,) in rows(f"sqlite:///{place}", "SELECT key FROM meta"))


# --- slow ---


def test_a_slow_disk_holds_up_its_writer_alone(tmp_path: Path) -> None:
    library = tmp_path / "slow_disk.so"
    words = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", str(ROOT / "benchmarks" / "slow_disk.c"), "-o", str(library), "-ldl"]
    subprocess.run(words, check=True, timeout=60)
    project = Project.create(tmp_path / "p")
    with Store.open(project.store_url) as store:
        shown = tuple(Response(f"r{n}", "p000", f"Response {n}.", "m") for n in range(2))
        tasks.add(store, [Task("t", "rank", prompt(0), shown)])
        token = accounts.invite(store, "labeler", "ann", by="tests", now=datetime.now(UTC))
    servers = Servers(project.path, 1, environment={"LD_PRELOAD": str(library), "SLOW_DISK_SECONDS": "0.7"})
    visitor, other = Visitor(servers.address(0)), Visitor(servers.address(0))
    try:
        visitor.join(token)
        given = visitor.next()
        assert given
        replies, healthy = list[int](), list[bool]()
        fields = [("rank-1", "1"), ("rank-2", "2"), ("quality-1", "6"), ("quality-2", "2")]
        writer = threading.Thread(target=lambda: replies.append(visitor.answer(given, fields).status))
        began = time.monotonic()
        writer.start()
        while writer.is_alive():
            healthy.append(other.request("GET", "/health").status == 200 and writer.is_alive())
        writer.join()
    finally:
        visitor.close()
        other.close()
        servers.close()
    assert time.monotonic() - began > 0.7, "it was not acknowledged before it was on disk"
    assert replies == [200]
    assert any(healthy), "others are answered meanwhile"
    assert len(list(rows(project.store_url, "SELECT id FROM answers"))) == 1
