"""`accord open --workers 2` and `accord chat --workers 2`: pages by any process, answers by one; each is killed and comes back."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from accord.commands.serve.open_ import open_
from accord.errors import UsageError
from accord.feedback import accounts, chats, tasks
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.feedback.web.workers import SINGLE_AT
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project
from accord.serving.web import app as chat
from accord.serving.web.one_process import HELD, Forward
from accord.settings import OpenConfig
from accord.site import arena_pages

WORDS = 20
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}
RANKED = {"rank-1": "1", "rank-2": "2", "quality-1": "6", "quality-2": "2", "action": "save", "seconds": "9"}


class Speaker(BaseHTTPRequestHandler):
    """An OpenAI-compatible server with one model, which says its words at a pace."""

    pace = 0.05

    def do_GET(self) -> None:
        self._begin("application/json")
        self.wfile.write(b'{"data": [{"id": "far"}]}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._begin("text/event-stream")
        try:
            for number in range(WORDS):
                said = {"choices": [{"index": 0, "delta": {"content": f"word-{number} "}, "finish_reason": None}]}
                self.wfile.write(f"data: {json.dumps(said)}\n\n".encode())
                time.sleep(self.pace)
            self.wfile.write(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        except OSError:
            return  # whoever asked was killed

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def speaker() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Speaker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@dataclass
class Site:
    """A running site of several processes."""

    process: subprocess.Popen[str]
    address: str
    store: Store

    def processes(self) -> tuple[list[int], list[int]]:
        """The workers, and the one that answers."""
        pid = self.process.pid
        found: tuple[list[int], list[int]] = [], []
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                has_path = f"{SINGLE_AT}=".encode() in Path(f"/proc/{child}/environ").read_bytes()
            except OSError:
                continue
            found[0 if has_path else 1].append(int(child))
        return found

    def come(self, role: Role) -> httpx.Client:
        token = accounts.invite(self.store, role, f"{role} {time.monotonic_ns()}", by="tests", now=datetime.now(UTC))
        client = httpx.Client(base_url=self.address, timeout=60)
        assert client.post("/join", data={"token": token}).status_code == 303
        return client

    def anew(self, client: httpx.Client, path: str, **headers: str) -> httpx.Response:
        """Ask by a new connection, which any worker may take."""
        with httpx.Client(base_url=self.address, cookies=client.cookies, timeout=60) as other:
            return other.get(path, headers=headers)


@contextmanager
def opened(command: str, folder: Path, *flags: str, path: str = "") -> Generator[Site]:
    project = Project.create(folder, settings={"chat": {"two": 0.0, "turns_per_minute": 0}})
    words = [sys.executable, "-m", "accord", command, str(project.path), "--port", "0", "--workers", "2", *flags]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    said = folder / "said.txt"
    with (
        said.open("wb") as log,
        Store.open(project.store_url) as store,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout
            found = re.search(r"http://[^/\s]+", process.stdout.readline())
            assert found, said.read_text()
            yield Site(process, found[0] + path, store)
        finally:
            process.terminate()
            process.wait(30)


def awaited(what: str, true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def patiently(ask: Callable[[], httpx.Response], seconds: float = 60) -> httpx.Response:
    """Ask until there is an answer, as a browser's reader would: a process that was killed cuts its lines."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except httpx.TransportError:
            assert time.monotonic() < end, "nobody answers"
            time.sleep(0.1)


def csrf(client: httpx.Client) -> str:
    return patiently(lambda: client.get("/mine")).text.split('name="csrf" value="')[1].split('"')[0]


def turns(site: Site, id: str) -> list[chats.Turn]:
    user = next(person.id for person in accounts.people(site.store) if person.role == "user")
    return chats.opened(site.store, user, id)[1]


def test_pages_that_touch_an_answer_in_progress_go_to_the_process_that_has_it() -> None:
    touching = re.compile(r"answers\.|house\.turns|_answer\(|render\(found, account, id")
    found = dict[str, bool]()
    for router in (*chat.PAGES, arena_pages.router):  # labeling's own answers are another thing
        for route in router.routes:
            if isinstance(route, APIRoute) and touching.search(inspect.getsource(route.endpoint)):
                found[route.path] = bool(HELD.fullmatch(re.sub(r"\{\w+\}", "x1", route.path)))
    assert {"/c/{id}", "/c/{id}/live", "/say", "/c/{id}/say", "/t/{id}/again", "/c/{id}/stop", "/c/{id}/delete", "/arena/ask"} <= set(found)
    assert all(found.values()), found


