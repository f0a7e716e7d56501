"""The owner of a run's folder: the one process that may write there, in owner.json while it lives.

On the machine of the owner its process tells whether it lives: the process number, with the moment at which it began, since numbers are
given anew. From another machine, container or boot only its heartbeat can be seen: the owner touches the file every few seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from accord.errors import RunError
from accord.runtime.files import machine, write_atomic

OWNER = "owner.json"
BEAT = 5.0
"""Seconds between two heartbeats."""
SILENT = 60.0
"""Seconds without a heartbeat after which an owner on another machine counts as dead."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""How a file system says that it has no locks. Then two starts within the same millisecond are not told apart."""


@dataclass(frozen=True)
class Owner:
    """A process, and since when it has owned the folder."""

    host: str
    machine: str
    """The boot of the machine and the space of its process numbers: two that are equal see each other's processes."""
    pid: int
    began: str
    """When the process began, in the kernel's count; empty where the system does not tell."""
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def is_same(self, other: Owner) -> bool:
        """Whether both are the same process."""
        return (self.machine, self.pid, self.began) == (other.machine, other.pid, other.began)


def claim(folder: Path) -> Owner | None:
    """Make this process the owner of a folder, and return the dead owner that it takes the folder from, if there is one.

    An owner on another machine whose last heartbeat is recent is watched until the next one, or until it counts as dead.

    Raises:
        RunError: another process that lives owns the folder; the error says which, and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    me = this_process()
    while True:
        with locked(folder / OWNER) as descriptor:
            owner = _read(descriptor)
            if owner is not None and owner.is_same(me):
                return None
            seen = os.fstat(descriptor).st_mtime_ns
            if owner is None or not _lives(owner, me, folder, seen):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, (json.dumps(asdict(me), indent=2) + "\n").encode(), 0)
                os.fsync(descriptor)
                _HEART.keep(folder)
                return owner
        if owner.machine == me.machine or _beats(folder, seen):
            hint = "wait until it ends, or train under another --name"
            raise RunError(f"another process trains in this folder: {owner}", where=str(folder), hint=hint)


def release(folder: Path) -> None:
    """Give a folder up, if this process owns it."""
    if not _HEART.forget(folder):
        return
    with contextlib.suppress(FileNotFoundError), locked(folder / OWNER, create=False) as descriptor:
        owner = _read(descriptor)
        if owner is not None and owner.is_same(this_process()):
            (folder / OWNER).unlink(missing_ok=True)


def owns(folder: Path) -> bool:
    """Whether this process claimed a folder, and has not given it up."""
    return _HEART.keeps(folder)


def check(folder: Path) -> None:
    """Make sure that a folder which this process claimed is still its own.

    Raises:
        RunError: another process took it over, as when this one was held up for longer than an owner may be silent.
    """
    if not owns(folder):
        return
    try:
        owner = _parsed((folder / OWNER).read_bytes())
    except FileNotFoundError:
        owner = None
    if owner is None or not owner.is_same(this_process()):
        _HEART.forget(folder)
        what = f"this run was taken over by {owner}" if owner else f"{OWNER} was removed, so another process may train here"
        raise RunError(what, where=str(folder), hint="this process stops; let the other one go on, or stop it and continue with --resume")


def process(pid: int) -> Owner:
    """Return a process of this machine as the owner of something, from now on."""
    return dataclasses.replace(this_process(), pid=pid, began=began(pid))


def write(file: Path, owner: Owner) -> None:
    """Write a process into a file, in the form of owner.json."""
    write_atomic(file, json.dumps(asdict(owner), indent=2) + "\n")


def living(file: Path) -> Owner | None:
    """Return the process that a file names, if it lives. One on another machine does while it touches the file now and then."""
    try:
        owner, seen = _parsed(file.read_bytes()), file.stat().st_mtime_ns
    except OSError:
        return None
    return owner if owner is not None and _lives(owner, this_process(), file.parent, seen) else None


def is_here(owner: Owner) -> bool:
    """Whether a process is one of this machine, which can be sent a signal."""
    return owner.machine == machine()


@contextmanager
def locked(path: Path, *, create: bool = True) -> Generator[int]:
    """Open a file and hold its lock for the block. The file is the one of that name: one that was removed meanwhile is opened anew."""
    while True:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            if _is_at(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there, held = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _read(descriptor: int) -> Owner | None:
    return _parsed(os.pread(descriptor, 1 << 16, 0))


def _parsed(content: bytes) -> Owner | None:
    """Return the owner; None for an empty file, or one that was cut: its writer died before it owned the folder."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _lives(owner: Owner, me: Owner, folder: Path, beat: int) -> bool:
    """Whether an owner lives, as far as is known at once: one elsewhere does until it has been silent for long enough."""
    if owner.machine == me.machine:
        return _runs(owner.pid) and began(owner.pid) == owner.began
    return (_now(folder) - beat) / 1e9 < SILENT


def _beats(folder: Path, seen: int) -> bool:
    """Watch an owner on another machine: return True at its next heartbeat, and False once it has been silent for long enough."""
    while (_now(folder) - seen) / 1e9 < SILENT:
        try:
            with (folder / OWNER).open("rb") as file:  # opened anew: a network file system asks its server then
                if os.fstat(file.fileno()).st_mtime_ns != seen:
                    return True
        except FileNotFoundError:
            return False  # given up meanwhile
        time.sleep(min(BEAT, SILENT) / 10)
    return False


def _now(folder: Path) -> int:
    """Return the time by the clock of the folder's file system, in nanoseconds: clocks of two machines differ."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.utime(file.fileno())
        return os.fstat(file.fileno()).st_mtime_ns


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _stat(pid)[:1] not in (["Z"], ["X"])  # dead, and its parent has not asked yet


def began(pid: int) -> str:
    """Return when a process began, in the kernel's count since the boot; empty where the system does not tell."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _stat(pid: int) -> list[str]:
    """Return what /proc says of a process, from its state on: the name before it may hold spaces. Empty where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def this_process() -> Owner:
    """Return this process as an owner that claims a folder now."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Owner(platform.node(), machine(), os.getpid(), began(os.getpid()), now)


class _Heart:
    """One thread that touches the owner's file of each folder that this process owns."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Own nothing, as a fork of the owner does."""
        self.folders, self.lock, self.beats = set[Path](), threading.Lock(), False

    def keep(self, folder: Path) -> None:
        with self.lock:
            self.folders.add(folder.resolve())
            if not self.beats:
                self.beats = True
                threading.Thread(target=self._beat, name="accord-owner", daemon=True).start()

    def forget(self, folder: Path) -> bool:
        """Stop the heartbeat of a folder. Return whether this process owned it."""
        with self.lock:
            owned = folder.resolve() in self.folders
            self.folders.discard(folder.resolve())
            return owned

    def keeps(self, folder: Path) -> bool:
        return folder.resolve() in self.folders

    def release_all(self) -> None:
        for folder in list(self.folders):
            release(folder)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            with self.lock:
                if not self.folders:
                    self.beats = False
                    return
                for folder in self.folders:
                    with contextlib.suppress(OSError):  # removed, or a file system that is away for a moment: the next beat tells
                        os.utime(folder / OWNER)


_HEART = _Heart()
atexit.register(_HEART.release_all)
os.register_at_fork(after_in_child=_HEART.reset)
