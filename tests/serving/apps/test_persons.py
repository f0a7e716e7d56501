"""What belongs to a person: nobody speaks for users without names, and what is erased leaves no copy for repeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from serving.apps.conftest import Served, chat, problem, response_id
from sqlalchemy import select, update

from accord.client import Client, Rejected
from accord.feedback import consents, erasure, replays, schema
from accord.feedback.apps import pseudonym
from accord.feedback.store import Store
from accord.serving.apps.desk import Desk
from accord.serving.apps.upkeep import empty_due
from accord.serving.keys import Keys

ASKED = [{"role": "user", "content": "Which bread for my daughter Mirabel?"}]


def kept_bodies(served: Served) -> str:
    with served.store.read() as connection:
        return "\n".join(connection.scalars(select(schema.replays.c.body)))


def test_nobody_agrees_or_is_erased_in_the_name_of_all_users_without_names(served: Served) -> None:
    app = served.client()
    of_nobody = response_id(app, user="")
    for route, body in (
        ("consents", {"user": "", "given": True}),
        ("consents", {"user": "", "given": False}),
        ("feedback", {"response_id": of_nobody, "thumb": "up", "consent": True}),
        ("feedback", {"response_id": of_nobody, "thumb": "up", "consent": False}),
        ("prompts", {"messages": ASKED, "consent": True}),
        ("demonstrations", {"messages": ASKED, "response": "Rye.", "consent": False}),
    ):
        assert problem(app.post(f"/v1/{route}", json=body)) == (400, "no_user"), (route, body)
    assert problem(app.delete("/v1/users", params={"user": ""})) == (400, "no_user")
    with served.store.read() as connection:
        assert consents.of(connection, pseudonym(connection, "bakery", "")) is None
        assert connection.scalar(select(schema.reactions.c.id)) is None
    assert app.post("/v1/feedback", json={"response_id": of_nobody, "thumb": "up"}).status_code == 201
    of_ann = response_id(app, user="ann")
    agreed = app.post("/v1/feedback", json={"response_id": of_ann, "thumb": "up", "consent": True})
    assert agreed.json()["items"][0]["state"] == "waiting_for_review", "the request names the user"


def test_the_client_asks_for_a_name_and_sends_an_id_as_one_part_of_the_path() -> None:
    sent = list[str]()

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(f"{request.method} {request.url.raw_path.decode()}")
        return httpx.Response(404, json={"error": {"message": "none", "code": "no_such_feedback"}})

    with Client("http://x", "key", transport=httpx.MockTransport(reply)) as accord:
        for call in (lambda: accord.consent("", True), lambda: accord.erase("")):
            with pytest.raises(Rejected, match="name the user"):
                call()
        for id in ("", ".", ".."):
            with pytest.raises(Rejected, match="no id"):
                accord.withdraw(id)
        assert sent == []
        for call in (accord.withdraw, accord.state):
            with pytest.raises(Rejected):
                call("../users?user=ann")
    assert sent == [f"{method} /v1/feedback/..%2Fusers%3Fuser%3Dann" for method in ("DELETE", "GET")]


def test_an_id_with_a_path_in_it_erases_nobody(served: Served) -> None:
    app = served.client()
    chat(app)
    token, _ = served.keys.add("bakery", scopes=("feedback",))
    with Client(served.url, token) as accord, pytest.raises(Rejected) as refused:
        accord.withdraw("../users?user=ann")
    assert refused.value.status == 404
    assert app.get("/v1/users", params={"user": "ann"}).json()["conversations"][0]["turns"][0]["text"]


def test_replies_kept_for_repeats_hold_neither_texts_nor_secrets(served: Served) -> None:
    team = served.client("crowd", scopes=("tasks",), store="")
    served.desk.private = True
    wanted = {"kind": "rank", "messages": ASKED, "responses": [{"content": "Rye, dear Mirabel."}, {"content": "None."}]}
    once, hook = {"Idempotency-Key": "one"}, {"url": "http://localhost:9/hook"}
    first = team.post("/v1/tasks", json=wanted, headers=once)
    told = team.post("/v1/webhooks", json=hook, headers={"Idempotency-Key": "two"})
    assert "Mirabel" not in kept_bodies(served)
    assert told.json()["secret"] not in kept_bodies(served)
    again = team.post("/v1/tasks", json=wanted, headers=once)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert team.post("/v1/webhooks", json=hook, headers={"Idempotency-Key": "two"}).json() == told.json(), "the first reply may be lost"
    team.delete(f"/v1/webhooks/{told.json()['id']}")
    gone = team.post("/v1/webhooks", json=hook, headers={"Idempotency-Key": "two"})
    assert problem(gone) == (410, "no_such_webhook")


def test_erasing_a_person_deletes_the_replies_about_them_and_their_tasks(served: Served) -> None:
    app, team = served.client(scopes=("chat", "feedback"), terms="https://bakery.example"), served.client("crowd", scopes=("tasks",))
    for user in ("ann", "bob"):
        said = {"response_id": response_id(app, user=user), "thumb": "up"}
        assert app.post("/v1/feedback", json=said, headers={"Idempotency-Key": user}).status_code == 201
    ann, bob = (app.get("/v1/users", params={"user": user}).json()["user"] for user in ("ann", "bob"))
    task = {"kind": "demonstrate", "messages": ASKED}
    made = team.post("/v1/tasks", json=task, headers={"Idempotency-Key": "task"}).json()
    with served.store.write() as connection:
        connection.execute(update(schema.prompts).where(schema.prompts.c.id == made["prompt_id"]).values(user=ann))
    who = erasure.person(served.store, ann)
    erasure.forget(served.store, who, by="operator", why="asked", now=datetime.now(UTC))
    kept = kept_bodies(served)
    assert ann not in kept
    assert made["id"] not in kept
    assert bob in kept


def test_a_reply_is_kept_for_seven_days_whatever_keys_there_are(served: Served, tmp_path: Path) -> None:
    app = served.client(scopes=("feedback",), store="")
    once = {"Idempotency-Key": "one"}
    first = app.post("/v1/prompts", json={"messages": ASKED}, headers=once).json()
    assert app.post("/v1/prompts", json={"messages": ASKED}, headers=once).json() == first
    old = (datetime.now(UTC) - timedelta(days=replays.DAYS, seconds=1)).timestamp()
    with served.store.write() as connection:
        connection.execute(update(schema.replays).values(at=old))
    new = app.post("/v1/prompts", json={"messages": ASKED}, headers=once)
    assert "idempotent-replayed" not in new.headers
    assert new.json()["response_id"] != first["response_id"]
    with served.store.write() as connection:
        connection.execute(update(schema.replays).values(at=old))
    empty_due(served.desk, served.keys)
    assert kept_bodies(served) == ""


def test_the_database_stays_closed_for_keys_that_only_chat(tmp_path: Path) -> None:
    def never() -> Store:
        raise AssertionError("nothing was stored")

    keys = Keys(tmp_path)
    keys.add("plain")
    assert empty_due(Desk(never), keys) == {}
