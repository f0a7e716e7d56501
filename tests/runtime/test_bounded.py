"""Servers that we ask and that drip or pour, over real sockets: each kind of client of ours ends in time and in a word."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.test_outgoing import Say, drips, plain, pours, speaking

from accord.engine.remote import RemoteSpeaker
from accord.engine.vllm_api import ServerFault, VllmServer
from accord.environments import address
from accord.errors import RunError
from accord.records import Message, Sampling
from accord.rewards import servers
from accord.rewards.rows import Said
from accord.runtime.bounded import Bounded, TooLarge

SOURCE = Path(address.__file__).parent.parent


def silent(line: socket.socket) -> None:
    """Say nothing until the other side has had enough."""
    line.recv(1)


ENDLESS: dict[str, Say] = {
    "a dripping head": drips(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"),
    "dripping heads": drips(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
    "a dripping body": drips(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "dripping chunks": drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a dripping refusal": drips(b"HTTP/1.1 400 No\r\n\r\n", b"x"),
    "silence": silent,
}
SECONDS, AT_MOST = 1.0, 12.0
"""The deadline of each call, and how long it may take on a busy machine; the drips last for fifteen seconds."""


def speak(url: str) -> None:
    RemoteSpeaker(url, "far", seconds=SECONDS, tries=1).answer([[Message("user", "?")]], n=1, sampling=Sampling(), seed=1)


def reward(url: str) -> None:
    server = servers.ServerReward("far", servers.Address.read(url), seconds=SECONDS, tries=1)
    server.score([Said((Message("user", "?"),), "!")])


def vllm(url: str) -> None:
    VllmServer(url.removesuffix("/v1"), seconds=SECONDS).ask("POST", "/v1/completions", {})


def environment(url: str) -> None:
    address.ask(f"{url}/reset", {}, SECONDS, once=True)


CLIENTS: dict[str, tuple[Callable[[str], None], type[Exception]]] = {
    "a remote model": (speak, RunError),
    "a reward server": (reward, RunError),
    "a vLLM server": (vllm, ServerFault),
    "an environment": (environment, OSError),
}


@pytest.mark.parametrize("say", ENDLESS.values(), ids=ENDLESS)
def test_each_kind_of_client_gives_up_what_never_ends(say: Say) -> None:
    with speaking(say) as url:
        for name, (ask, error) in CLIENTS.items():
            start = time.monotonic()
            with pytest.raises(error):
                ask(url)
            assert time.monotonic() - start < AT_MOST, name


@pytest.mark.parametrize("zipped", [False, True])
def test_an_answer_that_is_too_long_is_refused_also_when_it_is_packed(zipped: bool) -> None:
    body = gzip.compress(b" " * 50_000_000) if zipped else b" " * 2_000_000
    packed = "Content-Encoding: gzip\r\n" if zipped else ""
    client = httpx.Client(transport=Bounded(20, 1_000_000))
    with speaking(plain("200 OK", body, packed)) as url, client, pytest.raises(TooLarge, match="1,000,000 bytes"):
        client.post(url)


def test_an_answer_comes_whole_and_unpacked_with_its_headers() -> None:
    packed = gzip.compress(json.dumps({"text": "é"}).encode())
    say = plain("201 Made", packed, "Content-Encoding: gzip\r\nRetry-After: 7\r\n")
    with speaking(say) as url, httpx.Client(base_url=url, transport=Bounded(20, 1_000_000)) as client:
        for _ in range(3):
            answer = client.post("/x", json={})
            assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (201, {"text": "é"}, "7")


def test_one_client_asks_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made, begin = list[None](), httpx.AsyncClient.__init__

    def counted(self: httpx.AsyncClient, *given: Any, **named: Any) -> None:
        made.append(None)
        begin(self, *given, **named)

    monkeypatch.setattr(httpx.AsyncClient, "__init__", counted)
    with speaking(plain("200 OK", b"{}")) as url, httpx.Client(base_url=url, transport=Bounded(20, 1_000)) as client:
        for _ in range(3):
            client.get("/x")
    assert len(made) == 1, "each takes some 20 ms to make, and nothing closes it"


def test_what_pours_is_no_answer_of_an_environment() -> None:
    with speaking(pours(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 100_000)) as url, pytest.raises(ValueError, match="more than"):
        address.ask(url, {}, 20.0, once=True)


def test_a_redirect_is_not_followed() -> None:
    with speaking(plain("307 There", b"", "Location: http://127.0.0.1:9/\r\n")) as url, pytest.raises(OSError, match="answered 307"):
        address.ask(url, {}, 20.0)


def test_nothing_of_ours_asks_by_another_client() -> None:
    """What asks in the event loop has deadlines of its own there; client.py runs in the programs of others."""
    others = {"client.py", "serving/upstream.py", "serving/transcriptions.py", "serving/apps/webhooks.py", "runtime/bounded.py"}
    asks = re.compile(r"httpx\.(?:Async)?Client\((?!.*transport=Bounded)|httpx\.(?:get|post|stream|request)\(|urlopen|build_opener")
    found: dict[str, Any] = {path.relative_to(SOURCE).as_posix(): asks.findall(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}
    assert {name for name, calls in found.items() if calls} <= others
