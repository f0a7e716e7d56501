"""The sandbox: each thing that an untrusted program tries, and how it ends."""

from __future__ import annotations

import json
import os
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from accord.runtime import confined, sandbox
from accord.runtime.sandbox import Limits, Worker

QUICK = Limits(seconds=1)


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("import sys; sys.exit(0)", "left"),
        ("import os; os._exit(0)", "left"),
        ("import sys; sys.exit(3)", "failed"),
        ("while True: pass", "time"),
        ("import signal, time; signal.setitimer(signal.ITIMER_REAL, 0); time.sleep(60)", "time"),
        ("x = bytearray(10**10)", "memory"),
        ("print('a' * 10**7)", "output"),
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


TRIED = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)

def error(number, *arguments):
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(number, *arguments) < 0 else 0

"""
"""Defines ``error``, which makes a system call by its number and returns its error's number, 0 where it did what was asked."""


def errors(calls: list[str], **names: object) -> list[int]:
    """Return how system calls end in the sandbox, each written as the arguments of ``error``."""
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    ran = sandbox.run(TRIED + given + f"print([{', '.join(f'error({call})' for call in calls)}])", limits=Limits(seconds=5))
    assert ran.outcome == "done", ran.errors
    return json.loads(ran.output)


@pytest.mark.parametrize("owned", ["fcntl.fcntl(reads, 8, PID)", "fcntl.fcntl(reads, 15, struct.pack('ii', 1, PID))", "ioctl(0x8901)"])
def test_a_pipe_that_is_ready_signals_nobody(owned: str) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        program = f"""
import fcntl, os, socket, struct
PID = {victim.pid}
reads, writes = os.pipe()
one, other = socket.socketpair()
def ioctl(number):
    global reads, writes
    reads, writes = one.fileno(), other.fileno()
    fcntl.ioctl(reads, number, struct.pack("i", PID))
for step in ({owned!r}, "fcntl.fcntl(reads, 10, 9)", "fcntl.fcntl(reads, 4, 0o20000)", "os.write(writes, b'x')"):
    try:
        eval(step)
        print("done:", step)
    except OSError as error:
        print(error.errno)
"""
        steps = sandbox.run(program, limits=Limits(seconds=5)).output.splitlines()
        with pytest.raises(subprocess.TimeoutExpired):
            victim.wait(0.3)
        assert steps[0] in ("1", "25")
        assert steps[1] == "1"
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()


def test_metadata_of_files_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("sesame")
    os.chmod(path, 0o640)
    before = path.stat()
    calls = ["90, path, 0o777", "92, path, 1, 1", "94, path, 1, 1", "132, path, None", "235, path, None", "76, path, 0"]
    calls += ["260, -100, path, 1, 1, 0", "268, -100, path, 0o777", "261, -100, path, None", "280, -100, path, None, 0"]
    calls += ["188, path, b'user.a', b'b', 1, 0", "189, path, b'user.a', b'b', 1, 0", "197, path, b'user.a'"]
    if platform.machine() != "x86_64":
        calls = ["45, path, 0", "54, -100, path, 1, 1, 0", "53, -100, path, 0o777", "88, -100, path, None, 0"]
    assert errors(calls, path=os.fsencode(path)) == [1] * len(calls)
    if platform.machine() == "x86_64":
        assert errors(["452, -100, path, 0o777, 0", "463, -100, path, 0, b'user.a', None, 0"], path=os.fsencode(path)) == [38, 38]
    after = path.stat()
    names = ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns", "st_size")
    assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]


def test_what_can_be_read_cannot_be_emptied() -> None:
    program = "import os\nopen('note', 'w').write('hi')\ntry: os.open('note', os.O_RDONLY | os.O_TRUNC)\n"
    program += "except PermissionError: print(open('note').read())\n"
    program += "with open('note', 'r+') as file: file.truncate(1)\nprint(open('note').read())"
    assert sandbox.run(program, limits=Limits(seconds=5)).output == "hi\nh\n"


def test_no_memory_outlives_a_program() -> None:
    calls = ["29, 0, 1 << 20, 0o1600", "64, 0, 1, 0o1600", "68, 0, 0o1600", "240, b'accord', 0o102, 0o600, None", "319, b'a', 0"]
    if platform.machine() != "x86_64":
        calls = ["194, 0, 1 << 20, 0o1600", "190, 0, 1, 0o1600", "186, 0, 0o1600", "180, b'accord', 0o102, 0o600, None", "279, b'a', 0"]
    assert errors(calls) == [1] * len(calls)


