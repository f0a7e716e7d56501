"""Files that a lead uploads: streamed to the project's folder uploads/, kept until they are imported, and removed when nobody does.

uploads/ID/NAME is a file that arrived whole; it gets this name when its last byte is on the disk. A connection that breaks leaves nothing.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anyio import to_thread
from starlette.requests import Request

from accord.errors import RunError
from accord.feedback.refusals import Refused
from accord.feedback.web.multipart import LONGEST_HEAD, blocks, boundary, file_name, safe_name
from accord.runtime.files import TEMPORARY, disk_errors, sync
from accord.runtime.project import Project

FOLDER = "uploads"
KEPT = 24 * 3600
"""Seconds after which a file that nobody imported is removed."""
MOST = 20
"""Files that wait at a time."""
RESERVE = 500_000_000
"""Bytes of the disk that an upload leaves free, for the project's database and runs."""
LOOK = 64 << 20
"""Bytes between two looks at the disk's free space."""
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that waits to be imported."""

    id: str
    path: Path
    size: int
    at: float

    @property
    def name(self) -> str:
        return self.path.name


def waiting(project: Project) -> list[Upload]:
    """Return the files that wait, the newest first, after removing those that waited too long."""
    sweep(project)
    found = [_upload(folder) for folder in _folder(project).glob("*") if _ID.fullmatch(folder.name)]
    return sorted((upload for upload in found if upload), key=lambda upload: -upload.at)


def opened(project: Project, id: str) -> Upload:
    """Return a file that waits. Raises Refused (404) when there is none of this id."""
    found = _upload(_folder(project) / id) if _ID.fullmatch(id) else None
    if found is None:
        raise Refused("no_such_upload", 404, id)
    return found


def discard(project: Project, id: str) -> None:
    """Remove a file that waits."""
    if _ID.fullmatch(id):
        shutil.rmtree(_folder(project) / id, ignore_errors=True)


def sweep(project: Project, *, now: float | None = None) -> None:
    """Remove the files that waited too long, and what is left of uploads of a process that was killed."""
    late = (time.time() if now is None else now) - KEPT
    for folder in _folder(project).glob("*"):
        with suppress(OSError):
            if folder.stat().st_mtime < late:
                shutil.rmtree(folder, ignore_errors=True)


async def receive(project: Project, request: Request, *, name: str) -> Upload:
    """Write the body of a request, or the file in its form, to the project's disk as it arrives.

    Args:
        name: the file's name, for a body that is the file itself; a form says it.

    Raises:
        Refused: too many files wait (429), the form holds no file (422), or the sender went away or waited too long (400).
        RunError: the disk is full, or would be.
    """
    if len(await to_thread.run_sync(waiting, project)) >= MOST:
        raise Refused("too_many_uploads", 429)
    announced = int(request.headers.get("content-length", "0"))
    await to_thread.run_sync(_look_at_disk, project, announced)
    folder = _folder(project) / secrets.token_hex(8)
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    try:
        return await _written(project, folder, request, FormFile(mark) if (mark := boundary(request)) else Plain(name))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class Plain:
    """A body that is the file itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the file's next bytes."""
        yield block

    def end(self) -> None:
        """Check that the body is whole."""


class FormFile:
    """The one file of a form (multipart/form-data, RFC 7578), read as the body arrives; other fields are not kept.

    Args:
        boundary: what stands between the parts of the form.
    """

    def __init__(self, boundary: bytes) -> None:
        self.name = ""
        self._mark, self._held = b"\r\n--" + boundary, b"\r\n"  # so that the first part's mark is like every other
        self._place: Literal["between", "file", "field"] = "between"

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the file's next bytes. Raises Refused (400) for what is no form with one file."""
        self._held += block
        while True:
            if self._place == "between" and not self._enter():
                return
            content, found, rest = self._held.partition(self._mark)
            keep = 0 if found else len(self._mark) - 1  # the mark may go on in the next block
            ready = content if found else content[: max(len(content) - keep, 0)]
            if self._place == "file" and ready:
                yield ready
            if not found:
                self._held = self._held[len(ready) :]
                return
            self._place, self._held = "between", self._mark + rest

    def end(self) -> None:
        """Check that the form is whole. Raises Refused (400, or 422 when it has no file)."""
        if self._place != "between" or not self._held.startswith(self._mark + b"--"):
            raise Refused("malformed", 400, "the form ended early")
        if not self.name:
            raise Refused("no_file")

    def _enter(self) -> bool:
        """Read a part's head. Return whether it is all there."""
        _, found, rest = self._held.partition(self._mark)
        head, blank, content = rest.partition(b"\r\n\r\n")
        if not found or not blank:
            if len(self._held) > LONGEST_HEAD:
                raise Refused("malformed", 400, "the head of a form's part is too long")
            return False
        name = file_name(head)
        self._place, self._held = ("file" if name else "field"), content
        if name and self.name:
            raise Refused("malformed", 400, "more than one file")
        if name:
            self.name = name
        return True


async def _written(project: Project, folder: Path, request: Request, body: Plain | FormFile) -> Upload:
    unfinished, size, looked = folder / f"{TEMPORARY}file", 0, 0
    with disk_errors(unfinished), unfinished.open("wb") as file:
        async for block in blocks(request):
            for part in body.feed(block):
                await to_thread.run_sync(file.write, part)
                size += len(part)
            if size - looked > LOOK:
                await to_thread.run_sync(_look_at_disk, project, 0)
                looked = size
    body.end()
    if not size:
        raise Refused("no_file")
    await to_thread.run_sync(sync, unfinished)
    path = unfinished.rename(folder / safe_name(body.name))
    return Upload(folder.name, path, size, path.stat().st_mtime)


def _look_at_disk(project: Project, wanted: int) -> None:
    free = shutil.disk_usage(project.path).free
    if free - wanted < RESERVE:
        what = f"the file would leave {max(free - wanted, 0) / 1e6:,.0f} MB of the disk free, and {RESERVE / 1e6:,.0f} MB are kept"
        raise RunError(what, where=str(_folder(project)), hint="free some space, or import the file with `accord import`")


def _folder(project: Project) -> Path:
    return project.path / FOLDER


def _upload(folder: Path) -> Upload | None:
    """Return the file in an upload's folder; None while it arrives."""
    with suppress(OSError):
        for path in folder.iterdir():
            if not path.name.startswith(TEMPORARY):
                seen = path.stat()
                return Upload(folder.name, path, seen.st_size, seen.st_mtime)
    return None
