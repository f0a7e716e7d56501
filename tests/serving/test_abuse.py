"""What hostile and broken clients do: too much, too slowly, half, nonsense. Each gets a 4xx or nothing, and the next one an answer."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened import host
from running import Server, serving
from serving_fuzz import attack

from accord.commands.app import main
from accord.serving import gate
from accord.serving.api import create

CHAT = "/v1/chat/completions"


def headers(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}


def raw(url: str, sent: bytes, *, half: bool = False, seconds: float = 10.0) -> bytes:
    """What a server answers to these very bytes."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=seconds) as line:
        line.sendall(sent)
        if half:
            line.shutdown(socket.SHUT_WR)
        came = b""
        while part := line.recv(65536):
            came += part
    return came


def head(path: str, length: int) -> bytes:
    fields = ("Host: localhost", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode()


def well(url: str) -> None:
    assert httpx.get(f"{url}/health", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"model": "tiny-1", "messages": [{"role": "user", "content": "\xc3\x28"}]}', 400),
        (b"[" * 100_000, 400),
        (b'{"model": "tiny-1", "messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}", 400),
        (b'{"model": "tiny-1", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400),
        (b'{"model": "tiny-1", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "tiny-1\\u0000", "messages": [{"role": "user", "content": "x"}]}', 404),
        (b'{"model": "../../etc/passwd", "messages": [{"role": "user", "content": "x"}]}', 404),
        (b'{"model": "tiny-1", "messages": [{"role": "user", "content": "\\u0000<|end|><|system|>"}], "max_tokens": 2}', 200),
        (b"x" * (gate.LARGEST_BODY + 1), 413),
        (json.dumps({"model": "tiny-1", "messages": [{"role": "user", "content": "y" * 3_000_000}]}).encode(), 400),
    ],
)
def test_no_body_makes_the_server_fail(server: Server, body: bytes, status: int) -> None:
    answer = httpx.post(server.url + CHAT, content=body, headers=headers(server), timeout=60)
    assert answer.status_code == status, answer.text[:300]
    assert ("error" in answer.json()) == (status != 200)
    well(server.url)


def test_whoever_sends_too_much_always_reads_that_it_was_too_much(server: Server) -> None:
    """A connection that is closed on unread bytes takes the answer with it, now and then."""
    begun = head(CHAT, 16_000_000).replace(b"Host:", b"Authorization: Bearer " + server.key.encode() + b"\r\nHost:")
    for _ in range(3):
        answer = raw(server.url, begun + b" " * 16_000_000)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"}")


def test_a_client_that_asks_before_it_sends_is_refused_at_once(server: Server) -> None:
    asked = head(CHAT, 100_000_000).replace(
        b"Host:", b"Expect: 100-continue\r\nAuthorization: Bearer " + server.key.encode() + b"\r\nHost:"
    )
    began = time.monotonic()
    assert raw(server.url, asked).startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 1.5


def test_a_client_that_goes_away_is_an_error_and_not_the_end_of_the_process() -> None:
    handler = signal.getsignal(signal.SIGPIPE)
    main(["--version"])
    assert signal.getsignal(signal.SIGPIPE) == handler == signal.SIG_IGN
    here, there = socket.socketpair()
    there.close()
    with here, pytest.raises(BrokenPipeError):
        here.sendall(b"data: ...")


def test_a_command_whose_output_nobody_reads_ends_in_silence() -> None:
    command = [sys.executable, "-c", "from accord.commands.app import main; main()", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout
        run.stdout.close()
        assert run.stderr
        assert run.stderr.read() == b""
    assert run.returncode == 1


def test_a_body_without_its_length_is_cut_off_as_well(server: Server) -> None:
    def parts() -> Any:
        for _ in range(50):
            yield b"x" * 100_000

    answer = httpx.post(server.url + CHAT, content=parts(), headers=headers(server), timeout=60)
    assert answer.status_code == 413


def test_a_request_that_comes_drop_by_drop_is_refused() -> None:
    hosting = host()
    app = gate.Gate(create(hosting, keys=None), seconds=0.3)
    with serving(hosting, app) as url:
        assert b" 408 " in raw(url, head(CHAT, 100) + b"{")
        well(url)


def test_a_client_that_reads_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "READ_SECONDS", 0.3)
    hosting = host()
    with serving(hosting, create(hosting, keys=None)) as url:
        at = urlsplit(url)
        body = json.dumps({"model": "tiny-1", "prompt": ["The"] * 60, "stream": True, "logprobs": 20, "max_tokens": 100}).encode()
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect((at.hostname, at.port))
            head = (
                f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            line.sendall(head.encode() + body)
            deadline = time.monotonic() + 30
            while not _idle(hosting) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert _idle(hosting)
        well(url)


def _idle(hosting: Any) -> bool:
    state = hosting.state()["tiny-1"]
    return not state["running"] + state["waiting"]


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_at_all_harm_nobody(server: Server, sent: bytes) -> None:
    assert b" 500 " not in raw(server.url, sent + b"\r\n\r\n", half=True)[:20]


def test_requests_out_of_the_apis_own_description_never_make_it_fail(server: Server) -> None:
    found = attack(server.url, server.key, "tiny-1", requests=150)
    assert not found["failures"]
    assert {200, 400} <= found["statuses"].keys()
    well(server.url)
