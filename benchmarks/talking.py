"""People and programs that talk to a model which repeats what it is asked, so that every answer is known beforehand.

Each client notes down what was acknowledged: a turn whose POST was answered, an answer that a page has shown or an API has sent.
"""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

CSRF = re.compile(r'name="csrf" value="(\w+)"')
ANSWER = re.compile(r'<article class="answer" id="([^"]+)".*?</article>', re.DOTALL)
TAG = re.compile(r"<[^>]+>")


def answer_to(asked: str) -> str:
    return f"You asked: {asked}"


class Repeats(BaseHTTPRequestHandler):
    """An OpenAI-compatible server of one model, which repeats the last message."""

    def do_GET(self) -> None:
        self._send(b'{"data": [{"id": "far"}]}')

    def do_POST(self) -> None:
        try:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except ValueError:
            return  # whoever asked was killed meanwhile
        turns = asked.get("messages") or [{"content": asked.get("prompt")}]
        said = answer_to(str(turns[-1]["content"]))
        chunks: list[dict[str, Any]] = [{"delta": {"content": part}} for part in re.findall(r"\S+\s*", said)]
        chunks.append({"delta": {}, "finish_reason": "stop"})
        self._send("".join(f"data: {json.dumps({'choices': [chunk]})}\n\n" for chunk in chunks).encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def talking_model() -> Iterator[str]:
    """Yield the address of a server of the model that repeats."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeats)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


class Asker:
    """Somebody on the chat's page, who came in by an invitation; what gets no answer is sent again with the same key."""

    def __init__(self, address: str, token: str, name: str) -> None:
        self.name, self.turns, self.sent_again = name, list[str](), 0
        self.answers: dict[str, str] = {}
        """The text of each answer that a page has shown, by its id."""
        self.client = httpx.Client(base_url=address, timeout=30)
        self.client.post("/join", data={"token": token})
        self.csrf = CSRF.findall(self.client.get("/mine").text)[0]

    def talk(self, over: threading.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            text = f"Who keeps the mill, {self.name}, time {number}?"
            page = self._say({"csrf": self.csrf, "text": text, "key": f"{self.name}-{number}"}, over)
            if page:
                self.turns.append(text)
                self._look(page, answer_to(text))
        self.client.close()

    def _say(self, form: dict[str, str], over: threading.Event) -> str:
        while not over.is_set():
            try:
                reply = self.client.post("/say", data=form, headers={"Accept": "application/json"})
                return str(reply.raise_for_status().json()["next"])
            except (httpx.HTTPError, ValueError):
                self.sent_again += 1
                time.sleep(0.05)
        return ""

    def _look(self, page: str, wanted: str) -> None:
        """Follow the answer and look at the page; a server that dies meanwhile has shown nothing."""
        try:
            self.client.get(f"{page}/live")
            shown = self.client.get(page, headers={"Accept": "text/html"}).text
        except httpx.HTTPError:
            return
        for found in ANSWER.finditer(shown):
            if wanted in " ".join(html.unescape(TAG.sub(" ", found[0])).split()):
                self.answers[found[1]] = wanted


class Sender:
    """An app with a key: asks, and sends answers that people wrote, each until it is acknowledged."""

    def __init__(self, address: str, key: str, name: str) -> None:
        self.name = name
        self.answers: dict[str, tuple[str, str]] = {}
        """Question and answer of each completion that the server said it stores, by its id."""
        self.written: list[str] = []
        """Texts of the demonstrations that were acknowledged."""
        self.client = httpx.Client(base_url=address, timeout=30, headers={"Authorization": f"Bearer {key}"})

    def work(self, over: threading.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            asked = f"Who keeps the mill, {self.name}, time {number}?"
            turns, who = [{"role": "user", "content": asked}], f"{self.name} user {number % 5}"
            reply = self._post("/v1/chat/completions", {"model": "far", "messages": turns, "user": who, "max_tokens": 64}, {}, None)
            if reply and not reply.headers.get("X-Accord-Stored", "no").startswith("no"):
                said = reply.json()
                self.answers[said["id"]] = (asked, said["choices"][0]["message"]["content"])
            written = f"The miller, says {self.name} at time {number}."
            body = {"messages": turns, "response": written, "user": who}
            if self._post("/v1/demonstrations", body, {"Idempotency-Key": f"{self.name}-{number}"}, over):
                self.written.append(written)
        self.client.close()

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str], until: threading.Event | None) -> httpx.Response | None:
        """Return the reply, sent again until one comes when there is an end to wait for; None when none came."""
        while True:
            try:
                reply = self.client.post(path, json=body, headers=headers)
                if reply.status_code < 300:
                    return reply
                if reply.status_code < 500:
                    raise RuntimeError(f"{reply.status_code}: {reply.text[:300]}")
            except httpx.HTTPError:
                pass
            if until is None or until.is_set():
                return None
            time.sleep(0.05)
