"""Requests at random over every route of every server, in this process: does any end in a 5xx other than 503 or 504, a crash or a hang?

    python benchmarks/fuzz_routes.py --requests 200000 [--seconds 900] [--seed 1] [--out benchmarks/results/fuzz_routes.json]

The record is the sum of all runs, each with its seed and commit: take a seed that none of them had.

The servers are the whole site (labeling, chat, review, runs, data, people, report) and the API with its routes for apps, over a store and a
scripted model. A request is a method and an address out of the route tables, with path parts of records that are there or made up, and a
form, JSON or bytes: fields that pages send, with values that are right, odd, long or of another type. They come from a stranger and from
each role, mostly with the form's own token. What leads start as jobs is not started: the limit of jobs that wait is reached beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
sys.path.insert(0, str(HERE.parent / "tests" / "serving"))

import summed  # noqa: E402
from serving.web.conftest import Scripted  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from talking import talking_model  # noqa: E402

from accord import Message, OpenConfig, Project, Prompt, Response, ServeConfig, Store  # noqa: E402
from accord.commands.serve.serve import desk_of  # noqa: E402
from accord.feedback import accounts, tasks  # noqa: E402
from accord.feedback.app_prompts import Draw  # noqa: E402
from accord.feedback.schema import metadata  # noqa: E402
from accord.runtime import jobs  # noqa: E402
from accord.serving.api import create as create_api  # noqa: E402
from accord.serving.apps import hook_routes, routes, task_routes  # noqa: E402
from accord.serving.apps.desk import mount  # noqa: E402
from accord.serving.apps.keeper import Keeper  # noqa: E402
from accord.serving.keys import Keys  # noqa: E402
from accord.serving.screens import EVERYTHING  # noqa: E402
from accord.serving.upstream import Upstream  # noqa: E402
from accord.site.app import create as create_site  # noqa: E402
from accord.site.project_site import site_of  # noqa: E402

DEADLINE = 20.0
"""Seconds after which a request counts as one that hangs."""
ODD: list[Any] = [
    "", " ", "0", "-1", "1", "999999999999999999999", "1e999", "nan", "NaN", "inf", "\0", "\ud7ff", "\u202e", "\U0001f642" * 200,
    "x" * 5000,
    "../../etc/passwd", "%00",
    "'; DROP TABLE prompts; --", "<script>alert(1)</script>", "{{7*7}}", "true", "null", "[]", "{}", "2026-13-45",
    "first", "save", "yes", "no", "en", "zh", "lead", "labeler", "training", "rank", "up", "a@b.co", "/mine", "//evil.example", "\r\nX: y",
    "\u0661\u0662", "\xbd",
]  # fmt: skip
QUERIES = ("q", "page", "at", "to", "kind", "who", "sort", "limit", "before", "user", "set", "name")
HEADERS = ("accept-language", "cookie", "origin", "range", "if-none-match", "x-forwarded-for", "idempotency-key")
PLAIN = ("application/json", "text/plain", "", "application/x-www-form-urlencoded")
JSONS: list[Any] = [None, True, -1, 0, 1.5, 1e308, 2**63, "", "x", "\x00", "🙂" * 50, [], {}, [[]], [None], {"a": {}}, [1, "2", {}], "NaN"]
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "far", "messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 4, "user": "u"},
    "/v1/completions": {"model": "far", "prompt": "Hi", "max_tokens": 4},
    "/v1/responses": {"model": "far", "input": "Hi", "max_output_tokens": 4},
    "/v1/embeddings": {"model": "far", "input": "Hi"},
    "/v1/feedback": {"messages": [{"role": "user", "content": "Hi?"}], "response": {"content": "Ho."}, "thumb": "up", "user": "u"},
    "/v1/comparisons": {
        "messages": [{"role": "user", "content": "Hi?"}],
        "responses": [{"content": "a"}, {"content": "b"}],
        "choice": "first",
        "user": "u",
    },
    "/v1/demonstrations": {"messages": [{"role": "user", "content": "Hi?"}], "response": "Ho.", "user": "u"},
    "/v1/prompts": {"messages": [{"role": "user", "content": "Hi?"}], "user": "u"},
    "/v1/consents": {"user": "u", "given": True},
    "/v1/tasks": {"kind": "compare", "messages": [{"role": "user", "content": "Hi?"}], "responses": [{"content": "a"}, {"content": "b"}]},
    "/v1/webhooks": {"url": "https://example.org/hook", "events": ["task.done"]},
}


@dataclass
class Served:
    """An application, its routes, and who comes."""

    name: str
    app: Any
    routes: Sequence[tuple[str, str]]
    """Methods and addresses."""
    people: Sequence[tuple[str, str, str]]
    """A role, its header of cookies or keys, and the token of its forms."""
    words: Sequence[str]
    """Ids of records that are there."""
    fields: Sequence[str]
    """Names of form fields."""
    arrive: Callable[[], Awaitable[Sequence[tuple[str, str, str]]]] | None = None
    """Lets somebody of each role come in anew: what a lead sends may have revoked the others."""


def table(app: Any, under: str = "") -> list[tuple[str, str]]:
    """Return every method and address of an application, through its layers."""
    found: list[tuple[str, str]] = []
    while not hasattr(app, "routes") and hasattr(app, "app"):
        app = app.app
    for route in getattr(app, "routes", ()):
        if hasattr(route, "original_router"):  # FastAPI includes a router as it is
            found += table(route.original_router, under + getattr(route.include_context, "prefix", ""))
        elif isinstance(route, Mount):
            found += table(route.app, under + route.path)
        elif isinstance(route, Route):
            found += [(method, under + route.path) for method in sorted(route.methods or ())]
        elif hasattr(route, "path"):
            found += [(method, under + route.path) for method in sorted(getattr(route, "methods", None) or ("GET",))]
    return found


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def call(app: Any, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send a request to an application as a server would."""
    path, _, query = target.partition("?")
    given = {"host": "127.0.0.1:8400", "content-length": str(len(body))} | {name.lower(): value for name, value in headers.items()}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": _unquoted(path), "raw_path": path.encode("latin-1", "replace"), "query_string": query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in given.items()],
        "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8400), "state": {},
    }  # fmt: skip
    sent, status, told, parts = False, 0, dict[str, str](), list[bytes]()
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            told.update({name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]})
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                gone.set()

    await app(scope, receive, send)
    return Answer(status, told, b"".join(parts))


