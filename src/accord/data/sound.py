"""Recordings from outside: told by their content, whatever they were called, and within bounds.

A recording is stored and played as it came: no decoder reads it here. Browsers play it from the site's own address.
"""

from __future__ import annotations

import base64
import binascii
import re

from accord.errors import InputError
from accord.records import MediaFile

MOST_BYTES = 25_000_000
"""Largest recording: OpenAI's own limit, about a quarter of an hour as 16-bit WAV at 16 kHz, and hours as compressed speech."""
_BEGINS = {b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"\x1a\x45\xdf\xa3": "audio/webm", b"ID3": "audio/mpeg"}


def mime_of(content: bytes) -> str:
    """Return the type of a recording by its first bytes: WAV, MP3, Ogg, WebM, MP4 or FLAC; empty for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "audio/wav"
    if content[4:8] == b"ftyp":
        return "audio/mp4"
    for begin, mime in _BEGINS.items():
        if content.startswith(begin):
            return mime
    frame = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0
    return "audio/mpeg" if frame and content[1] & 0x06 else ""


def read(content: bytes, where: str = "") -> MediaFile:
    """Return a recording as it is stored. Raises InputError for what is none, or too large."""
    mime = mime_of(content)
    if not mime:
        raise InputError("the file is no WAV, MP3, Ogg, WebM, MP4 or FLAC recording", where=where, hint="convert it")
    if len(content) > MOST_BYTES:
        raise InputError(f"the recording has more than {MOST_BYTES // 1_000_000} MB", where=where, hint="compress or split it")
    return MediaFile("audio", mime, content)


def decoded(text: str, where: str = "") -> bytes:
    """Return the bytes in a data URL, or in base 64 alone. Raises InputError for anything else."""
    _, comma, rest = text[:200].partition(";base64,")
    coded = text[len(text[:200]) - len(rest) :] if comma else text
    if len(coded) * 3 // 4 > MOST_BYTES + 3:
        raise InputError(f"the recording has more than {MOST_BYTES // 1_000_000} MB", where=where, hint="compress or split it")
    try:
        return base64.b64decode(re.sub(r"\s+", "", coded), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the recording is no base 64", where=where, hint="encode its bytes again") from error