@pytest.mark.parametrize(
    ("path", "query", "line"),
    [
        ("/c/../join", b"token=1", b"GET /c/../join?token=1 HTTP/1.1"),
        ("/c/\u00fc%\x01?#/live", b"a=%41+b&c=#|\xff", b"GET /c/%C3%BC%25%01%3F%23/live?a=%41+b&c=#|%FF HTTP/1.1"),
        ("/accord/c/x", b"", b"GET /accord/c/x HTTP/1.1"),
        (f"/c/{'x' * 65_000}", b"", f"GET /c/{'x' * 65_000} HTTP/1.1".encode()),
    ],
    ids=["dots", "odd characters", "sub-path", "long"],
)
def test_an_address_is_passed_on_as_it_came(path: str, query: bytes, line: bytes, tmp_path: Path) -> None:
    came, sent = list[bytes](), list[Any]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.readuntil(b"\r\n")).strip())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async def nobody(*_: object) -> Any:
        await asyncio.Event().wait()

    async def keep(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        async with await asyncio.start_unix_server(answer, tmp_path / "s", limit=1 << 20):
            scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": [(b"host", b"h")], "accord.body": b""}
            root = {"root_path": "/accord"} if path.startswith("/accord") else {}
            await asyncio.wait_for(
                Forward(nobody, str(tmp_path / "s"))({**scope, **root, "asgi": {"spec_version": "2.4"}}, nobody, keep), 30
            )

    asyncio.run(ask())
    assert came == [line]
    assert [message["status"] for message in sent if "status" in message] == [200]


@pytest.mark.parametrize("command", ["open", pytest.param("chat", marks=pytest.mark.slow)])
def test_each_process_that_dies_is_replaced_and_what_was_said_stays(command: str, tmp_path: Path, speaker: str) -> None:
    with opened(command, tmp_path / "bakery", "--upstream", speaker) as site:
        awaited("two workers and one that answers", lambda: [*map(len, site.processes())] == [2, 1])
        user = site.come("user")
        token = csrf(user)
        began = patiently(lambda: user.post("/say", data={"csrf": token, "text": "Which bread?", "key": "k" * 20}, headers=JSON))
        id = began.raise_for_status().json()["next"].rpartition("/")[2]

        # Whichever worker is asked shows the same answer in progress; one is killed meanwhile.
        seen = {'data-live="' in patiently(lambda: site.anew(user, f"/c/{id}", **HTML)).text for _ in range(3)}
        assert seen == {True} or len(turns(site, id)) == 2
        killed = site.processes()[0][0]
        os.kill(killed, signal.SIGKILL)
        followed = patiently(lambda: site.anew(user, f"/c/{id}/live"))
        assert followed.headers["content-type"].startswith("text/event-stream")
        assert followed.text.rstrip().endswith('data: {"problem": ""}')
        awaited("the answer", lambda: len(turns(site, id)) == 2)
        assert turns(site, id)[1].text.split() == [f"word-{number}" for number in range(WORDS)]
        awaited("a new worker", lambda: len(site.processes()[0]) == 2 and killed not in site.processes()[0])

        # The process that answers is killed in the middle of an answer: the question stays, and is answered when it is asked again.
        token = csrf(user)
        last = {"csrf": token, "text": "And why?", "key": "l" * 20, "parent": turns(site, id)[1].id}
        assert patiently(lambda: user.post(f"/c/{id}/say", data=last, headers=JSON)).status_code == 200
        (answering,) = site.processes()[1]
        os.kill(answering, signal.SIGKILL)
        page = patiently(lambda: site.anew(user, f"/c/{id}", **HTML))
        assert page.status_code == 200, page.text
        assert "And why?" in page.text
        asked = next(turn for turn in turns(site, id) if turn.text == "And why?")
        assert site.processes()[1] != [answering]
        if not any(turn.parent == asked.id for turn in turns(site, id)):
            again = patiently(lambda: user.post(f"/t/{asked.id}/again", data={"csrf": token}, headers=JSON))
            assert again.status_code == 200, again.text
        awaited("the second answer", lambda: any(turn.parent == asked.id and turn.text for turn in turns(site, id)))
        assert [turn.text for turn in turns(site, id) if turn.role == "user"] == ["Which bread?", "And why?"]
        user.close()


@pytest.mark.slow
def test_labeling_goes_on_while_the_process_that_answers_is_dead(tmp_path: Path, speaker: str) -> None:
    with opened("open", tmp_path / "bakery", "--upstream", speaker, "--root-path", "/accord", path="/accord") as site:
        asked = Prompt("q", (Message("user", "Which bread?"),))
        responses = tuple(Response(f"q-{n}", "q", text, "sft") for n, text in enumerate(("Rye.", "Oats.")))
        tasks.add(site.store, [Task("t", "rank", asked, responses, "training", 3, 0.0)])
        people = [site.come("labeler") for _ in range(3)]
        awaited("the process that answers", lambda: len(site.processes()[1]) == 1)
        os.kill(site.processes()[1][0], signal.SIGKILL)
        for number, person in enumerate(people):
            if number == 1:
                os.kill(site.processes()[0][0], signal.SIGKILL)
            given = patiently(lambda person=person: person.get("/next", headers=JSON)).raise_for_status().json()
            frame = {"csrf": given["csrf"], "key": given["key"], "revision": str(given["task"]["revision"])}
            frame |= {"version": given["task"]["guideline"]["version"]} | RANKED
            reply = patiently(lambda person=person, frame=frame: person.post("/tasks/t/answer", data=frame, headers=JSON))
            assert reply.status_code == 200, reply.text
            person.close()
        assert len(list(site.store.rankings())) == len(people)
        user = site.come("user")
        page = patiently(lambda: site.anew(user, "/chat", **HTML))
        assert 'action="/accord/say"' in page.text
        began = patiently(lambda: user.post("/say", data={"csrf": csrf(user), "text": "Which bread?", "key": "k" * 20}))
        assert began.status_code == 303
        assert re.fullmatch(r"/accord/c/\w+", began.headers["location"]), "the process that answers knows the path too"
        user.close()


def test_a_folder_of_projects_is_served_by_one_process(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="served by one process"):
        open_(tmp_path, all=True, config=OpenConfig(workers=2))