def _unquoted(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path, errors="replace")


class Fuzz:
    """Makes requests and judges the answers."""

    def __init__(self, served: Sequence[Served], seed: int) -> None:
        self.served, self.chance = served, random.Random(seed)
        self.statuses, self.routes, self.failures = Counter[str](), Counter[str](), dict[str, str]()
        self.slowest = 0.0

    async def one(self) -> None:
        chance = self.chance
        server = chance.choice(self.served)
        method, address = chance.choice(server.routes)
        role, who, token = chance.choice(server.people)
        if chance.random() < 0.03:
            method = chance.choice(METHODS)
        target = re.sub(r"\{(\w+)(:\w+)?\}", lambda _: self._part(server), address)
        if chance.random() < 0.4:
            names = chance.choices([*QUERIES, *server.fields[:40]], k=2)
            target += "?" + urlencode({name: str(self._word(server)) for name in names}, errors="replace")
        headers, body = self._body(server, method, address, token)
        if who:
            name, _, value = who.partition(": ")
            headers[name] = value
        if chance.random() < 0.5:
            headers["accept"] = chance.choice(["text/html", "application/json", "*/*", "text/event-stream", "\x7f"])
        if chance.random() < 0.1:
            headers[chance.choice(HEADERS)] = str(self._word(server))
        await self._judge(server, method, address, target, headers, body, role)

    async def _judge(self, server: Served, method: str, address: str, target: str, headers: dict[str, str], body: bytes, role: str) -> None:
        began, what = time.monotonic(), ""
        try:
            answer = await asyncio.wait_for(call(server.app, method, target, headers, body), DEADLINE)
            self.statuses[str(answer.status)] += 1
            if answer.status >= 500 and answer.status not in (503, 504):
                what = f"status {answer.status}: {answer.body[:300]!r}"
            elif b"Traceback (most recent" in answer.body:
                what = "a traceback is shown"
        except TimeoutError:
            what = "a hang"
        except Exception:
            what = traceback.format_exc()[-1500:]
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.routes[f"{server.name} {method} {address}"] += 1
        if what:
            key = f"{server.name} {method} {address} {what.strip().splitlines()[-1][:100]}"
            if key not in self.failures:
                self.failures[key] = f"{what}\n{role} {method} {target[:300]} {headers} {body[:500]!r}"
                print("FAILURE", key, "\n", self.failures[key], flush=True)

    def _part(self, server: Served) -> str:
        word = self.chance.choice(server.words) if self.chance.random() < 0.6 else str(self._word(server))
        return quote(word, safe="", errors="replace") or "x"

    def _word(self, server: Served) -> Any:
        return self.chance.choice(server.words) if self.chance.random() < 0.3 else self.chance.choice(ODD)

    def _body(self, server: Served, method: str, address: str, token: str) -> tuple[dict[str, str], bytes]:
        chance = self.chance
        if method in ("GET", "HEAD", "OPTIONS") and chance.random() < 0.95:
            return {}, b""
        kind = chance.random()
        if server.name == "serve" and kind < 0.9:
            body = json.loads(json.dumps(BODIES.get(address, {"user": "u"})))
            for _ in range(chance.choice((0, 1, 1, 2))):
                self._change(body)
            data = json.dumps(body).encode()
            if chance.random() < 0.1:
                raw = bytearray(data)
                for _ in range(3):
                    raw[chance.randrange(len(raw))] = chance.randrange(256)
                data = bytes(raw)
            return {"content-type": "application/json"}, data
        if kind < 0.85:
            fields = [(name, str(self._word(server))) for name in chance.choices(server.fields, k=chance.randrange(0, 8))]
            if token and chance.random() < 0.85:
                fields.insert(0, ("csrf", token))
            return {"content-type": "application/x-www-form-urlencoded"}, urlencode(fields, errors="replace").encode()
        if kind < 0.93:
            edge = "edge"
            name = chance.choice(server.fields)
            value = str(self._word(server)).encode("utf-8", "replace")
            parts = f'--{edge}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n--{edge}\r\n'.encode()
            parts += f'Content-Disposition: form-data; name="{name}"; filename="rows.jsonl"\r\n\r\n'.encode() + value
            return {"content-type": f"multipart/form-data; boundary={edge}"}, parts + f"\r\n--{edge}--\r\n".encode()
        return {
            "content-type": chance.choice(["application/json", "text/plain", "", "application/x-www-form-urlencoded"])
        }, chance.randbytes(chance.randrange(200))

    def _change(self, value: Any) -> None:
        """Change one place of a JSON value."""
        places: list[tuple[Any, Any]] = []

        def walk(inner: Any) -> None:
            for key, part in inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ():
                places.append((inner, key))
                walk(part)

        walk(value)
        holder, key = self.chance.choice(places or [(value, "x")])
        if isinstance(holder, dict) and self.chance.random() < 0.2:
            holder.pop(key, None)
            return
        holder[key] = copy.deepcopy(self.chance.choice(JSONS))


