"""Atomic writes: a temporary name in the same folder, fsync, rename. A full or read-only disk becomes a one-line error."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from accord.errors import RunError

TEMPORARY = ".tmp-"
"""Prefix of every unfinished file or folder of ours."""
ABANDONED_SECONDS = 86_400.0
"""After this time, what another machine has begun and not touched since is no longer waited for."""
PENDING = ".pending"
"""Ending of the mark beside a file that belongs to an import which has not ended."""
OWNER_ONLY = 0o600
"""The rights of a file that only its owner may read."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")
_READ_ONLY_WORDS = ("Read-only file system", "readonly database")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def temporary(path: Path) -> Path:
    """Return the name under which this process prepares ``path``. It lies in the same folder, so a rename never
    crosses file systems."""
    return path.with_name(f"{TEMPORARY}{own_mark()}-{path.name}")


def own_mark() -> str:
    """Return the mark of this process in the names of what it prepares. Two containers on one volume have processes of one number."""
    return f"{hashlib.sha256(machine().encode()).hexdigest()[:8]}.{os.getpid()}"


def machine() -> str:
    """Return what tells this machine since its start, and this container, from every other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def write_atomic(path: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Replace a file's content atomically; the old content stays intact until then.

    Args:
        mode: rights of the new file; the process's usual ones when None.

    Raises:
        RunError: the disk is full or read-only.
    """
    rights = 0o666 if mode is None else mode
    with disk_errors(path), replacing(path) as unfinished, open(unfinished, "wb", opener=partial(os.open, mode=rights)) as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def append(path: Path, text: str) -> None:
    """Append text to a file and flush it to the operating system at once. Raises RunError when the disk is full."""
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary name for a file. It replaces ``path`` when the block succeeds and is removed when it fails.

    The block fsyncs what it writes; the rename is made durable here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary(path)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def new_folder(final: Path) -> Generator[Path]:
    """Yield an empty folder that becomes ``final`` when the block succeeds; until then an older ``final`` stays
    as it was.

    Raises:
        RunError: the disk is full.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    clean(final.parent, final.name)
    unfinished = temporary(final)
    unfinished.mkdir()
    try:
        with disk_errors(final):
            yield unfinished
            replace_folder(unfinished, final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def replace_folder(tmp: Path, final: Path) -> None:
    """Replace a folder by a finished one on the same file system, and remove the old one.

    On Linux the two are exchanged in one system call. Elsewhere there is a moment with no ``final``: a kill at
    that moment leaves the old folder under its temporary name.
    """
    for path in sorted(tmp.rglob("*")):
        sync(path)
    sync(tmp)
    if not final.exists():
        tmp.rename(final)
    elif not _exchange(tmp, final):
        aside = temporary(final).with_suffix(".old")
        final.rename(aside)
        tmp.rename(final)
        aside.rename(tmp)
    sync(final.parent)
    shutil.rmtree(tmp, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically. Return False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)) == 0


def clean(folder: Path, name: str = "") -> None:
    """Remove the unfinished files of killed processes from a folder (only those for ``name``, if given)."""
    for path in folder.glob(f"{TEMPORARY}*"):
        made_by, _, target = path.name.removeprefix(TEMPORARY).partition("-")
        if (name and target != name) or (made_by != own_mark() and _alive(made_by, path)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _alive(made_by: str, path: Path) -> bool:
    """Return whether the process that prepares a file may be alive. One of another machine is, until its file is a day old."""
    place, _, pid = made_by.rpartition(".")
    if place and place != own_mark().partition(".")[0]:
        with suppress(OSError):
            return time.time() - path.lstat().st_mtime < ABANDONED_SECONDS
        return True
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    return True


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to disk so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn a full or read-only disk, however a library reports it, into a RunError. Every other error passes."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        if _says(error, (errno.EROFS,), _READ_ONLY_WORDS):
            hint = "make it writable, or work on a copy elsewhere; then run the same command again"
            raise RunError("the disk is read-only; the previous content is untouched", where=str(path), hint=hint) from error
        if not _says(error, _FULL, _FULL_WORDS):
            raise
        hint = "free some space, then run the same command again; continue a training run with --resume"
        raise RunError("the disk is full; the previous content is untouched", where=str(path), hint=hint) from error


def _says(error: BaseException | None, numbers: tuple[int, ...], words: tuple[str, ...]) -> bool:
    """Return whether the error, or one of its causes, has one of the system's numbers or says one of the words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
