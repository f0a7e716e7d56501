"""The sandbox: each thing that an untrusted program tries, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accord.runtime import sandbox
from accord.runtime.sandbox import Limits

QUICK = Limits(seconds=1)


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("import sys; sys.exit(0)", "failed"),
        ("import os; os._exit(0)", "failed"),
        ("while True: pass", "time"),
        ("import signal, time; signal.setitimer(signal.ITIMER_REAL, 0); time.sleep(60)", "time"),
        ("x = bytearray(10**10)", "memory"),
        ("print('a' * 10**8)", "output"),
        ("import ctypes; ctypes.string_at(0)", "killed"),
        ("import os; os.kill(os.getppid(), 9)", "failed"),
        ("import os; os.fork()", "failed"),
        ("import subprocess; subprocess.run(['true'])", "failed"),
        ("import os; os.execv('/bin/true', ['true'])", "failed"),
    ],
)
def test_what_a_program_may_not_do_ends_it(program: str, outcome: str) -> None:
    assert sandbox.run(program, limits=QUICK).outcome == outcome


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_there_is_no_network(family: str) -> None:
    ran = sandbox.run(f"import socket\nsocket.socket(socket.{family})", limits=QUICK)
    assert ran.outcome == "failed"
    assert "PermissionError" in ran.errors


def test_what_a_solution_needs_works() -> None:
    program = "import threading, asyncio, random, math, re, json, collections\n"
    program += "t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\nasyncio.run(asyncio.sleep(0))\n"
    program += "open('note', 'w').write('hi'); print(open('note').read(), input())"
    ran = sandbox.run(program, given="there\n", limits=Limits(seconds=5))
    assert (ran.outcome, ran.output) == ("done", "thread\nhi there\n")


def test_nothing_of_the_runs_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in sandbox.run("import os; print(dict(os.environ))", limits=QUICK).output


def test_files_outside_are_neither_read_nor_written_where_landlock_is_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame")
    read = sandbox.run(f"print(open({str(tmp_path / 'secret')!r}).read())", limits=QUICK)
    write = sandbox.run(f"open({str(tmp_path / 'new')!r}, 'w').write('x')", limits=QUICK)
    if sandbox.confines_files():
        assert (read.outcome, write.outcome) == ("failed", "failed")
        assert not (tmp_path / "new").exists()
    else:
        assert read.output == "sesame\n"


def test_it_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox.run("print(1)", limits=QUICK)
    assert os.listdir(tmp_path) == []