CSRF = re.compile(r'name="csrf" value="(\w+)"')
FIELD = re.compile(r'name="([\w\[\]{}.-]+)"')


def made(folder: Path, upstream: str) -> list[Served]:
    """Return the servers over one project with some records, and somebody of each role."""
    project = Project.create(folder / "p")
    store = Store.open(project.store_url)
    prompts = [Prompt(f"p{n}", (Message("user", f"Question {n}?"),)) for n in range(6)]
    shown = [Response(f"r{n}-{k}", f"p{n}", f"Response {k} to {n}.", "ppo") for n in range(6) for k in range(2)]
    store.add(prompts=prompts, responses=shown)
    tasks.add(store, tasks.from_responses({prompt.id: prompt for prompt in prompts}, shown, overlap=3))
    models = Scripted()
    full(project)
    site = site_of(project, store, OpenConfig(), models=models, library=models, secret="x" * 40)
    pages = create_site(site)
    loop = asyncio.get_event_loop()
    loop.run_until_complete(models.start())
    fields = {"csrf", "action", "key", "revision", "seconds", "version"}
    for template in (HERE.parent / "src" / "accord").rglob("*.html"):
        fields |= {name for name in FIELD.findall(template.read_text()) if "{" not in name}
    fields |= {f"{name}-{place}" for name in ("rank", "quality", "flags", "note") for place in (1, 2)}
    words = [id for name in ("prompts", "responses", "tasks", "accounts", "labelers") for id in ids(store, name)]
    words += ["ppo", "sft", "1", "2", "training", "evaluation", "prompts", "responses", "rankings", "demonstrations"]
    keys = Keys(project.path)
    token, _ = keys.add("fuzz", scopes=("chat", "feedback", "tasks", "read"), store="prompts", requests_per_minute=0)  # type: ignore[arg-type]
    desk = desk_of(project, ServeConfig())
    keeper = Keeper(desk, Draw(EVERYTHING, 1.0, 0, 0.1), 30.0)
    mounted: list[Any] = []

    def extend(app: Any) -> None:
        mount(app, desk, routes.router, task_routes.router, hook_routes.router)
        mounted.append(app)

    far = Upstream(upstream, seconds=10)
    loop.run_until_complete(far.start())
    api = create_api(far, keys=keys, keeper=keeper, extend=extend, limits=unlimited())
    callers = [("stranger", "", ""), *[("app", f"authorization: Bearer {token}", "")] * 6, ("wrong", "authorization: Bearer ak-wrong", "")]
    return [
        Served("site", pages, routes_of(pages), [], words, sorted(fields), lambda: arrived(store, pages)),
        Served("serve", api, table(mounted[0]), callers, [*words, "far"], sorted(fields)),
    ]


