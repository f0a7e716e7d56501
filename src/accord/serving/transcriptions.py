"""``POST /v1/audio/transcriptions``: recordings as text, by the OpenAI-compatible server that ``[serve] transcribe`` names.

The form is read here and written anew, so that known fields alone pass, and a key of certain models asks for those alone. Recordings
are held in memory for one request and not stored.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import Request
from fastapi.responses import Response

from accord.data.sound import MOST_BYTES, mime_of
from accord.engine.remote import parsed
from accord.errors import UsageError
from accord.serving.fields import header
from accord.serving.host import Busy, NotUnderstood, TooSlow, Unavailable, UnknownModel
from accord.serving.service import Who, With, asks_for_strict
from accord.serving.streams import while_there
from accord.serving.upstream import beginning, refusal

ROUTE = "/v1/audio/transcriptions"
KEY = "ACCORD_TRANSCRIBE_KEY"
"""Environment variable with the key of the server that transcribes."""
LARGEST_FORM = MOST_BYTES + 100_000
"""Most bytes of a request: a recording and its fields."""
LONGEST_ANSWER = 4_000_000
"""Most bytes of a transcript."""
MOST_AT_ONCE = 8
"""Recordings that are transcribed at once; each is held in memory meanwhile."""
MOST_PARTS, LONGEST_HEAD, LONGEST_FIELD = 32, 4_096, 20_000
FIELDS = ("model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]")
"""Fields that are passed on, beside the recording."""
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
AS_JSON = ("json", "verbose_json")
log = logging.getLogger("accord.serve")


@dataclass(frozen=True)
class Form:
    """A request: a recording and what is asked of it."""

    recording: bytes = field(repr=False)
    mime: str
    fields: tuple[tuple[str, str], ...]
    """Names and values; ``timestamp_granularities[]`` may come twice."""
    unread: tuple[str, ...] = ()
    """Names of fields that nobody reads."""

    def one(self, name: str, otherwise: str = "") -> str:
        """Return a field's last value."""
        return next((value for known, value in reversed(self.fields) if known == name), otherwise)


class Transcriber:
    """The server that transcribes.

    Args:
        address: up to and including ``/v1``.
        key: its API key; by default the environment's ``ACCORD_TRANSCRIBE_KEY``.
        seconds: longest time of one transcription.
    """

    def __init__(self, address: str, *, key: str = "", seconds: float = 300.0) -> None:
        if not address.startswith(("http://", "https://")):
            raise UsageError("is not an address", where=f"[serve] transcribe = {address!r}", hint="give one like http://127.0.0.1:8001/v1")
        self.address, self.seconds = address.rstrip("/"), seconds
        self._key, self._running = key or os.environ.get(KEY, ""), 0

    async def ask(self, form: Form) -> bytes:
        """Return the other server's answer, whole. Raises RefusedRequest."""
        if self._running >= MOST_AT_ONCE:
            raise Busy("too many recordings are transcribed at once", hint="try again", seconds=2)
        self._running += 1
        try:
            async with asyncio.timeout(self.seconds):
                return await self._asked(form)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TooSlow("the server that transcribes took too long", where=self.address, seconds=5) from error
        except httpx.TransportError as error:
            raise Unavailable("the server that transcribes cannot be reached", where=self.address, seconds=5) from error
        finally:
            self._running -= 1

    async def _asked(self, form: Form) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        ending = form.mime.rpartition("/")[2]
        data: dict[str, list[str]] = {}
        for name, value in form.fields:
            data.setdefault(name, []).append(value)
        files = {"file": (f"recording.{ {'mpeg': 'mp3'}.get(ending, ending) }", form.recording, form.mime)}
        async with httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(self.seconds, connect=5.0)) as client:
            request = client.build_request("POST", f"{self.address}/audio/transcriptions", data=data, files=files)
            response = await client.send(request, stream=True)
            async with aclosing(response):
                if not response.is_success:
                    raise refusal(form.one("model"), response, await beginning(response, self._key), KEY)
                return await _whole(response)


