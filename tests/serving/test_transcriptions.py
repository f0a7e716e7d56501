"""Recordings as text by another server: what passes, with which key, and what is refused before or behind it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import wave
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from opened import host
from running import serving

from accord.data.sound import MOST_BYTES, mime_of
from accord.errors import UsageError
from accord.serving.api import create
from accord.serving.host import Busy, NotUnderstood, RefusedRequest, TooSlow, Unavailable
from accord.serving.keys import Keys
from accord.serving.transcriptions import FIELDS, MOST_AT_ONCE, Form, Transcriber, read

ANSWER = b'{"text": "Good day."}'
KIND = "multipart/form-data; boundary=xyz"


def recording(seconds: float = 0.01) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\0\1" * int(16_000 * seconds))
    return written.getvalue()


@contextmanager
def transcribing(status: int = 200, body: bytes = ANSWER, wait: float = 0) -> Generator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that answers every recording alike, and notes what it was sent."""
    came = list[tuple[dict[str, str], bytes]]()
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            done.wait(wait)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", came
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def form(*parts: tuple[str, bytes], file: bytes | None = None) -> bytes:
    """A form as a client writes it."""
    written = [f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n" for name, value in parts]
    if file is not None:
        head = '--xyz\r\nContent-Disposition: form-data; name="file"; filename="../a.wav"\r\nContent-Type: audio/x\r\n\r\n'
        written.append(head.encode() + file + b"\r\n")
    return b"".join([*written, b"--xyz--\r\n"])


GOOD = form(("model", b"whisper"), file=recording())


def test_openais_client_gets_the_transcript_and_the_other_server_sees_its_own_key_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    given, narrow = keys.add("all")[0], keys.add("narrow", models=("tiny-1",))[0]
    with transcribing() as (address, came):
        app = create(host("tiny-1"), keys=keys, transcriber=Transcriber(address, key="theirs"))
        with serving(host("tiny-1"), app) as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=given, max_retries=0)
            said = client.audio.transcriptions.create(model="whisper", file=("a.mp3", recording()), language="en", prompt="names: Mill")
            assert said.text == "Good day."
            big = client.audio.transcriptions.create(model="whisper", file=("a.wav", recording(200)))
            assert big.text == "Good day.", "6.4 MB, more than other requests may have"
            with pytest.raises(openai.NotFoundError, match="no such model"):
                openai.OpenAI(base_url=f"{url}/v1", api_key=narrow).audio.transcriptions.create(model="whisper", file=("a", recording()))
            with pytest.raises(openai.AuthenticationError):
                openai.OpenAI(base_url=f"{url}/v1", api_key="none").audio.transcriptions.create(model="whisper", file=("a", recording()))
            with pytest.raises(openai.BadRequestError, match="no WAV, MP3"):
                client.audio.transcriptions.create(model="whisper", file=("a.wav", b"#!/bin/sh"))
            sent = httpx.post(f"{url}/v1/chat/completions", content=b" " * 5_000_000, headers={"Authorization": f"Bearer {given}"})
            assert sent.status_code == 413, "the larger bound is this route's alone"
            named = {"Authorization": f"Bearer {given}", "Content-Type": KIND}
            told = httpx.post(
                f"{url}/v1/audio/transcriptions", content=form(("model", b"m"), ("mood", b"x"), file=recording()), headers=named
            )
            assert (told.status_code, told.headers["x-accord-ignored"]) == (200, "mood")
            strict = httpx.post(
                f"{url}/v1/audio/transcriptions",
                content=form(("model", b"m"), ("mood", b"x"), file=recording()),
                headers=named | {"X-Accord-Strict": "true"},
            )
            assert (strict.status_code, strict.json()["error"]["param"]) == (400, "mood")
    assert [headers["Authorization"] for headers, _ in came] == ["Bearer theirs"] * 3
    assert all(given.encode() not in body for _, body in came)
    assert recording() in came[0][1]
    assert b"names: Mill" in came[0][1]
    assert b"../" not in came[2][1], "the file's name is ours"
    assert b"mood" not in came[2][1]


