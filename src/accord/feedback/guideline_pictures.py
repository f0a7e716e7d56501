"""Pictures in guidelines: files beside the text, stored by their digests with the version that shows them.

A lead writes ``![what it shows](cat.png)``. The version of a guideline covers the bytes of its pictures, so a picture that is replaced
makes a new version, and each version that was in force keeps its own. Addresses are not fetched: they are shown as text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from sqlalchemy import Connection, select

from accord.errors import InputError
from accord.feedback import schema
from accord.feedback.inserts import add_media, note_uses
from accord.records import Guideline, MediaFile

Reader = Callable[[bytes, str], MediaFile]
"""Function from a picture's bytes, and where they stand, to the picture as it is stored. It raises InputError for what is none."""
USE = "guideline"
"""The kind of their rows in ``media_uses``, beside the set, the version and the file's name."""
MOST = 20
"""Largest number of pictures in a guideline."""
LARGEST = 20_000_000
"""Bytes of the largest file that is looked into."""
LONGEST_NAME = 200
HINT = "put the file beside the guideline, or take the picture out of its text"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)


def name_of(source: str) -> str:
    """Return the file's name in an image of Markdown; empty for an address."""
    return "" if _ADDRESS.match(source) else unquote(source)


@lru_cache(maxsize=64)
def names_in(text: str) -> tuple[str, ...]:
    """Return the names of files that a guideline shows as pictures, each once, in their order."""
    if "![" not in text:
        return ()
    found, waiting = list[str](), list[Token](_PARSER.parse(text))
    while waiting:
        token = waiting.pop(0)
        waiting[:0] = token.children or []
        if token.type == "image":
            found.append(name_of(str(token.attrGet("src") or "")))
    return tuple(dict.fromkeys(name for name in found if name))


def files(texts: Iterable[str], folder: Path) -> dict[str, Path]:
    """Return the files that the texts of a guideline show, by the names that they have there.

    Args:
        folder: where the texts are; a file may also lie in the project's folder, around it.

    Raises:
        InputError: a file is missing, too large or outside the project, its name is too long, or there are too many.
    """
    names = list(dict.fromkeys(name for text in texts for name in names_in(text)))
    if len(names) > MOST:
        raise InputError(f"the guideline shows {len(names)} pictures", where=str(folder), hint=f"show at most {MOST}")
    return {name: _file(name, folder) for name in names}


def digests(shown: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file as it is, by its name."""
    found = dict[str, str]()
    for name, path in shown.items():
        about = path.stat()
        found[name] = _digest(path, about.st_mtime_ns, about.st_size, about.st_ino)
    return found


def read(shown: Mapping[str, Path], reader: Reader) -> dict[str, MediaFile]:
    """Return the pictures as they are stored, by the names of their files. Raises InputError for a file that is no picture."""
    return {name: reader(path.read_bytes(), str(path)) for name, path in shown.items()}


def keep(connection: Connection, guideline: Guideline, pictures: Mapping[str, MediaFile], *, at: str) -> None:
    """Store the pictures of a version."""
    add_media(connection, pictures.values(), at=at)
    note_uses(connection, USE, {_id(guideline, name): [file.digest] for name, file in pictures.items()})


def kept(connection: Connection, guideline: Guideline) -> dict[str, str]:
    """Return the digests of a version's pictures as they are stored, by the names of their files."""
    u, begin = schema.media_uses, _id(guideline, "")
    query = select(u.c.record_id, u.c.digest).where(u.c.kind == USE, u.c.record_id.startswith(begin, autoescape=True))
    return {row.record_id.removeprefix(begin): row.digest for row in connection.execute(query.order_by(u.c.record_id))}


def is_shown(connection: Connection, digest: str) -> bool:
    """Return whether a version of a guideline shows a picture."""
    u = schema.media_uses
    return connection.execute(select(u.c.digest).where(u.c.digest == digest, u.c.kind == USE).limit(1)).first() is not None


def _id(guideline: Guideline, name: str) -> str:
    return f"{guideline.set} {guideline.version} {name}"


def _file(name: str, folder: Path) -> Path:
    where, project = f"{folder}, picture {name[:120]!r}", folder.parent.resolve()
    if len(name) > LONGEST_NAME or "\0" in name:
        raise InputError(f"the picture's name is longer than {LONGEST_NAME} characters, or none", where=where, hint="rename the file")
    for path in (folder / name, folder.parent / name):
        if path.is_file() and path.resolve().is_relative_to(project):
            if path.stat().st_size > LARGEST:
                raise InputError(f"the picture has more than {LARGEST // 1_000_000} MB", where=where, hint="save it smaller")
            return path
    raise InputError("the guideline shows a picture whose file is not there", where=where, hint=HINT)


@lru_cache(maxsize=4 * MOST)
def _digest(path: Path, *_: int) -> str:
    """Return the SHA-256 of a file. Time, size and number of the file tell one that changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_PARSER.validateLink = lambda url: True  # so that every name is found; none is followed here
