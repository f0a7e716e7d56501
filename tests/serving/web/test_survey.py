"""The survey below a conversation: one mark of 1 to 5, reviewed as any reaction, and a rating of the last answer in rewards."""

from __future__ import annotations

import re
from typing import Any

import pytest
from serving.web.conftest import Come

from accord.feedback import reactions
from accord.feedback.returns import returns
from accord.feedback.store import Store


def marked(page: str) -> list[str]:
    return re.findall(r'name="mark" value="(\d)" aria-pressed="true"', page)


def test_a_mark_of_the_whole_conversation_becomes_a_rating_once_it_was_accepted(come: Come, store: Store) -> None:
    uma, lea = come(survey=True), come("lea", "lead", survey=True)
    to = uma.say("Which bread?")
    first = uma.turns(to)[-1]
    assert "How satisfied are you" in uma.get(to).text
    assert uma.post(f"/t/{first.id}/survey", mark="2").url.path == to
    assert marked(uma.get(to).text) == ["2"]
    uma.say("And cake?", to)
    last = uma.turns(to)[-1]
    uma.post(f"/t/{last.id}/survey", mark="5")
    assert marked(uma.get(to).text) == ["5"]
    (mark,) = reactions.own(store, uma.id)
    assert (mark.turn, mark.payload) == (last.id, {"mark": 5}), "a conversation has one mark, the newest"
    assert "Nothing waits for a review." in lea.get("/review").text, "nobody agreed to anything yet"
    uma.agree()
    assert "of 5: 5" in lea.get("/review").text
    assert list(returns(store, "ratings")) == []
    lea.post(f"/review/{mark.id}", verdict="accept")
    (rating,) = returns(store, "ratings")
    assert (rating.response.text, rating.worth) == (last.text, 1.0)
    assert rating.prompt.messages[-1].content == "And cake?"
    assert {person.id: person.kind for person in store.labelers()}[rating.labeler] == "user"
    assert [row.worth for row in returns(store, "auto")] == [1.0]
    assert list(returns(store, "ranks")) == []
    assert not list(store.thumbs()), "a mark of the whole is no thumb for the last answer"
    uma.post(f"/mine/reactions/{mark.id}/withdraw", to="/mine")
    assert list(returns(store, "ratings")) == []
    assert list(store.prompts()) == []


def test_a_thumb_taken_back_leaves_the_mark_its_prompt(come: Come, store: Store) -> None:
    uma, lea = come(survey=True), come("lea", "lead", survey=True)
    answer = uma.turns(uma.say("Which bread?"))[-1]
    uma.agree()
    uma.post(f"/t/{answer.id}/survey", mark="1")
    uma.post(f"/t/{answer.id}/thumb", up="no")
    said = {reaction.kind: reaction.id for reaction in reactions.own(store, uma.id)}
    for id in said.values():
        lea.post(f"/review/{id}", verdict="accept")
    uma.post(f"/mine/reactions/{said['thumb']}/withdraw", to="/mine")
    assert [row.worth for row in returns(store, "ratings")] == [-1.0]


@pytest.mark.parametrize("fields", [{}, {"mark": "0"}, {"mark": "6"}, {"mark": "x"}, {"mark": "2.5"}])
def test_what_is_no_mark_is_refused(come: Come, store: Store, fields: dict[str, Any]) -> None:
    uma = come(survey=True)
    answer = uma.turns(uma.say("Which bread?"))[-1]
    assert uma.post(f"/t/{answer.id}/survey", json=True, **fields).status_code == 422
    assert reactions.own(store, uma.id) == []


def test_without_the_setting_nobody_is_asked(come: Come) -> None:
    uma = come()
    assert "How satisfied" not in uma.get(uma.say("Which bread?")).text
