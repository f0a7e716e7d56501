"""One server in front of another, and what the gate says when the one behind it is down, slow, full, or breaks off."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from opened import hello, sampling, whole
from running import Server, serving

from accord.engine.remote import RemoteSpeaker
from accord.errors import RunError
from accord.records import Message, Sampling
from accord.serving.api import create
from accord.serving.host import Ask, Busy, NotUnderstood, RefusedRequest, Unavailable, UnknownModel
from accord.serving.upstream import Upstream, UpstreamLibrary

ASKED: Any = [{"role": "user", "content": "Who keeps the mill?"}]


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Generator[tuple[str, list[Any]]]:
    """A server that gives these answers in turn, the last one again and again, and notes what it was asked."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, {}, json.dumps({"data": [{"id": "far"}]}).encode())

        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._say(*answers[min(len(came), len(answers)) - 1])

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
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
        server.shutdown()
        server.server_close()
        thread.join()


def ask(gate: Upstream, model: str = "far", asked: Ask | None = None) -> tuple[str, list[Any]]:
    async def work() -> tuple[str, list[Any]]:
        await gate.start()
        try:
            return await whole(gate.ask(model, asked or Ask(sampling(), tuple(hello()), seed=1)))
        finally:
            await gate.close()

    return asyncio.run(work())


def test_through_the_gate_everything_is_as_without_it(server: Server) -> None:
    gate = Upstream(f"{server.url}/v1", key=server.key)
    with serving(gate, create(gate, keys=None)) as url:
        behind = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
        before = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        how: Any = {"model": "tiny-1", "messages": ASKED, "seed": 4, "max_tokens": 14, "logprobs": True, "top_logprobs": 2, "n": 2}
        one, two = (client.chat.completions.create(**how).model_dump() for client in (behind, before))
        assert {**one, "id": "", "created": 0} == {**two, "id": "", "created": 0}
        texts = [client.completions.create(model="tiny-2", prompt="The", seed=1).choices[0].text for client in (behind, before)]
        assert texts[0] == texts[1]
        assert [model.id for model in before.models.list()] == ["tiny-1", "tiny-2"]
        with pytest.raises(openai.NotFoundError):
            before.chat.completions.create(model="tiny-9", messages=ASKED)
        with pytest.raises(openai.BadRequestError, match="model's context"):
            before.chat.completions.create(model="tiny-1", messages=ASKED, max_tokens=900)


def test_a_server_that_is_down_is_tried_again_and_then_told_of() -> None:
    gate = Upstream("http://127.0.0.1:9/v1", tries=2, pause=0.01)
    with pytest.raises(Unavailable, match="no answer in 2 tries") as told:
        ask(gate)
    assert told.value.seconds


EVENTS = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'
END = (
    b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"completion_tokens": 7}}\n\ndata: [DONE]\n\n'
)


def test_what_fails_for_a_moment_is_tried_again() -> None:
    with scripted((503, {"Retry-After": "0"}, b"loading"), (200, {}, EVENTS + END)) as (url, came):
        text, pieces = ask(Upstream(url, pause=0.01))
    assert (text, sum(piece.count for piece in pieces), pieces[-1].finish) == ("Hello", 7, "stop")
    assert len(came) == 2
    assert came[0]["stream_options"] == {"include_usage": True}
    assert "top_k" not in came[0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((429, {"Retry-After": "7"}, b"{}"), Busy),
        ((404, {}, b'{"error": {"message": "no"}}'), UnknownModel),
        ((400, {}, b'{"error": {"message": "no such field"}}'), NotUnderstood),
        ((401, {}, b"{}"), Unavailable),
        ((200, {}, EVENTS), Unavailable),
        ((200, {}, EVENTS + b'data: {"error": {"message": "out of memory"}}\n\n'), Unavailable),
        ((200, {}, b"data: {nonsense\n\n"), Unavailable),
    ],
)
def test_every_refusal_has_a_word_of_its_own(answer: tuple[int, dict[str, str], bytes], kind: type[RefusedRequest]) -> None:
    with scripted(answer) as (url, _), pytest.raises(kind) as told:
        ask(Upstream(url, pause=0.01))
    if kind is Busy:
        assert told.value.seconds == 7


def said(text: str, prompt: int = 5) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": prompt, "completion_tokens": 2}}).encode()


def test_a_remote_speaker_asks_again_until_it_has_n_answers_and_counts_tokens() -> None:
    with scripted((500, {}, b"oh"), (200, {}, said("one")), (200, {}, said("two"))) as (url, came):
        speaker = RemoteSpeaker(url, "far", pause=0.01, side_by_side=1)
        assert speaker.answer([[Message("user", "Hi")]], n=2, sampling=Sampling(top_k=5, max_tokens=9), seed=7) == [["one", "two"]]
    assert [asked["n"] for asked in came] == [2, 2, 1]
    assert [asked["seed"] for asked in came] == [7, 7, 8]
    assert came[0] | {"top_k": 5, "max_tokens": 9} == came[0]
    assert (speaker.spent.requests, speaker.spent.retries, speaker.spent.prompt_tokens, speaker.spent.completion_tokens) == (3, 1, 10, 4)


def test_kept_answers_are_not_asked_for_twice_and_the_key_is_kept_nowhere(tmp_path: Path) -> None:
    with scripted((200, {}, said("one"))) as (url, came):
        for _ in range(2):
            speaker = RemoteSpeaker(url, "far", key="sk-secret", keep=tmp_path)
            assert speaker.answer([[Message("user", "Hi")]], n=1, sampling=Sampling(), seed=1) == [["one"]]
        assert speaker.models() == ["far"]
        speaker.answer([[Message("user", "Hi")]], n=1, sampling=Sampling(), seed=2)
    assert len(came) == 2
    assert not [file for file in tmp_path.iterdir() if "sk-secret" in file.read_text()]
    assert "sk-secret" not in repr(speaker)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "set OPENAI_API_KEY"), (400, "refused with 400: bad field"), (503, "no answer in 2 tries")]
)
def test_a_remote_speaker_that_is_refused_says_by_whom_and_why(status: int, words: str) -> None:
    with scripted((status, {"Retry-After": "0"}, b'{"error": {"message": "bad field"}}')) as (url, _), pytest.raises(RunError, match=words):
        RemoteSpeaker(url, "far", pause=0.01, tries=2).answer([[Message("user", "Hi")]], n=1, sampling=Sampling(), seed=1)


def test_a_remote_speaker_hears_our_own_server(server: Server) -> None:
    speaker = RemoteSpeaker(f"{server.url}/v1", "tiny-1", key=server.key)
    answers = speaker.answer([hello(), hello("Where is bread sold?")], n=3, sampling=sampling(temperature=1.0), seed=5)
    assert [len(each) for each in answers] == [3, 3]
    assert answers == speaker.answer([hello(), hello("Where is bread sold?")], n=3, sampling=sampling(temperature=1.0), seed=5)


def test_the_chat_finds_another_servers_models_once_it_is_there() -> None:
    async def work() -> None:
        gate = Upstream("http://127.0.0.1:9/v1", tries=1, pause=0.0)
        shelf = UpstreamLibrary(gate)
        await gate.start()
        assert list(shelf.names()) == ["default"]
        with scripted((200, {}, b"")) as (url, _):
            gate.address = url
            await gate.close()
            await gate.start()
            assert list(shelf.names()) == ["far"]
            assert gate.version("far") == f"far@{shelf.digest('far')}"
            await gate.swap("far", "far")
        await gate.close()

    asyncio.run(work())
