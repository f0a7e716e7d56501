"""Webhooks: signed, once per event, again after a failure, never to a private address unless allowed, and never by a redirect."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from serving.apps.conftest import Served, problem, response_id
from sqlalchemy import select

from accord.client import Rejected, verified
from accord.feedback import outbox, schema
from accord.serving.apps.webhooks import Deliverer, Refusal, address_of, signature

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.8"


@dataclass
class Receiver:
    """A server of the app's, which replies with the statuses that it is told."""

    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list[Any])


@pytest.fixture
def receiver() -> Generator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = found.statuses.pop(0) if found.statuses else 204
            self.send_response(status)
            if status == 302:
                self.send_header("Location", found.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://localhost:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def team(served: Served) -> httpx.Client:
    served.desk.private = True
    return served.client("crowd", scopes=("tasks",), store="")


def deliver(served: Served, seconds: float = 5.0) -> int:
    """Sends what is due, once."""

    async def once() -> int:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return await Deliverer(served.desk, served.keys, private=served.desk.private, seconds=seconds).send_due(client)

    return asyncio.run(once())


def make_due(served: Served) -> None:
    with served.store.write() as connection:
        connection.execute(schema.deliveries.update().values(due=0.0))


def states(served: Served) -> list[tuple[str, int]]:
    d = schema.deliveries
    with served.store.read() as connection:
        return [(row.state, row.attempts) for row in connection.execute(select(d.c.state, d.c.attempts).order_by(d.c.number))]


def thumb(served: Served) -> None:
    app = served.client("bakery")
    app.post("/v1/feedback", json={"response_id": response_id(app), "user": "ann", "thumb": "up", "consent": True})


def test_an_event_arrives_signed_and_names_ids_alone(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    hook = team.post("/v1/webhooks", json={"url": receiver.url}).json()
    thumb(served)
    task = {"kind": "demonstrate", "messages": [{"role": "user", "content": "Which bread?"}]}
    team.post("/v1/tasks", json=task)
    leased = team.post("/v1/tasks/next", json={"labeler": "lou"}).json()["task"]
    said = {"labeler": "lou", "payload": {"text": "Rye."}, "guideline_version": leased["guideline_version"]}
    assert team.post(f"/v1/tasks/{leased['id']}/answers", json=said).status_code == 201
    assert deliver(served) == 2
    events = [verified(body, headers["x-accord-signature"], hook["secret"]) for headers, body in receiver.came]
    assert sorted(event["event"] for event in events) == ["answer.stored", "review.needed"]
    assert b"Rye" not in receiver.came[0][1] + receiver.came[1][1]
    assert receiver.came[0][0]["host"] == receiver.url.split("/")[2]
    assert deliver(served) == 0, "each once"
    headers, body = receiver.came[0]
    good = {"body": body, "signature": headers["x-accord-signature"], "secret": hook["secret"]}
    changes: tuple[dict[str, Any], ...] = (
        {"body": body + b" "},
        {"secret": "whsec-other"},
        {"signature": signature(hook["secret"], body.decode(), int(time.time()) - 301)},
        {"signature": "t=1"},
    )
    for wrong in changes:
        given: dict[str, Any] = good | wrong
        with pytest.raises(Rejected):
            verified(**given)


def test_a_failed_attempt_comes_again_later_and_is_given_up_in_the_end(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    team.post("/v1/webhooks", json={"url": receiver.url, "events": ["review.needed"]})
    receiver.statuses = [500, 302, 204]
    thumb(served)
    assert deliver(served) == 0
    assert deliver(served) == 0, "not before its time"
    assert len(receiver.came) == 1
    make_due(served)
    assert deliver(served) == 0, "a redirect is not followed"
    make_due(served)
    assert deliver(served) == 1
    assert states(served) == [("sent", 3)]
    receiver.statuses = [503] * 20
    thumb(served)
    for _ in range(outbox.ATTEMPTS + 1):
        make_due(served)
        deliver(served)
    assert states(served)[1] == ("given up", outbox.ATTEMPTS)


def test_waits_grow_up_to_a_cap(served: Served, team: httpx.Client) -> None:
    team.post("/v1/webhooks", json={"url": "http://localhost:9/hook", "events": ["round.ready"]})
    at, waits = datetime(2026, 1, 2, tzinfo=UTC), list[float]()
    with served.store.write() as connection:
        outbox.emit(connection, "round.ready", {}, now=at)
        for _ in range(6):
            (delivery,) = outbox.due(connection, ["crowd"], now=at + timedelta(days=1))
            outbox.finish(connection, delivery, "no", sent=False, now=at)
            waits.append(connection.execute(select(schema.deliveries.c.due)).scalar_one() - at.timestamp())
    assert waits == [10, 40, 160, 640, 2560, 3600]


def test_the_queue_is_bounded_and_survives(served: Served, team: httpx.Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    team.post("/v1/webhooks", json={"url": receiver.url, "events": ["round.ready"]})
    with served.store.write() as connection:
        for number in range(5):
            outbox.emit(connection, "round.ready", {"number": number}, now=datetime.now(UTC))
    assert [state for state, _ in states(served)] == ["given up"] * 2 + ["waiting"] * 3
    served.store.engine.dispose()
    assert deliver(served) == 3


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://hook.example/x", [PRIVATE]),
        ("https://hook.example/x", [PUBLIC, PRIVATE]),
        ("https://hook.example/x", ["127.0.0.1"]),
        ("https://hook.example/x", ["169.254.169.254"]),
        ("https://hook.example/x", ["::1"]),
        ("https://hook.example/x", ["::ffff:10.0.0.8"]),
        ("https://hook.example/x", ["fe80::1%eth0"]),
        ("https://hook.example/x", ["224.0.0.1"]),
        ("https://hook.example/x", ["100.64.0.1"]),
        ("https://hook.example/x", ["64:ff9b::a9fe:a9fe"]),
        ("https://hook.example/x", ["2002:7f00:1::"]),
        ("https://hook.example/x", ["2001:0:a00:1::1"]),
        ("https://hook.example/x", ["::7f00:1"]),
        ("https://hook.example/x", ["fec0::1"]),
        ("https://hook.example/x", []),
        ("http://hook.example/x", [PUBLIC]),
        ("ftp://hook.example/x", [PUBLIC]),
        ("https://user:pass@hook.example/x", [PUBLIC]),
        ("https://hook.example:99999/x", [PUBLIC]),
        ("https:///x", [PUBLIC]),
        ("https://[::1", [PUBLIC]),
        ("https://\u2100a.com/", [PUBLIC]),
    ],
)
def test_private_addresses_are_refused(url: str, addresses: list[str]) -> None:
    with pytest.raises(Refusal):
        address_of(url, private=False, resolve=lambda host, port: addresses)
    assert address_of("https://hook.example/x", private=False, resolve=lambda host, port: [PUBLIC]) == ("hook.example", PUBLIC, 443)
    assert address_of("http://hook.example:81/x", private=True, resolve=lambda host, port: [PRIVATE]) == ("hook.example", PRIVATE, 81)


def test_a_name_that_becomes_private_later_gets_nothing(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    team.post("/v1/webhooks", json={"url": receiver.url, "events": ["review.needed"]})
    thumb(served)
    served.desk.private = False
    assert problem(team.post("/v1/webhooks", json={"url": "https://127.0.0.1/x"})) == (400, "address_refused")
    assert deliver(served) == 0
    assert receiver.came == []


def test_hooks_belong_to_their_app(served: Served, team: httpx.Client) -> None:
    hook = team.post("/v1/webhooks", json={"url": "http://localhost:9/x", "events": ["round.ready", "round.ready"]}).json()
    assert hook["events"] == ["round.ready"]
    assert [each["secret"] for each in team.get("/v1/webhooks").json()["data"]] == [None]
    other = served.client("other", scopes=("tasks",), store="")
    assert other.get("/v1/webhooks").json()["data"] == []
    assert problem(other.delete(f"/v1/webhooks/{hook['id']}")) == (404, "no_such_webhook")
    with served.store.write() as connection:
        outbox.emit(connection, "round.ready", {}, now=datetime.now(UTC))
    assert team.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
    assert [state for state, _ in states(served)] == ["given up"]
    assert problem(team.delete(f"/v1/webhooks/{hook['id']}")) == (404, "no_such_webhook")
    assert problem(team.post("/v1/webhooks", json={"url": "http://localhost:9/x", "events": ["all"]})) == (400, "invalid_value")


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("https://b\u00fccher.example/x", ("xn--bcher-kva.example", PUBLIC, 443)),
        ("https://[2606:4700::1]:8/x", ("2606:4700::1", PUBLIC, 8)),
    ],
)
def test_a_host_is_named_as_the_wire_has_it(url: str, reached: tuple[str, str, int]) -> None:
    assert address_of(url, private=False, resolve=lambda host, port: [PUBLIC]) == reached
    for public in ("64:ff9b::5db8:d70e", "2606:4700::1"):
        assert address_of(url, private=False, resolve=lambda host, port, public=public: [public])[1] == public


@pytest.mark.parametrize("url", ["https://[::1", "https://\u2100a.com/"])
def test_an_address_that_is_none_is_a_bad_request(team: httpx.Client, url: str) -> None:
    assert problem(team.post("/v1/webhooks", json={"url": url})) == (400, "address_refused")


def test_an_international_name_and_an_ipv6_address_are_reached(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    hosts = {"b\u00fccher.example": "xn--bcher-kva.example", "[::1]": "[::1]"}
    with served.store.write() as connection:
        for host in hosts:
            outbox.subscribe(connection, "crowd", f"http://{host}:{port}/hook", ["round.ready"], now=datetime.now(UTC))
        outbox.emit(connection, "round.ready", {}, now=datetime.now(UTC))

    async def once() -> int:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return await Deliverer(served.desk, served.keys, private=True, resolve=lambda host, port: ["127.0.0.1"]).send_due(client)

    assert asyncio.run(once()) == 2
    assert sorted(headers["host"] for headers, _ in receiver.came) == sorted(f"{host}:{port}" for host in hosts.values())


def test_an_attempt_ends_however_slowly_the_reply_or_the_name_comes(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    seconds, released = 0.3, threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.flush_headers()
            with contextlib.suppress(OSError):
                for number in range(30):
                    self.wfile.write(b"X-%d: x\r\n" % number)
                    if released.wait(seconds / 3):
                        break
                self.wfile.write(b"\r\n")

        def log_message(self, format: str, *args: Any) -> None: ...

    def found(host: str, port: int) -> list[str]:
        if host == "slow.example":
            released.wait(5)
        return ["127.0.0.1"]

    slow = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=slow.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    urls = (f"http://localhost:{slow.server_port}/x", receiver.url.replace("localhost", "slow.example"), receiver.url)
    with served.store.write() as connection:
        for url in urls:
            outbox.subscribe(connection, "crowd", url, ["round.ready"], now=datetime.now(UTC))
        outbox.emit(connection, "round.ready", {}, now=datetime.now(UTC))

    async def once() -> tuple[int, float]:
        async with httpx.AsyncClient(timeout=seconds, trust_env=False) as client:
            begun = time.monotonic()
            deliverer = Deliverer(served.desk, served.keys, private=True, resolve=found, seconds=seconds)
            sent = await deliverer.send_due(client)
            return sent, time.monotonic() - begun

    try:
        sent, took = asyncio.run(once())
    finally:
        released.set()
        slow.shutdown()
        thread.join()
        slow.server_close()
    assert sent == 1
    assert took < 2, "the dripped reply lasts 3 s, the look-up 5"
    assert [state for state, _ in states(served)] == ["waiting", "waiting", "sent"]


def test_a_webhook_with_much_to_send_leaves_room_for_the_others(served: Served, team: httpx.Client) -> None:
    at = datetime.now(UTC)
    with served.store.write() as connection:
        busy = outbox.subscribe(connection, "crowd", "http://localhost:9/busy", ["round.ready"], now=at)
        for _ in range(60):
            outbox.emit(connection, "round.ready", {}, now=at)
        other = outbox.subscribe(connection, "crowd", "http://localhost:9/other", ["round.ready"], now=at)
        outbox.emit(connection, "round.ready", {}, now=at)
        urls = [delivery.url for delivery in outbox.due(connection, ["crowd"], now=at)]
    assert urls == [busy.url, other.url, *[busy.url] * (outbox.PER_HOOK - 1)]


def test_a_revoked_key_ends_what_its_app_is_told_until_it_has_another(served: Served, team: httpx.Client, receiver: Receiver) -> None:
    team.post("/v1/webhooks", json={"url": receiver.url, "events": ["review.needed"]})
    served.client("other", scopes=("tasks",), store="")
    served.keys.add("crowd", scopes=("chat",))
    (key,) = (key for key in served.keys.all() if key.name == "crowd" and key.can("tasks"))
    served.keys.revoke(key.id)
    thumb(served)
    assert deliver(served) == 0
    assert receiver.came == []
    served.keys.add("crowd", scopes=("tasks",))
    assert deliver(served) == 1
