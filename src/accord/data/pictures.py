"""Pictures from outside as they are stored: upright, in 8 bits, without metadata, as PNG or JPEG, whatever they were and were called.

A picture is a program of sorts for its decoder, so that Pillow reads it in the sandbox, in a process that is kept for the next one. A JPEG
that is upright and in RGB keeps its compressed pixels, so that nothing is lost; all others are written anew. The same picture gives the
same bytes, and so does what is stored when it comes in again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shutil
import tempfile
import weakref
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from accord.data import sound
from accord.errors import InputError
from accord.records import Media, MediaFile
from accord.runtime import media_files, sandbox

MOST_BYTES = 20_000_000
"""Largest picture, as it comes and as it is stored."""
MOST_PIXELS = 40_000_000
MOST_SIDE = 16_000
"""Most pixels of a picture in all and on a side: more than a model takes, and than a page shows."""
MOST_AT_ONCE = 16
"""Pictures that a model is shown at once: those of a request, or of a conversation."""
LIMITS = sandbox.Limits(seconds=30.0, memory_mb=1024, file_mb=40)
"""What the reading of one picture may take."""
Problem = Literal["kind", "empty", "large", "pixels", "animated", "broken", "slow", "heavy"]
PROBLEMS: dict[Problem, tuple[str, str]] = {
    "kind": ("it is no PNG, JPEG, WebP or GIF picture", "convert it"),
    "empty": ("it is empty", "give the picture's file"),
    "large": ("it has more than 20 MB", "save it smaller"),
    "pixels": (
        f"it has {{width:,}} x {{height:,}} pixels; at most {MOST_SIDE:,} a side and {MOST_PIXELS // 1_000_000} million in all are taken",
        "scale it down",
    ),
    "animated": ("it is animated, with {frames} pictures", "save the one that counts as a picture of its own"),
    "broken": ("it is damaged, or cut off", "take it from its source again"),
    "slow": ("reading it takes too long", "save it anew in another program"),
    "heavy": ("it takes too much memory, or more than 20 MB once it is stored", "scale it down"),
}
"""What is wrong with a picture, and the way out."""
MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,", re.ASCII | re.IGNORECASE)


class Unreadable(InputError):
    """A picture that is refused, with the key of its problem."""

    def __init__(self, problem: Problem, where: str, **figures: int) -> None:
        self.problem: Problem = problem
        what, hint = PROBLEMS[problem]
        super().__init__(f"the picture cannot be taken: {what.format(**figures)}", where=where, hint=hint)


def read(content: bytes, where: str = "") -> MediaFile:
    """Return a picture as it is stored. What its file was called does not matter.

    Raises:
        Unreadable: it is none, animated, damaged, or larger than the bounds.
    """
    if not content:
        raise Unreadable("empty", where)
    if len(content) > MOST_BYTES:
        raise Unreadable("large", where)
    given = f"{MOST_BYTES} {MOST_PIXELS} {MOST_SIDE} {base64.b64encode(content).decode('ascii')}"
    ran = _reader().ask(given)
    if ran.outcome != "done":
        raise Unreadable("slow" if ran.outcome == "time" else "heavy", where)
    try:
        said: Any = json.loads(ran.output)
        problem = said.get("problem")
        if problem in PROBLEMS:
            raise Unreadable(problem, where, **{name: int(said[name]) for name in ("width", "height", "frames") if name in said})
        found = MediaFile("image", said["mime"], base64.b64decode(said["content"], validate=True), int(said["width"]), int(said["height"]))
    except Unreadable:
        raise
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
        raise Unreadable("broken", where) from error
    sound = found.mime in MAGIC and found.content.startswith(MAGIC[found.mime]) and len(found.content) <= MOST_BYTES
    if not sound or not 0 < found.width <= MOST_SIDE or not 0 < found.height <= MOST_SIDE:
        raise Unreadable("broken", where)
    return found


def in_data_url(url: str, where: str = "") -> bytes:
    """Return the bytes in a data URL.

    Raises:
        InputError: it is none in base 64.
    """
    match = _DATA.match(url[:200])
    if match is None:
        raise InputError("not a data URL in base 64", where=where, hint="write data:image/png;base64,...")
    if (len(url) - match.end()) * 3 // 4 > MOST_BYTES + 3:
        raise Unreadable("large", where)
    try:
        return base64.b64decode(re.sub(r"\s+", "", url[match.end() :]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the data URL holds no base 64", where=where, hint="encode the picture's bytes again") from error


class Gathered:
    """Pictures and recordings that are read in for an import, in files of a folder: a picture is read once, however many rows name it.

    Args:
        folder: where the files go, which the caller removes; when None, a folder that goes with this object.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._given = folder
        self._digests = dict[str, str]()
        """What is stored for each file that came, both by their digests."""
        self._sizes = dict[str, tuple[int, int]]()

    @cached_property
    def folder(self) -> Path:
        """Where the files are."""
        if self._given is not None:
            return self._given
        made = tempfile.mkdtemp(prefix="accord-pictures-")
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    def take(self, content: bytes, where: str, alt: str = "") -> Media:
        """Read a picture and return how a message names it. Raises Unreadable."""
        source = hashlib.sha256(content).hexdigest()
        if source not in self._digests:
            file = read(content, where)
            media_files.keep(self.folder, file)
            self._digests[source] = file.digest
            self._sizes[file.digest] = (file.width, file.height)
        return Media("image", self._digests[source], alt)

    def take_sound(self, content: bytes, where: str, said: str = "") -> Media:
        """Keep a recording, with what is said in it, and return how a message names it. Raises InputError."""
        file = sound.read(content, where)
        media_files.keep(self.folder, file)
        self._sizes[file.digest] = (0, 0)
        return file.named(said)

    def file(self, digest: str) -> MediaFile | None:
        """Return a picture or a recording that was taken; None when none has this digest."""
        path = media_files.path_in(self.folder, digest) if digest in self._sizes else None
        if path is None:
            return None
        mime = media_files.TYPES[path.suffix]
        return MediaFile("audio" if mime.startswith("audio/") else "image", mime, path.read_bytes(), *self._sizes[digest])


@cache
def _reader() -> sandbox.Worker:
    program = Path(__file__).with_name("picture_program.py").read_text("utf-8")
    return sandbox.Worker(program, limits=LIMITS)
