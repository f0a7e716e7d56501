"""``accord.client`` and the button for Open WebUI against a real server: whatever breaks on the way, feedback is stored once."""

from __future__ import annotations

import asyncio
import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.apps.conftest import Served, response_id

from accord.client import AsyncClient, Choice, Client, Rejected
from accord.feedback import review
from accord.serving.screens import EVERYTHING

EXAMPLES = Path(__file__).parents[3] / "examples"
ASKED = [{"role": "user", "content": "Which bread?"}]


def client_of(served: Served, **how: Any) -> Client:
    token, _ = served.keys.add("bakery", scopes=("chat", "feedback"), store="feedback")
    return Client(f"{served.url}/v1", token, **how)


class Breaks(httpx.BaseTransport):
    """The network, whose first replies are lost on the way back."""

    def __init__(self, lost: int) -> None:
        self.inner, self.lost, self.requests = httpx.HTTPTransport(), lost, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        reply = self.inner.handle_request(request)
        if self.requests <= self.lost:
            reply.read()
            raise httpx.ReadError("the connection broke", request=request)
        return reply

    def close(self) -> None:
        self.inner.close()


def test_every_method_does_what_its_route_does(served: Served) -> None:
    app = served.client("bakery")
    one, other = response_id(app), response_id(app)
    with client_of(served) as accord:
        choice = Choice(other, "this")
        said = accord.feedback(
            one, user="ann", consent=True, thumb="up", score=1.0, correction="Rye.", choice=choice, comment="c", at=datetime.now(UTC)
        )
        assert [item.kind for item in said.items] == ["thumb", "score", "correction", "choice"]
        assert accord.state(said.items[0].id).items[0].state == "waiting_for_review"
        assert accord.withdraw(said.items[0].id).items[0].state == "withdrawn"
        sent = (
            accord.compare(ASKED, "Rye.", "None.", "first", models=("a", "b"), user="ann"),
            accord.demonstrate(ASKED, "Rye.", user="ann", tags=["by hand"]),
            accord.prompt(ASKED, user="ann"),
        )
        assert [stored.items[0].kind for stored in sent] == ["choice", "demonstration", "prompt"]
        assert {stored.user for stored in sent} == {accord.consent("ann", True)} == {said.user}
        assert len(accord.user("ann")["reactions"]) == 6
        assert accord.erase("ann")["conversations"] == 5
        with pytest.raises(Rejected, match="was deleted") as refused:
            accord.feedback(one, user="ann", thumb="up")
        assert (refused.value.status, refused.value.code) == (410, "response_deleted")


def test_a_lost_reply_is_asked_for_again_and_nothing_is_stored_twice(served: Served) -> None:
    id, network = response_id(served.client("bakery")), Breaks(lost=2)
    with client_of(served, transport=network) as accord:
        stored = accord.feedback(id, thumb="up")
        assert network.requests == 3
        assert [item.id for item in accord.feedback(id, comment="x").items] != [item.id for item in stored.items]
        assert len(accord.user("ann")["reactions"]) == 2
    with client_of(served, transport=Breaks(lost=9), retries=1) as accord, pytest.raises(Rejected, match="no reply") as refused:
        accord.feedback(id, thumb="up")
    assert refused.value.status == 0


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(served: Served) -> None:
    token, _ = served.keys.add("hurried", scopes=("feedback",), requests_per_minute=60)
    with Client(served.url, token) as accord:
        stored = [accord.prompt([{"role": "user", "content": f"Bread {number}?"}]).items[0].id for number in range(61)]
    assert len(set(stored)) == 61


def test_an_answer_from_elsewhere_is_spoken_of_once_it_is_sent_along(served: Served) -> None:
    with client_of(served) as accord:
        first = accord.feedback(messages=ASKED, response="Rye.", model="gpt-x", user="ann", thumb="up", consent=True)
        second = accord.feedback(messages=ASKED, response="Rye.", model="gpt-x", user="ann", thumb="down")
        assert second.response_id == first.response_id
        assert second.items[0].replaced == (first.items[0].id,)
        (item,) = review.waiting(served.store, EVERYTHING)
        assert [(answer.text, answer.model) for answer in item.answers] == [("Rye.", "gpt-x")]
        accord.erase("ann")
        assert accord.feedback(messages=ASKED, response="Rye.", model="gpt-x", user="ann", thumb="up").response_id != first.response_id
        for wrong in ({}, {"response_id": "x", "messages": ASKED, "response": {"content": "x"}}, {"messages": ASKED}):
            reply = served.client("bakery").post("/v1/feedback", json={"thumb": "up", **wrong})
            assert reply.status_code == 400
            assert "give response_id, or messages and response" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("typed", "kinds"), [("+", ["thumb"]), ("Rye.", ["thumb", "correction"]), ("", [])])
def test_the_button_for_open_webui_sends_what_was_typed(served: Served, typed: str, kinds: list[str]) -> None:
    action = runpy.run_path(str(EXAMPLES / "open_webui_action.py"))["Action"]()
    action.valves.url, action.valves.key = served.url, served.keys.add("webui", scopes=("feedback",))[0]
    said: list[str] = []

    async def call(event: dict[str, Any]) -> str:
        assert event["type"] == "input"
        return typed

    async def emit(event: dict[str, Any]) -> None:
        said.append(event["data"]["description"])

    messages = [{"id": "m1", **ASKED[0]}, {"id": "m2", "role": "assistant", "content": "Wheat."}]
    body = {"model": "gpt-x", "messages": messages, "chat_id": "c", "id": "m2"}
    asyncio.run(action.action(body, __user__={"id": "ann"}, __event_call__=call, __event_emitter__=emit))
    assert said == (["Thank you."] if kinds else [])
    found = review.waiting(served.store, EVERYTHING)
    assert sorted(item.reaction.kind for item in found) == sorted(kinds)
    assert all(item.answers[0].text == "Wheat." for item in found)


def test_the_asynchronous_client_has_every_method_and_lets_others_go_on(served: Served) -> None:
    token, _ = served.keys.add("bakery", scopes=("chat", "feedback"), store="feedback")
    one = response_id(served.client("bakery"))

    async def talk() -> None:
        async with AsyncClient(served.url, token, transport=Breaks(1)) as accord:
            told, other = await asyncio.gather(
                accord.feedback(one, user="ann", consent=True, thumb="up"), accord.demonstrate(ASKED, "Rye.", user="bob")
            )
            assert [item.kind for item in (*told.items, *other.items)] == ["thumb", "demonstration"]
            assert (await accord.state(told.items[0].id)).items[0].state == "waiting_for_review"
            with pytest.raises(Rejected, match="404"):
                await accord.withdraw("f-none")
            assert (await accord.erase("ann"))["reactions"] >= 1

    asyncio.run(talk())
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public <= {name for name in vars(AsyncClient) if not name.startswith("_")}
