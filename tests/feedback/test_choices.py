"""A person's choices from everywhere: rankings of their own, choices in the chat, and pairs chosen both ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from accord.feedback import accounts, chats, choices, consents, ownership, reactions, tastes
from accord.feedback.store import Store
from accord.records import Guideline, Message, Prompt, Ranking, Response, Sampling

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def chosen(store: Store, user: str, key: str, choice: str) -> str:
    """Ask something, and choose between two answers."""
    asked = chats.begin(store, user, f"Where is the mill, {key}?", system="", key=key, now=NOW)
    drawn: dict[str, Any] = {
        "model": "m",
        "digest": "0" * 12,
        "sampling": Sampling(),
        "seed": 0,
        "finish": "stop",
        "pair": f"p-{key}",
        "now": NOW,
    }
    texts = ("By the river.", "It stands by the river, and gladly so.")
    made = [chats.answer(store, asked, text, id=f"{key}-{i}", **drawn) for i, text in enumerate(texts)]
    reactions.react(store, user, "choice", made[0].id, {"choice": choice}, other=made[1].id, now=NOW)
    return asked.conversation


def test_rankings_and_choices_in_the_chat_are_one_list_and_a_deleted_conversation_is_none(store: Store) -> None:
    accounts.redeem(store, accounts.invite(store, "user", "Uma", by="lead", now=NOW), now=NOW)
    uma = next(person.id for person in accounts.people(store))
    consents.answer(store, uma, True, now=NOW)
    prompt = Prompt("p", (Message("user", "Who keeps the mill?"),))
    shown = [Response(f"r{i}", "p", text, "m") for i, text in enumerate(("The miller.", "Nobody."))]
    ranking = Ranking("k", "p", uma, ("r0", "r1"), (1, 2), Guideline("training", "1"), "2026-01-01T00:00:00Z")
    store.add(prompts=[prompt], responses=shown, rankings=[ranking])
    first = chosen(store, uma, "one", "first")
    chosen(store, uma, "two", "second")
    chosen(store, uma, "three", "tie")
    assert [row.prompt.id for row in choices.of_person(store, uma)] == ["p"], "the taste of whoever did not switch it on is not looked for"
    tastes.say(store, uma, {}, on=True)
    found = choices.of_person(store, uma)
    texts = sorted((row.prompt.messages[-1].content, row.responses[row.ranks.index(1)].text) for row in found)
    assert texts == [
        ("Where is the mill, one?", "By the river."),
        ("Where is the mill, two?", "It stands by the river, and gladly so."),
        ("Who keeps the mill?", "The miller."),
    ]
    ownership.delete(store, uma, conversations=(first,), now=NOW)
    assert len(choices.of_person(store, uma)) == 2
    assert choices.contradictions(found) == 0
    turned = replace(found[0], ranks=tuple(reversed(found[0].ranks)))
    assert choices.contradictions([*found, turned, turned]) == 1
