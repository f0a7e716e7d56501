"""Files in requests: bodies as they arrive, the files of a form (multipart/form-data, RFC 7578), and names that are safe to keep."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import anyio
from starlette.requests import ClientDisconnect, Request

from accord.feedback.refusals import Refused

PATIENCE = 60.0
"""Seconds without a byte after which an upload is given up."""
BLOCK = 1 << 20
LONGEST_NAME = 100
LONGEST_HEAD = 16_384
"""Bytes of the head of a form's part."""
MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form."""

    name: str
    content: bytes


def boundary(request: Request) -> bytes:
    """Return the boundary of a form with a file; empty for another body."""
    kind, _, options = request.headers.get("content-type", "").partition(";")
    found = re.search(r'boundary="?([\w\'()+,./:=? -]{1,70})"?', options) if kind.strip().lower() == "multipart/form-data" else None
    return found[1].strip().encode() if found else b""


def file_name(head: bytes) -> str:
    """Return the name of the file that a part of a form holds, by the part's head; empty for another field, and for no file chosen."""
    name = re.search(rb'filename="([^"\r\n]+)"', head)
    return safe_name(name[1].decode("utf-8", errors="replace")) if name else ""


def safe_name(name: str) -> str:
    """Return a file's name without folders and without characters that a file system or a terminal would mind; its ending stays."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = re.sub(r"[^\w.()+ -]", "_", last).strip(" .")
    return plain[-LONGEST_NAME:].lstrip("-. ") or "upload"


def files_of(body: bytes, mark: bytes) -> list[File]:
    """Return the files of a whole form.

    Raises:
        Refused: the form ended early, or has too many or too long parts (400).
    """
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + mark, MOST_PARTS + 1)
    if not mark or first.strip() or not parts or not parts[-1].startswith(b"--") or len(parts) > MOST_PARTS:
        raise Refused("malformed", 400, "the form ended early, or has too many parts")
    files = list[File]()
    for part in parts[:-1]:
        head, blank, content = part.partition(b"\r\n\r\n")
        if not blank or len(head) > LONGEST_HEAD:
            raise Refused("malformed", 400, "the head of a form's part")
        if name := file_name(head):
            files.append(File(name, content))
    return files


async def blocks(request: Request) -> AsyncGenerator[bytes]:
    """Yield a body in larger pieces than it arrives in. Raises Refused (400) when the sender goes away, sends too much, or stops."""
    parts, size, stream = list[bytes](), 0, aiter(request.stream())
    try:
        while True:
            with anyio.fail_after(PATIENCE):
                part = await anext(stream, None)
            if part is None:
                break
            parts.append(part)
            size += len(part)
            if size >= BLOCK:
                yield b"".join(parts)
                parts, size = [], 0
    except (ClientDisconnect, TimeoutError) as error:
        raise Refused("upload_broken", 400, type(error).__name__) from error
    yield b"".join(parts)
