"""Feedback by the API, as an app sends it over HTTP: taken once, from the right app and user, learned from after a review."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from serving.apps.conftest import Served, chat, problem, response_id
from sqlalchemy import func, select

from accord.feedback import consents, review, schema
from accord.feedback.store import Store
from accord.feedback.thumbs import thumbs
from accord.records import Message
from accord.serving.screens import EVERYTHING


def give(client: httpx.Client, id: str, **said: Any) -> httpx.Response:
    return client.post("/v1/feedback", json={"response_id": id, **said})


def waiting(store: Store) -> list[review.Item]:
    return review.waiting(store, EVERYTHING)


def accept_all(store: Store) -> None:
    for item in waiting(store):
        review.accept(store, item.reaction.id, by="lea", screen=EVERYTHING, now=datetime.now(UTC))


def rows(store: Store) -> dict[str, int]:
    with store.read() as connection:
        return {t.name: connection.scalar(select(func.count()).select_from(t)) or 0 for t in schema.metadata.sorted_tables}


def test_feedback_waits_for_consent_and_review_and_then_is_a_record_that_names_the_app(served: Served) -> None:
    app = served.client("bakery")
    id = response_id(app, "My mail is ann@example.org. Which bread?")
    taken = give(app, id, user="ann", thumb="up", score=0.9, correction="Rye.", comment="warm", tags=["helpful", "fast"])
    assert taken.status_code == 201
    body = taken.json()
    assert [item["kind"] for item in body["items"]] == ["thumb", "score", "correction"]
    assert {item["state"] for item in body["items"]} == {"waiting_for_consent"}
    assert waiting(served.store) == [], "nobody has agreed"
    assert "ann" not in body["user"], "the name is not stored"
    assert app.post("/v1/consents", json={"user": "ann", "given": True}).json() == {
        "object": "consent", "user": body["user"], "given": True
    }  # fmt: skip
    item = waiting(served.store)[0]
    assert item.messages == (Message("user", "My mail is [email]. Which bread?"),)
    assert item.request
    assert (item.request.app, item.request.response) == ("bakery", id)
    accept_all(served.store)
    (prompt,) = served.store.prompts()
    assert prompt.source == f"api {id} bakery"
    assert prompt.user == body["user"]
    assert "example.org" not in prompt.messages[0].content
    assert [thumb.up for thumb in served.store.thumbs()] == [True, True]
    (demonstration,) = served.store.demonstrations()
    assert (demonstration.text, demonstration.labeler) == ("Rye.", body["user"])
    (ranked,) = served.store.ranked_prompts()
    assert [response.model for response in ranked.responses] == ["correction", "ppo@aaaaaaaaaaaa"]
    assert app.get(f"/v1/feedback/{body['items'][0]['id']}").json()["items"][0]["state"] == "accepted"


def test_an_unknown_or_foreign_response_is_not_there(served: Served) -> None:
    app, other = served.client("bakery"), served.client("mill")
    id = response_id(app, user="ann")
    before = rows(served.store)
    replies = [
        give(app, "chatcmpl-none", thumb="up"),
        give(other, id, thumb="up"),
        give(other, id, thumb="up", user="ann"),
        give(app, id, thumb="up", user="ben"),
        give(app, id, thumb="up", index=1),
        give(app, "\u0000", thumb="up"),
        give(app, id, choice={"response_id": response_id(other), "better": "this"}),
    ]
    assert {problem(reply) for reply in replies} == {(404, "no_such_response")}
    assert len({reply.text.replace(": index", "") for reply in replies[:4]}) == 1, "one message for all, so that nothing is told"
    assert rows(served.store)["reactions"] == before["reactions"]
    item = give(app, id, thumb="up").json()["items"][0]["id"]
    assert problem(other.get(f"/v1/feedback/{item}")) == problem(other.delete(f"/v1/feedback/{item}")) == (404, "no_such_feedback")
    assert problem(served.client("third").delete("/v1/users", params={"user": "ann"})) == (404, "no_such_user")


def test_what_is_said_again_replaces_the_first(served: Served) -> None:
    app = served.client()
    id = response_id(app)
    first = give(app, id, thumb="up").json()["items"][0]
    second = give(app, id, thumb="down", consent=True).json()["items"][0]
    assert second["replaced"] == [first["id"]]
    assert app.get(f"/v1/feedback/{first['id']}").json()["items"][0]["state"] == "withdrawn"
    accept_all(served.store)
    assert [thumb.up for thumb in served.store.thumbs()] == [False]
    assert give(app, id, thumb="up").json()["items"][0]["replaced"] == [second["id"]]
    assert list(served.store.thumbs()) == [], "the earlier word no longer counts, and the new one waits for a review"


def test_after_deletion_it_is_gone_and_said_so(served: Served) -> None:
    app = served.client()
    id = response_id(app)
    item = give(app, id, thumb="up", consent=True).json()["items"][0]["id"]
    accept_all(served.store)
    assert len(list(served.store.thumbs())) == 1
    erased = app.delete("/v1/users", params={"user": "ann"}).json()
    assert erased["rows"]["conversations"] == 1
    assert erased["rows"]["prompts"] == 1
    assert list(served.store.thumbs()) == list(served.store.prompts()) == []
    assert problem(give(app, id, thumb="up")) == (410, "response_deleted")
    assert app.get(f"/v1/feedback/{item}").json()["items"][0]["state"] == "withdrawn"
    with served.store.read() as connection:
        assert "bread" not in json.dumps([list(map(str, row)) for row in connection.execute(select(schema.turns))])


@pytest.mark.parametrize(
    ("at", "code"),
    [(timedelta(minutes=6), "in_the_future"), (timedelta(days=-1), "before_the_response"), (timedelta(days=365 * 7000), "in_the_future")],
)
def test_a_time_that_cannot_be_is_refused(served: Served, at: timedelta, code: str) -> None:
    app = served.client()
    id = response_id(app)
    said = (datetime.now(UTC) + at).isoformat()
    assert problem(give(app, id, thumb="up", at=said)) == (400, code)
    assert give(app, id, thumb="up", at=datetime.now(UTC).isoformat()).status_code == 201
    assert problem(give(app, id, thumb="up", at="2026-01-01T00:00:00")) == (400, "invalid_value"), "without a time zone"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"comment": " "},
        {"thumb": "sideways"},
        {"score": 1.1},
        {"score": True, "thumb": None, "tags": [""]},
        {"correction": ""},
        {"tags": ["x" * 61]},
        {"tags": ["x"] * 21},
        {"comment": "x" * 4001},
        {"correction": "x" * 20_001},
        {"thumb": "up", "thumbs": 1},
        {"thumb": "up", "user": "x" * 301},
        {"choice": {"response_id": "x", "better": "mine"}},
        {"thumb": "up", "comment": "\ud800"},
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(served: Served, said: dict[str, Any]) -> None:
    app = served.client()
    body = json.dumps({"response_id": response_id(app), **said})
    reply = app.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]
    assert rows(served.store)["reactions"] == 0


def test_an_unknown_field_is_named_with_its_nearest(served: Served) -> None:
    reply = give(served.client(), "x", thumbs="up")
    assert problem(reply) == (400, "unknown_field")
    assert reply.json()["error"]["message"] == "unknown field 'thumbs': did you mean 'thumb'?"
    reply = give(served.client(), "x", **{"x" * 1_000_000: "up"})
    assert reply.json()["error"]["message"] == f"unknown field '{'x' * 60}'"


def test_a_correction_that_changes_nothing_is_refused(served: Served) -> None:
    app = served.client()
    answer = chat(app).json()
    assert problem(give(app, answer["id"], correction=answer["choices"][0]["message"]["content"])) == (422, "same_text")


def test_a_choice_between_two_answers_is_a_ranking(served: Served) -> None:
    app = served.client()
    two = response_id(app, n=2)
    one, same, other = response_id(app), response_id(app, "Which  bread?"), response_id(app, "Which cake?")
    assert give(app, two, consent=True, choice={"response_id": two, "index": 1, "better": "other"}).status_code == 201
    assert give(app, one, choice={"response_id": two, "better": "this"}).status_code == 201
    assert problem(give(app, one, choice={"response_id": other, "better": "this"})) == (400, "different_conversations")
    assert problem(give(app, one, choice={"response_id": same, "better": "this"})) == (400, "different_conversations")
    assert problem(give(app, one, choice={"response_id": one, "better": "this"})) == (400, "invalid_value")
    accept_all(served.store)
    ranked = {row.id: row for row in served.store.rankings()}
    assert sorted(row.ranks for row in ranked.values()) == [(1, 2), (2, 1)]


def test_an_idempotency_key_carries_a_request_out_once(served: Served) -> None:
    app, other = served.client("bakery"), served.client("mill")
    id = response_id(app)
    said: dict[str, Any] = {"response_id": id, "thumb": "up"}
    replies: list[httpx.Response] = []

    def send() -> None:
        replies.append(app.post("/v1/feedback", json=said, headers={"Idempotency-Key": "k1"}))

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.text for reply in replies}) == 1, "one reply, replayed"
    assert sum("idempotent-replayed" in reply.headers for reply in replies) == 4
    assert rows(served.store)["reactions"] == 1
    changed = app.post("/v1/feedback", json=said | {"thumb": "down"}, headers={"Idempotency-Key": "k1"})
    assert problem(changed) == (422, "idempotency_key_reused")
    elsewhere = app.post("/v1/prompts", json=said, headers={"Idempotency-Key": "k1"})
    assert elsewhere.status_code == 400
    assert problem(other.post("/v1/feedback", json=said, headers={"Idempotency-Key": "k1"})) == (404, "no_such_response")
    refused = app.post("/v1/feedback", json=said | {"score": 2}, headers={"Idempotency-Key": "k2"})
    assert refused.status_code == 400
    assert app.post("/v1/feedback", json=said, headers={"Idempotency-Key": "k2"}).status_code == 201, "a refused one uses no key up"


def test_an_apps_own_data_goes_the_same_way(served: Served) -> None:
    app = served.client("bakery", scopes=("feedback",), store="")
    asked = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which bread?"}], "user": "ann"}
    pair = [{"content": "Rye.", "model": "gpt-x"}, {"content": "No idea, ask ben@example.org."}]
    sent = {
        "comparisons": asked | {"responses": pair, "choice": "first", "consent": True},
        "demonstrations": asked | {"response": "Rye, of course."},
        "prompts": asked | {"tags": ["evening"]},
    }
    kinds = [app.post(f"/v1/{route}", json=body).json()["items"][0]["kind"] for route, body in sent.items()]
    assert kinds == ["choice", "demonstration", "prompt"]
    accept_all(served.store)
    assert len(list(served.store.prompts())) == 3
    (ranking,) = served.store.ranked_prompts()
    assert [(r.text, r.model) for r in ranking.responses] == [("Rye.", "gpt-x"), ("No idea, ask [email].", "")]
    assert ranking.ranks == (1, 2)
    assert ranking.prompt.messages[0] == Message("system", "Be brief.")
    assert [d.text for d in served.store.demonstrations()] == ["Rye, of course."]
    last = {"messages": [*asked["messages"], {"role": "assistant", "content": "Rye."}]}
    assert problem(app.post("/v1/prompts", json=last)) == (400, "invalid_value")
    one = {"messages": asked["messages"], "responses": pair[:1], "choice": "first"}
    assert app.post("/v1/comparisons", json=one).status_code == 400
    assert app.post("/v1/chat/completions", json={"model": "ppo", "messages": asked["messages"]}).status_code == 403


def test_consent_that_is_withdrawn_takes_the_records_out(served: Served) -> None:
    app = served.client()
    give(app, response_id(app), thumb="up", consent=True)
    accept_all(served.store)
    assert len(list(served.store.thumbs())) == 1
    app.post("/v1/consents", json={"user": "ann", "given": False})
    assert list(served.store.thumbs()) == list(served.store.prompts()) == []
    give(app, response_id(app), thumb="up")
    assert waiting(served.store) == []
    stated = served.client("terms", terms="https://bakery.example/privacy#training")
    give(stated, response_id(stated, user="zoe"), thumb="up")
    (item,) = waiting(served.store)
    assert item.request
    assert item.request.terms == "https://bakery.example/privacy#training"
    assert stated.post("/v1/consents", json={"user": "zoe", "given": False}).status_code == 200
    give(stated, response_id(stated, user="zoe"), thumb="up")
    assert waiting(served.store) == [], "a no of the user's own outweighs the app's terms"


def test_a_request_that_named_nobody_becomes_the_users_who_speaks_of_it(served: Served) -> None:
    app = served.client()
    id = response_id(app, user="")
    assert give(app, id, comment="good").status_code == 201
    taken = give(app, id, thumb="up", user="ann", consent=True).json()
    assert problem(give(app, id, thumb="up", user="ben")) == (404, "no_such_response")
    accept_all(served.store)
    assert [thumb.labeler for thumb in thumbs(served.store, "given", good=5, bad=3)] == [taken["user"]]
    assert app.delete("/v1/users", params={"user": "ann"}).json()["rows"]["reactions"] == 2
    assert list(served.store.prompts()) == []


def test_scores_between_make_no_record_and_comments_none(served: Served) -> None:
    app = served.client()
    give(app, response_id(app), score=0.5, consent=True)
    give(app, response_id(app), comment="hm", tags=["slow"])
    give(app, response_id(app), score=0.1)
    accept_all(served.store)
    assert [thumb.up for thumb in served.store.thumbs()] == [False]
    assert len(list(served.store.prompts())) == 1


def test_a_user_sees_everything_and_another_nothing(served: Served) -> None:
    app = served.client()
    give(app, response_id(app, "My private words"), thumb="up")
    everything = app.get("/v1/users", params={"user": "ann"}).json()
    assert everything["conversations"][0]["turns"][0]["text"] == "My private words"
    assert [reaction["kind"] for reaction in everything["reactions"]] == ["thumb"]
    assert problem(app.get("/v1/users", params={"user": "ben"})) == (404, "no_such_user")
    with served.store.read() as connection:
        assert consents.of(connection, everything["user"]) is None


def test_only_a_key_with_the_scope_gets_in_and_old_keys_stay_as_they_were(served: Served) -> None:
    old = served.client("old", scopes=(), store="")
    answer = chat(old)
    assert "x-accord-stored" not in answer.headers
    assert rows(served.store)["conversations"] == 0, "nothing is stored of a key that did not opt in"
    assert problem(give(old, answer.json()["id"], thumb="up")) == (403, "insufficient_scope")
    assert httpx.post(f"{served.url}/v1/feedback", json={}).status_code == 401
    slow = served.client("slow", requests_per_minute=2)
    replies = [give(slow, "x", thumb="up").status_code for _ in range(3)]
    assert replies == [404, 404, 429]
    assert give(served.client(), "x", thumb="up", comment="x" * 4_000_001).status_code == 413


def test_a_stream_can_be_spoken_of_when_it_has_ended_and_when_its_client_left(served: Served) -> None:
    app = served.client()
    body = {"model": "ppo", "messages": [{"role": "user", "content": "one two three"}], "stream": True}
    with app.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["x-accord-stored"] == "feedback; days=30"
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    id = json.loads(lines[0][6:])["id"]
    text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines)
    assert give(app, id, thumb="up").status_code == 201
    everything = app.get("/v1/users", params={"user": ""}).json()
    assert everything["conversations"][0]["turns"][1]["text"] == text
    served.host.pace = 0.05
    with app.stream("POST", "/v1/chat/completions", json=body | {"user": "ann"}) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: {"))
    id = json.loads(first[6:])["id"]
    left = 100
    while give(app, id, thumb="down", user="ann").status_code != 201 and left:
        threading.Event().wait(0.05)  # the server notices that its client left
        left -= 1
    assert left
    turns = app.get("/v1/users", params={"user": "ann"}).json()["conversations"][0]["turns"]
    assert turns[1]["finish"] == "stopped"