def test_without_a_server_the_route_says_so(tmp_path: Path) -> None:
    with serving(host("tiny-1"), create(host("tiny-1"), keys=None)) as url:
        told = httpx.post(f"{url}/v1/audio/transcriptions", content=GOOD, headers={"Content-Type": KIND})
    assert told.status_code == 404
    assert "transcribes nothing" in told.json()["error"]["message"]
    with pytest.raises(UsageError, match="is not an address"):
        Transcriber("whisper")


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/json", b"{}", "no form"),
        (KIND, b"", "ended early"),
        (KIND, GOOD[:-9], "ended early"),
        (KIND, form(("model", b"m")), "0 files"),
        (KIND, form(("file", recording()), ("model", b"m")), "0 files"),
        (KIND, form(("model", b"m"), file=recording())[:-9] + form(file=recording()), "2 files"),
        (KIND, form(file=recording()), "names no model"),
        (KIND, form(("model", b"\xff"), file=recording()), "not UTF-8"),
        (KIND, form(("model", b"m"), ("prompt", b"x" * 20_001), file=recording()), "longer than 20000"),
        (KIND, form(("model", b"m"), ("response_format", b"diarized"), file=recording()), "'diarized'"),
        (KIND, form(("model", b"m"), ("stream", b"true"), file=recording()), "not streamed"),
        (KIND, form(("model", b"m"), file=b""), "no WAV"),
        (KIND, form(("model", b"m"), file=recording() + b"\0" * MOST_BYTES), "more than 25 MB"),
        (KIND, form(*[("mood", b"x")] * 40, file=recording()), "too many parts"),
        (KIND, b"--xyz\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xyz--\r\n", "no name"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused_by_name(kind: str, body: bytes, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        read(kind, body)


def test_a_form_is_read_whole() -> None:
    tricky = recording() + b"\r\n--xy\r\n\r\n"
    made = read(KIND, form(("model", b"m"), ("timestamp_granularities[]", b"word"), ("timestamp_granularities[]", b"segment"), file=tricky))
    assert made.recording == tricky
    assert made.fields == (("model", "m"), ("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment"))
    assert set(FIELDS) > {name for name, _ in made.fields if name != "model"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"error": {"message": "your key theirs"}}', Unavailable),
        (400, b'{"error": {"message": "no such language"}}', NotUnderstood),
        (200, b"<html>", Unavailable),
        (200, b'{"txt": 1}', Unavailable),
        (200, b'{"text": "' + b"x" * 4_000_001 + b'"}', Unavailable),
        (302, b"", NotUnderstood),
    ],
)
def test_what_the_other_server_says_is_told_in_the_apis_words(status: int, body: bytes, kind: type[RefusedRequest]) -> None:
    with (
        transcribing(status, body) as (address, _),
        serving(host("tiny-1"), create(host("tiny-1"), keys=None, transcriber=Transcriber(address, key="theirs"))) as url,
    ):
        told = httpx.post(f"{url}/v1/audio/transcriptions", content=GOOD, headers={"Content-Type": KIND})
    assert told.status_code == kind.status
    error = told.json()["error"]
    assert error["code"] == kind.code
    assert "theirs" not in error["message"]
    assert ("ACCORD_TRANSCRIBE_KEY" in error["message"]) == (status == 401)


def test_other_formats_come_as_they_are() -> None:
    subtitles = b"1\n00:00:00,000 --> 00:00:01,000\nGood day.\n"
    with (
        transcribing(body=subtitles) as (address, _),
        serving(host("tiny-1"), create(host("tiny-1"), keys=None, transcriber=Transcriber(address))) as url,
    ):
        body = form(("model", b"m"), ("response_format", b"srt"), file=recording())
        told = httpx.post(f"{url}/v1/audio/transcriptions", content=body, headers={"Content-Type": KIND})
    assert (told.content, told.headers["content-type"]) == (subtitles, "text/plain; charset=utf-8")


def test_a_slow_or_absent_server_is_told_of_and_so_many_wait_at_most() -> None:
    asked = Form(recording(), "audio/wav", (("model", "m"),))
    with pytest.raises(Unavailable, match="cannot be reached"):
        asyncio.run(Transcriber("http://127.0.0.1:9/v1").ask(asked))

    async def crowd(address: str) -> list[Any]:
        one = Transcriber(address, seconds=1.0)
        return await asyncio.gather(*(one.ask(asked) for _ in range(MOST_AT_ONCE + 1)), return_exceptions=True)

    with transcribing(wait=30) as (address, _):
        kinds = [type(each) for each in asyncio.run(crowd(address))]
    assert kinds == [TooSlow] * MOST_AT_ONCE + [Busy]


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (recording(), "audio/wav"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"ID3\x04", "audio/mpeg"),
        (b"OggS\0", "audio/ogg"),
        (b"\x1a\x45\xdf\xa3", "audio/webm"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"fLaC\0", "audio/flac"),
        (b"RIFF\0\0\0\0WEBP", ""),
        (b"\xff\xd8\xff", ""),
        (b"\xff\xf1\x50", ""),
        (b"", ""),
        (json.dumps({}).encode(), ""),
    ],
)
def test_a_recording_is_told_by_its_content(content: bytes, mime: str) -> None:
    assert mime_of(content) == mime
