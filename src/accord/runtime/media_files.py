"""Pictures and recordings as files: ``media/DIGEST.png`` in a run's folder, so that a training reads them without the database."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from accord.errors import InputError
from accord.records import MediaFile
from accord.runtime.files import write_atomic

FOLDER = "media"
"""The folder of such files, beside the snapshots that name them."""
ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/webm": ".webm",
    "audio/mp4": ".m4a",
    "audio/flac": ".flac",
}
"""The ending of a file's name for each type that is stored."""
TYPES = {ending: mime for mime, ending in ENDINGS.items()}


def file_name(digest: str, mime: str) -> str:
    """Return the name of a picture's or a recording's file."""
    return f"{digest}{ENDINGS[mime]}"


def keep(folder: Path, file: MediaFile) -> Path:
    """Write a file into a folder unless it is there, and return its path."""
    path = folder / file_name(file.digest, file.mime)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, file.content)
    return path


def data_url(file: MediaFile) -> str:
    """Return a picture or a recording as a data URL."""
    return f"data:{file.mime};base64,{base64.b64encode(file.content).decode('ascii')}"


def path_in(folder: Path, digest: str) -> Path | None:
    """Return the file of a digest in a folder; None where there is none."""
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        return None
    paths = (folder / f"{digest}{ending}" for ending in TYPES)
    return next((path for path in paths if path.is_file()), None)


def read_kept(folder: Path, digest: str) -> bytes:
    """Return the bytes of a picture or a recording that a run keeps.

    Args:
        folder: the run's ``media/``.

    Raises:
        InputError: the file is missing, or its bytes are not those of its digest.
    """
    path = path_in(folder, digest)
    hint = "restore the file, or start a new run"
    if path is None:
        raise InputError(f"the file of the picture or recording {digest[:12]} is missing", where=str(folder), hint=hint)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError("the file has changed since it was written", where=str(path), hint=hint)
    return content