async def arrived(store: Store, pages: Any) -> Sequence[tuple[str, str, str]]:
    """Let somebody of each role come in by invitation."""
    sessions: list[tuple[str, str, str]] = [("stranger", "", "")]
    for role in ("labeler", "user", "viewer", "lead"):
        token = accounts.invite(store, role, f"{role} {time.monotonic_ns()}", by="fuzz", now=datetime.now(UTC))
        form = {"content-type": "application/x-www-form-urlencoded"}
        came = await call(pages, "POST", "/join", form, f"token={token}".encode())
        cookie = came.headers["set-cookie"].partition(";")[0]
        page = await call(pages, "GET", "/profile", {"cookie": cookie, "accept": "text/html"}, b"")
        found = CSRF.findall(page.body.decode())
        sessions += [(role, f"cookie: {cookie}", found[0] if found else "")] * 2
    return sessions


def routes_of(app: Any) -> list[tuple[str, str]]:
    found = [one for one in table(app) if not one[1].startswith("/static")]
    return [one for one in found if one[1] not in ("/leave", "/mine/delete")]  # whoever leaves or is deleted asks no more


def unlimited() -> Any:
    from accord.serving.limits import Limits

    return Limits(0, 0)


def ids(store: Store, name: str) -> list[str]:
    from sqlalchemy import select

    with store.read() as connection:
        return [str(id) for id in connection.scalars(select(metadata.tables[name].c.id).limit(12))]


def full(project: Project) -> None:
    """Let every queue of jobs be full, so that no page starts a command."""
    jobs.MOST_WAITING = 0


async def fuzz(fuzzed: Fuzz, requests: int, seconds: float) -> int:
    end, number = time.monotonic() + seconds, 0
    while number < requests and time.monotonic() < end:
        if number % 500 == 0:
            for server in fuzzed.served:
                server.people = await server.arrive() if server.arrive else server.people
        await fuzzed.one()
        number += 1
        if number % 5000 == 0:
            print(
                f"{number:,}: {dict(sorted(fuzzed.statuses.items()))}, {len(fuzzed.routes)} routes, {len(fuzzed.failures)} failures",
                flush=True,
            )
    return number


def measure(requests: int, seconds: float = 1e9, seed: int = 0) -> dict[str, Any]:
    """Return the figures of so many requests, or of as many as the seconds allow."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory() as folder, talking_model() as upstream:
        served = made(Path(folder), upstream)
        began, fuzzed = time.monotonic(), Fuzz(served, seed)
        number = loop.run_until_complete(fuzz(fuzzed, requests, seconds))
        with suppress(Exception):
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return {
        "requests": number,
        "routes": len(fuzzed.routes),
        "of_routes": sum(len(set(server.routes)) for server in served),
        "statuses": dict(sorted(fuzzed.statuses.items())),
        "slowest_s": round(fuzzed.slowest, 2),
        "failures": list(fuzzed.failures),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fuzz_routes.json")
    given = parser.parse_args()
    found = measure(given.requests, given.seconds, given.seed)
    summed.add(given.out, "requests", {"seed": given.seed} | found)
    print(json.dumps(found, indent=2))
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.exit(main())
