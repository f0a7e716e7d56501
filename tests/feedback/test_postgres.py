"""What only PostgreSQL could get wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from feedback.conftest import Postgres
from sqlalchemy import text
from wire import Wire

import accord.commands.serve.serve as serve
from accord.errors import StoreError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project
from accord.settings import ServeConfig

STARTED = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from feedback.conftest import Postgres
server = Postgres(Path(tempfile.mkdtemp(prefix="accord-pg-", dir="/tmp")))
print(server.folder, (server.data / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
"""
NASTY = ("\0", "\x1a", "\x1a0", "\x1a1\0\x1a", "a\0b\\0")


def test_any_text_comes_back(store: Store) -> None:
    prompt = Prompt("p", (Message("user", "".join(NASTY)),))
    responses = [Response(f"r{n}", "p", text, "m") for n, text in enumerate(NASTY)]
    for _ in range(2):
        store.add(prompts=[prompt], responses=responses)
    assert list(store.prompts()) == [prompt]
    assert list(store.responses()) == responses


def test_ids_sort_by_their_bytes(store: Store) -> None:
    ids = ["A", "B-1", "B1", "a", "b", "É", "é", "中"]
    store.add_prompts(Prompt(id, (Message("user", "?"),)) for id in ids)
    assert [prompt.id for prompt in store.prompts()] == ids


def test_a_server_that_is_down() -> None:
    with pytest.raises(StoreError, match=r"cannot be opened.*is the server running") as caught:
        Store.open("postgresql+psycopg://me:secret@/none?host=/no/such/folder")
    assert "secret" not in str(caught.value)


def test_no_server_outlives_tests_that_were_killed() -> None:
    words = [sys.executable, "-c", STARTED, str(Path(__file__).parent.parent)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout
        folder, number = tests.stdout.readline().split()
        assert alive(int(number))
        tests.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while alive(int(number)) or Path(folder).exists():
        assert time.monotonic() < end, "the server is still there"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_neither_answers_nor_closes_is_given_up(postgres: Postgres) -> None:
    url = postgres.blank()
    with Store.open(url) as store:
        store.add_prompts([Prompt("p", (Message("user", "?"),))])
    wire = Wire(postgres.folder / ".s.PGSQL.5432")
    far = f"postgresql+psycopg://accord@127.0.0.1:{wire.port}/{url.split('/')[3].split('?')[0]}?connect_timeout=2"
    try:
        with Store.open(far, seconds=0.5) as store:
            assert store.counts()["prompts"] == 1
            wire.cut.set()
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"did not answer within 0\.5 seconds"):
                store.counts()
            with pytest.raises(StoreError), store.write() as connection:
                connection.execute(text("SELECT 1"))
            assert time.monotonic() - began < 8, "each gives up by itself, a new connection too"
            wire.cut.clear()
            assert store.counts()["prompts"] == 1, "and it comes back by itself"
    finally:
        wire.close()


def test_the_api_gives_such_a_server_up_too(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.blank()
    wire = Wire(postgres.folder / ".s.PGSQL.5432")
    far = f"postgresql+psycopg://accord@127.0.0.1:{wire.port}/{url.split('/')[3].split('?')[0]}?connect_timeout=2"
    project = Project.create(tmp_path / "p", settings={"store": {"url": far}})
    monkeypatch.setattr(serve, "ANSWER_SECONDS", 0.5)
    desk = serve.desk_of(project, ServeConfig())
    try:
        desk.store().counts()
        wire.cut.set()
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"did not answer within 0\.5 seconds"):
            desk.store().counts()
        assert time.monotonic() - began < 20
    finally:
        wire.close()
        desk.close()
