"""Reward servers over real HTTP: each shape, many requests at once, retries, and every way in which a server fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from accord.errors import RunError, UsageError
from accord.records import Message
from accord.rewards import servers
from accord.rewards.rows import ONE, Said
from accord.rewards.servers import Address, ServerReward, is_address

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Server(ThreadingHTTPServer):
    """A reward server on a port of its own. ``asked`` keeps each request's path, headers and body."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, answer = self.server.answer(body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def said(*responses: str, **extra: Any) -> list[Said]:
    talk = (Message("user", "2 + 2?"),)
    return [Said(talk, response, dict(extra), f"p{place}") for place, response in enumerate(responses)]


def score(term: str, rows: list[Said], **how: Any) -> Any:
    part = ServerReward(term, Address.read(term), pause=0.01, **how)
    try:
        return part.score(rows)
    finally:
        for client in part._client:  # pyright: ignore[reportPrivateUsage]
            client.close()


def lengths(body: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"rewards": [len(row["response"]) for row in body["rows"]]}


def test_our_protocol_sends_conversations_and_columns_and_takes_parts_and_nothing() -> None:
    def parts(body: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"rewards": [{"right": float(row["response"] == row["extra"]["answer"]), "kind": None} for row in body["rows"]]}

    with serving(parts) as server:
        assert score(f"{server.address}/score", said("4", "5", answer="4")) == {"right": [1.0, 0.0], "kind": [None, None]}
        assert {path for path, _, _ in server.asked} == {"/score"}
        body = min((body for _, _, body in server.asked), key=lambda body: body["rows"][0]["id"])
    assert body["version"] == 1
    message = {"role": "user", "content": "2 + 2?"}
    assert body["rows"][0] == {"id": "p0", "messages": [message], "response": "4", "extra": {"answer": "4"}}


def test_a_server_of_openrlhfs_shape_is_asked_as_openrlhf_asks() -> None:
    """The shape of openrlhf/cli/serve_rm.py: /get_reward with query, prompts, labels; numbers, or lists of one, by ``rewards``."""

    def get_reward(body: dict[str, Any]) -> tuple[int, Any]:
        assert body.keys() == {"query", "prompts", "labels"}
        return 200, {"rewards": [[float(query == prompt + label)] for query, prompt, label in zip(*body.values(), strict=True)]}

    with serving(get_reward) as server:
        assert score(f"openrlhf+{server.address}/get_reward#answer", said("4", "5", answer="4")) == {ONE: [1.0, 0.0]}
        assert server.asked[0][2]["query"] in (["2 + 2?4"], ["2 + 2?5"])


@pytest.mark.parametrize(("path", "field"), [("/classify", "probs"), ("/v1/embeddings", "embedding")])
def test_a_server_of_verls_shape_is_asked_as_verl_asks(path: str, field: str) -> None:
    """What verl's RewardLoopWorker sends to vLLM (/classify) and to SGLang (/v1/embeddings): one text, and the last of its numbers."""

    def classify(body: dict[str, Any]) -> tuple[int, Any]:
        assert body.pop("use_activation", None) is (False if path == "/classify" else None)
        assert body.keys() == {"model", "input"}
        return 200, {"data": [{field: [0.0, float(len(body["input"]))]}]}

    with serving(classify) as server:
        assert score(f"verl+{server.address}{path}#rm", said("4", "five")) == {ONE: [7.0, 10.0]}
        assert all(body["model"] == "rm" for _, _, body in server.asked)


def test_requests_run_at_once_so_that_latency_is_paid_once() -> None:
    together = threading.Barrier(8, timeout=60)  # passes only when eight requests are there at once

    def slow(body: dict[str, Any]) -> tuple[int, Any]:
        together.wait()
        return lengths(body)

    with serving(slow) as server:
        assert score(f"{server.address}/", said(*["abc"] * 64), workers=8) == {ONE: [3.0] * 64}
        assert len(server.asked) == 8


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([429, 503, 200])

    def busy(body: dict[str, Any]) -> tuple[int, Any]:
        status = next(tries)
        return lengths(body) if status == 200 else (status, {"error": "busy"})

    with serving(busy) as server:
        assert score(f"{server.address}/", said("abc")) == {ONE: [3.0]}
        assert len(server.asked) == 3


def test_the_key_goes_into_the_header_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_REWARD_KEY", "sesame")

    def refuse(body: dict[str, Any]) -> tuple[int, Any]:
        return 401, {"error": "sesame is no key of ours"}

    with serving(refuse) as server:
        with pytest.raises(RunError) as caught:
            score(f"{server.address}/", said("a"))
        assert server.asked[0][1]["Authorization"] == "Bearer sesame"
        assert "sesame" not in str(caught.value)
        assert "ACCORD_REWARD_KEY" in str(caught.value)
        monkeypatch.setenv("ACCORD_REWARD_KEY_127_0_0_1", "this-host")
        with pytest.raises(RunError):
            score(f"{server.address}/", said("a"))
        assert server.asked[1][1]["Authorization"] == "Bearer this-host"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ((200, {"rewards": [1.0, 2.0]}), "returned 2 rewards for 1 responses"),
        ((200, {"rewards": ["good"]}), "no list of numbers: 'good'"),
        ((200, b'{"rewards": [NaN]}'), "returned nan for response 0"),
        ((200, {"scores": [1.0]}), "holds no rewards"),
        ((200, [1.0]), "holds no rewards"),
        ((200, b"<html>"), "no JSON: '<html>'"),
        ((404, b"not here"), "refused with 404: not here"),
        ((302, b""), "refused with 302"),
        ((500, b"broken"), "no answer in 3 tries .* 500: broken"),
        ((200, b'{"rewards": [1], "x": "' + b"x" * 5000 + b'"}'), "longer than"),
    ],
)  # fmt: skip
def test_each_way_to_fail_has_its_error(answer: tuple[int, Any], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LONGEST_ANSWER", 4096)
    with serving(lambda _: answer) as server, pytest.raises(RunError, match=what):
        score(f"{server.address}/", said("a"), tries=3)


def test_a_server_that_is_slow_or_gone_is_given_up_in_time() -> None:
    def slow(body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(1)
        return lengths(body)

    began = time.monotonic()
    with serving(slow) as server:
        with pytest.raises(RunError, match=r"or 0\.3 s; the last one failed with ReadTimeout"):
            score(f"{server.address}/", said("a"), seconds=0.3)
        address = server.address
    with pytest.raises(RunError, match="ConnectError"):
        score(f"{address}/", said("a"), tries=2)
    assert time.monotonic() - began < 5


def test_addresses_are_read_and_those_with_a_key_in_them_refused() -> None:
    assert Address.read("https://rm.example/score?v=2") == Address("https://rm.example/score?v=2")
    assert Address.read("openrlhf+http://h:5000/get_reward#answer") == Address("http://h:5000/get_reward", "openrlhf", "answer")
    assert is_address("verl+http://h/classify")
    assert not is_address("my_rewards:http")
    for term in ("http://me:pw@h/score", "http://h/score?api_key=1", "trl+http://h/"):
        with pytest.raises(UsageError) as caught:
            Address.read(term)
        assert "pw" not in str(caught.value)


def test_a_request_may_be_answered_with_nothing_where_others_name_parts() -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        (row,) = body["rows"]
        return 200, {"rewards": [{"x": 1.0} if row["response"] == "a" else None]}

    with serving(answer) as server:
        assert score(server.address, said("a", "b"), batch=1) == {"x": [1.0, None]}
