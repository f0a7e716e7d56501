"""Servers that we ask and that answer slowly, endlessly, deeply or not at all: each call ends in time, and nothing of them is kept."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from opened import hello, sampling, whole
from running import serving

from accord.engine.remote import LONGEST_WAIT, RemoteSpeaker, asked_wait
from accord.errors import RunError
from accord.records import Message, Sampling
from accord.serving.api import create
from accord.serving.host import Ask, NotUnderstood, RefusedRequest, TooSlow, Unavailable
from accord.serving.upstream import Upstream

Say = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
MODELS = b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\nConnection: close\r\n\r\n{"data": [{"id": "far"}]}'


def part(text: str, **more: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}, **more}]}).encode() + b"\n\n"


@contextmanager
def speaking(say: Say) -> Generator[str]:
    """A server that lists one model, and answers every other request by ``say``, until the other side or the test has had enough."""
    made = socket.create_server(("127.0.0.1", 0))
    over, threads = threading.Event(), list[threading.Thread]()

    def answer(line: socket.socket) -> None:
        with line, suppress(OSError):
            line.settimeout(20)
            asked = line.recv(65536)
            if asked.startswith(b"GET"):
                line.sendall(MODELS)
                return
            say(line)

    def accept() -> None:
        with suppress(OSError):
            while not over.is_set():
                line, _ = made.accept()
                threads.append(threading.Thread(target=answer, args=(line,)))
                threads[-1].start()

    taking = threading.Thread(target=accept)
    taking.start()
    try:
        yield f"http://127.0.0.1:{made.getsockname()[1]}/v1"
    finally:
        over.set()
        made.shutdown(socket.SHUT_RDWR)
        made.close()
        taking.join(10)
        for thread in threads:
            thread.join(25)
        assert not any(thread.is_alive() for thread in threads)


def drips(first: bytes, drop: bytes) -> Say:
    def say(line: socket.socket) -> None:
        line.sendall(first)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            line.sendall(drop)
            time.sleep(0.05)

    return say


def pours(first: bytes, part: bytes) -> Say:
    def say(line: socket.socket) -> None:
        line.sendall(first)
        for _ in range(3000):
            line.sendall(part)

    return say


def plain(status: str, body: bytes, headers: str = "") -> Say:
    return lambda line: line.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)


def ask(host: Upstream, **how: Any) -> str:
    async def work() -> str:
        await host.start()
        try:
            async with asyncio.timeout(10):
                return (await whole(host.ask("far", Ask(sampling(16), tuple(hello()), **how))))[0]
        finally:
            await host.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (drips(HEAD, b": wait\n\n"), TooSlow),
        (drips(HEAD, b"x"), TooSlow),
        (drips(HEAD + part("a"), b" "), TooSlow),
        (drips(b"HTTP/1.1 400 No\r\n\r\n", b"x"), TooSlow),
        (drips(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"), TooSlow),
        (pours(HEAD + b"data: ", b"x" * 100_000), Unavailable),
        (pours(b"HTTP/1.1 400 No\r\n\r\n", b"x" * 100_000), NotUnderstood),
        (plain("200 OK", b"data: " + b"[" * 100_000 + b"\n\n"), Unavailable),
        (plain("200 OK", b'data: {"choices": 3}\n\n'), Unavailable),
        (plain("200 OK", b'data: [1]\n\ndata: {"choices": [3]}\n\n'), Unavailable),
        (plain("200 OK", b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n\n'), Unavailable),
    ],
)
def test_an_answer_ends_in_time_and_in_a_word(say: Say, kind: type[RefusedRequest]) -> None:
    with speaking(say) as url:
        start = time.monotonic()
        with pytest.raises(kind):
            ask(Upstream(url, seconds=1.5, tries=1))
        assert time.monotonic() - start < 4


def test_an_upstream_is_held_to_the_tokens_asked_for() -> None:
    with speaking(pours(HEAD, part("x"))) as url:
        assert ask(Upstream(url, seconds=5), exact=True) == "x" * 16
    with speaking(pours(HEAD, part("long" * 10_000))) as url:
        assert ask(Upstream(url, seconds=5), exact=True) == ""


def test_the_gate_says_when_to_come_back_and_not_our_key() -> None:
    refusals = (plain("429 Busy", b"{}", "Retry-After: inf\r\n"), plain("400 No", b'{"error": {"message": "Bearer sk-ours is bad"}}'))
    for say, status in zip(refusals, (429, 400), strict=True):
        with speaking(say) as url:
            host = Upstream(url, key="sk-ours", seconds=5, tries=1)
            with serving(host, create(host, keys=None)) as gate:
                body = {"model": "far", "messages": [{"role": "user", "content": "Hi"}]}
                answer = httpx.post(f"{gate}/v1/chat/completions", json=body, timeout=10)
            assert answer.status_code == status
            assert "sk-ours" not in answer.text
            assert float(answer.headers.get("retry-after", "0")) <= LONGEST_WAIT


@pytest.mark.parametrize(("said", "wait"), [("7", 7), ("inf", LONGEST_WAIT), ("nan", 0), ("-1", 0), ("1e400", LONGEST_WAIT), ("soon", 0)])
def test_the_wait_that_a_server_asks_for_is_bounded(said: str, wait: float) -> None:
    assert asked_wait({"retry-after": said}) == wait


SPOKEN = plain("200 OK", json.dumps({"choices": [{"message": {"content": "B"}}]}).encode())
BROKEN = {
    "an error": b'{"error": {"message": "overloaded, sk-ours"}}',
    "no choice": b'{"choices": []}',
    "no text": b'{"choices": [{"message": {"content": null}}]}',
    "a text that is none": b'{"choices": [{"message": {"content": [1]}}]}',
    "a deep one": b"[" * 200_000,
    "a list": b"[1, 2]",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_never_kept(body: bytes, tmp_path: Path) -> None:
    asked: tuple[Any, ...] = ([[Message("user", "A or B?")]],)
    how: dict[str, Any] = {"n": 1, "sampling": Sampling(), "seed": 1}
    answers = iter([plain("200 OK", body), SPOKEN])
    with speaking(lambda line: next(answers)(line)) as url:
        speaker = RemoteSpeaker(url, "far", key="sk-ours", keep=tmp_path, tries=1)
        if b"null" in body:
            assert speaker.answer(*asked, **how) == [[""]]
        else:
            with pytest.raises(RunError) as told:
                speaker.answer(*asked, **how)
            assert "sk-ours" not in str(told.value)
        assert not list(tmp_path.iterdir())
        assert speaker.answer(*asked, **how) == [["B"]]
        assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_answer_that_an_earlier_version_kept_is_asked_for_again(tmp_path: Path) -> None:
    how: dict[str, Any] = {"n": 1, "sampling": Sampling(), "seed": 1}
    with speaking(SPOKEN) as url:
        speaker = RemoteSpeaker(url, "far", keep=tmp_path, tries=1)
        speaker.answer([[Message("user", "A or B?")]], **how)
        (kept,) = tmp_path.iterdir()
        for damage in (*BROKEN.values(), b"", b"{"):
            kept.write_bytes(damage)
            assert speaker.answer([[Message("user", "A or B?")]], **how) == [["B"]]
    assert speaker.spent.cached == 0


@pytest.mark.parametrize("say", [drips(b"HTTP/1.1 200 OK\r\n\r\n", b" "), pours(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 100_000)])
def test_a_speaker_does_not_wait_for_what_never_ends(say: Say) -> None:
    with speaking(say) as url:
        start = time.monotonic()
        with pytest.raises(RunError, match=r"complete within|longer than"):
            RemoteSpeaker(url, "far", seconds=1.5, tries=1).answer([[Message("user", "?")]], n=1, sampling=Sampling(), seed=1)
        assert time.monotonic() - start < 6
