"""What only PostgreSQL could get wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accord.errors import StoreError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response

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