def test_root_makes_no_device_and_keeps_no_capability() -> None:
    program = "import os\ntry: os.mknod('null', 0o20600, os.makedev(1, 3))\nexcept PermissionError: print('refused')\n"
    assert sandbox.run(program, limits=Limits(seconds=5)).output == "refused\n"
    held = "import ctypes, struct\nheader, data = struct.pack('Ii', 0x20080522, 0), ctypes.create_string_buffer(24)\n"
    held += "print(ctypes.CDLL(None).capget(header, data), data.raw.strip(b'\\0'))"
    assert sandbox.run(held, limits=Limits(seconds=5)).output == "0 b''\n"


def test_every_call_of_the_table_is_refused() -> None:
    """With arguments that none of them takes, so that a call which is let through does nothing."""
    numbers = confined.refused(platform.machine())
    assert len(numbers) > 100 or platform.machine() != "x86_64"
    got = errors([f"{number}, -1, -1, -1, -1, -1, -1" for number in numbers.values()])
    assert {name: error for name, error in zip(numbers, got, strict=True) if error != 1} == {}


def ended(machine: str, number: int, *arguments: int) -> int:
    """Return what a processor's seccomp program answers, by an interpreter of its few instructions."""
    words = list(struct.iter_unpack("HBBI", confined._filter(machine)))  # pyright: ignore[reportPrivateUsage]
    audit = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    held = at = 0
    while True:
        code, jump, other, value = words[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            held &= value
        elif code == 0x06:
            return value
        else:
            at += jump if {0x15: held == value, 0x25: held > value, 0x45: bool(held & value)}[code] else other


@pytest.mark.parametrize(("machine", "fcntl", "ioctl", "openat", "clone"), [("x86_64", 72, 16, 257, 56), ("aarch64", 25, 29, 56, 220)])
def test_calls_are_told_apart_by_their_arguments(machine: str, fcntl: int, ioctl: int, openat: int, clone: int) -> None:
    allow, refuse, no_tty, unknown = 0x7FFF0000, 0x00050001, 0x00050019, 0x00050026
    assert {command: ended(machine, fcntl, 3, command) for command in (0, 2, 4, 7, 8, 10, 15, 1024, 1026, 1030)} == {
        **dict.fromkeys((0, 2, 4, 7, 1030), allow),
        **dict.fromkeys((8, 10, 15, 1024, 1026), refuse),
    }
    asked = (0x5401, 0x5421, 0x8901, 0x8902, 0x5412, 0x40086602)
    assert [ended(machine, ioctl, 3, number) for number in asked] == [allow, allow, no_tty, no_tty, no_tty, no_tty]
    assert ended(machine, fcntl, 3, 8 | 1 << 40) == refuse
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC, 3 | os.O_TRUNC)
    assert [ended(machine, openat, 0, 0, each) for each in flags] == [allow, allow, allow, refuse, refuse]
    assert [ended(machine, clone, each) for each in (0x3D0F00, 0x11, 0x10000000)] == [allow, refuse, refuse]
    assert [ended(machine, number) for number in (435, 437, 452, 463, 469, 0x40000000, 0xFFFFFFFF)] == [unknown] * 7
    assert [ended(machine, number) for number in (63, 222)] == [allow] * 2
    assert {ended(machine, number) for number in confined.refused(machine).values()} == {refuse}


def test_an_output_is_kept_whole() -> None:
    ran = sandbox.run("print('a' * 500_000)", limits=Limits(seconds=5))
    assert (ran.outcome, len(ran.output)) == ("done", 500_001)


def test_a_worker_answers_line_by_line_and_another_takes_the_place_of_one_that_died() -> None:
    program = "import os, sys\nfor line in sys.stdin:\n    print(os._exit(1) if line == 'die\\n' else line.strip() * 2, flush=True)\n"
    worker = Worker(program, limits=Limits(seconds=60), lines=2)
    try:
        assert [worker.ask(word).output for word in ("a", "b", "c")] == ["aa\n", "bb\n", "cc\n"]
        assert worker.ask("die").outcome == "killed"
        assert worker.ask("d").output == "dd\n"
    finally:
        worker.close()