async def transcriptions(request: Request, service: With, who: Who) -> Response:
    """Return the transcript of a recording in the asked format.

    The body is a form (multipart/form-data) with `file`, `model`, and OpenAI's `language`, `prompt`, `response_format`, `temperature`
    and `timestamp_granularities[]`.
    """
    if service.transcriber is None:
        raise UnknownModel("this server transcribes nothing", where=ROUTE, hint="its operator sets [serve] transcribe (docs/serve.md)")
    form = read(request.headers.get("content-type", ""), await request.body())
    if form.unread and asks_for_strict(request, service):
        raise NotUnderstood(f"unknown field {form.unread[0]!r}", hint=f"there are file, {', '.join(FIELDS)}", param=form.unread[0])
    if not who.may(form.one("model")):
        raise UnknownModel("no such model is served", where=form.one("model"))
    if who.key:
        service.limits.enter(who.id, who.key.requests_per_minute, who.key.tokens_per_minute)
    said = await while_there(request.receive, service.transcriber.ask(form))
    return _answer(said, form, header(form.unread) | service.limits.headers(who.id))


def read(kind: str, body: bytes) -> Form:
    """Return a request's form.

    Args:
        kind: the header ``Content-Type``.

    Raises:
        NotUnderstood: the body is no whole form, a field is missing or cannot be used, or the file is no recording.
    """
    recordings, fields, unread = list[bytes](), list[tuple[str, str]](), list[str]()
    for name, is_file, content in _parts(kind, body):
        if name == "file" and is_file:
            recordings.append(content)
        elif name in FIELDS:
            fields.append((name, _text(name, content)))
        elif name == "stream" and content.strip().lower() in (b"true", b"1"):
            raise NotUnderstood("transcripts are not streamed", hint="leave stream out", param="stream")
        elif name != "stream":
            unread.append(name)
    if len(recordings) != 1:
        raise NotUnderstood(f"the form has {len(recordings)} files", hint="send one recording as the field file", param="file")
    form = Form(recordings[0], mime_of(recordings[0]), tuple(fields), tuple(unread))
    if len(form.recording) > MOST_BYTES:
        raise NotUnderstood(f"the recording has more than {MOST_BYTES // 1_000_000} MB", hint="compress or split it", param="file")
    if not form.mime:
        raise NotUnderstood("the file is no WAV, MP3, Ogg, WebM, MP4 or FLAC recording", hint="convert it", param="file")
    if not form.one("model"):
        raise NotUnderstood("the form names no model", hint="add the field model", param="model")
    if form.one("response_format", "json") not in FORMATS:
        what = f"response_format is {form.one('response_format')[:60]!r}"
        raise NotUnderstood(what, hint=f"there are {', '.join(FORMATS)}", param="response_format")
    return form


def _parts(kind: str, body: bytes) -> list[tuple[str, bool, bytes]]:
    """Return the parts of a form: the field's name, whether it is a file, and its content."""
    mark = re.search(r'boundary="?([\w\'()+,./:=? -]{1,70})"?', kind, re.ASCII)
    if not kind.strip().lower().startswith("multipart/form-data") or mark is None:
        raise NotUnderstood("the request is no form", hint="send multipart/form-data with file and model")
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + mark[1].strip().encode(), MOST_PARTS + 1)
    if first.strip() or not parts or not parts[-1].startswith(b"--") or len(parts) > MOST_PARTS:
        raise NotUnderstood("the form ended early, or has too many parts", hint="send it whole")
    found = list[tuple[str, bool, bytes]]()
    for part in parts[:-1]:
        head, blank, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"\r\n]{1,100})"', head)
        if not blank or name is None or len(head) > LONGEST_HEAD:
            raise NotUnderstood("a part of the form has no name", hint="name each field")
        found.append((name[1].decode("utf-8", "replace"), b"filename" in head, content))
    return found


def _text(name: str, content: bytes) -> str:
    if len(content) > LONGEST_FIELD:
        raise NotUnderstood(f"{name} is longer than {LONGEST_FIELD} bytes", hint="shorten it", param=name)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise NotUnderstood(f"{name} is not UTF-8", hint="send it as UTF-8", param=name) from error


async def _whole(response: httpx.Response) -> bytes:
    """Return all of an answer. Raises Unavailable when it does not end."""
    text = bytearray()
    async for part in response.aiter_bytes():
        text += part
        if len(text) > LONGEST_ANSWER:
            raise Unavailable("the server that transcribes sent an answer without end", seconds=5)
    return bytes(text)


def _answer(said: bytes, form: Form, headers: dict[str, str]) -> Response:
    """Return the other server's answer in the form that was asked for."""
    wants_json = form.one("response_format", "json") in AS_JSON
    try:
        value: Any = parsed(said) if wants_json else {"text": said.decode()}
        sound = isinstance(value["text"], str)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        log.warning("the server that transcribes sent what is no transcript: %.100r", said)
        raise Unavailable("the server that transcribes sent what is no transcript", seconds=5)
    return Response(said, media_type="application/json" if wants_json else "text/plain", headers=headers)
