"""The page of a user's taste: off at first, in words, edited, exported, forgotten; and answers chosen by it for those who want it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from accord.feedback import accounts, tastes
from accord.feedback.privacy import erase_labeler
from accord.feedback.store import Store
from accord.feedback.tastes import Kept
from accord.records import Message, Sampling
from accord.serving.guards import Guarded, Rules
from accord.serving.host import Ask


def test_it_is_off_at_first_and_is_edited_exported_and_forgotten(come: Any) -> None:
    uma = come("user")
    assert "checked" not in uma.get("/taste").text
    assert tastes.of(uma.site.store, uma.id) == Kept()
    tastes.learned(uma.site.store, uma.id, {"length": (-0.9, 0.2)}, 4, 1)
    assert tastes.of(uma.site.store, uma.id) == Kept(), "nothing is kept of whoever did not switch it on"
    assert uma.post("/taste", on="yes", courtesy="more", length="nonsense").status_code == 200
    tastes.learned(uma.site.store, uma.id, {"length": (-0.9, 0.2), "courtesy": (0.01, 0.3)}, 4, 1)
    shown = uma.get("/taste").text
    assert "<b>brief</b>" in shown
    assert "chose both ways: 1" in shown
    assert "<b>简短</b>" in uma.get("/taste", **{"Accept-Language": "zh-CN"}).text
    kept = json.loads(uma.get("/taste/export").text)
    assert (kept["on"], kept["said"], kept["words"], kept["choices"]) == (True, {"courtesy": 1}, ["brief"], 4)
    assert json.loads(uma.get("/mine/export").text)["taste"]["said"] == {"courtesy": 1}
    assert uma.post("/profile", groups="nurses", language="").status_code in (200, 403, 404), "the profile's page keeps it"
    assert tastes.of(uma.site.store, uma.id).on
    assert uma.post("/taste/forget").status_code == 200
    assert tastes.of(uma.site.store, uma.id) == Kept()


class Interrupted:
    """A store before each of whose changes something else happens."""

    def __init__(self, store: Store, first: Callable[[], object]) -> None:
        self.store, self.first, self.read = store, first, store.read

    @contextmanager
    def write(self) -> Generator[Connection]:
        self.first()
        with self.store.write() as connection:
            yield connection


def test_an_answer_under_way_does_not_bring_back_what_was_forgotten(come: Any) -> None:
    uma = come("user")
    store = uma.site.store
    uma.post("/taste", on="yes", courtesy="more")
    late: Any = Interrupted(store, lambda: tastes.forget(store, uma.id))
    tastes.learned(late, uma.id, {"length": (-0.9, 0.2)}, 4, 1)
    assert tastes.of(store, uma.id) == Kept()


def test_what_two_pages_change_at_once_both_stays(come: Any) -> None:
    uma = come("user")
    store = uma.site.store
    late: Any = Interrupted(store, lambda: accounts.change_profile(store, uma.id, lambda profile: profile | {"groups": ["nurses"]}))
    tastes.say(late, uma.id, {"courtesy": 1}, on=True)
    account = accounts.account(store, uma.id)
    assert account is not None
    assert account.profile["groups"] == ["nurses"]
    assert tastes.of(store, uma.id) == Kept(on=True, said={"courtesy": 1})


def test_it_goes_with_everything_and_with_the_account(come: Any) -> None:
    uma = come("user")
    uma.post("/taste", on="yes", length="less")
    assert uma.post("/mine/delete", sure="yes").status_code == 200
    assert tastes.of(uma.site.store, uma.id) == Kept()
    uma.post("/taste", on="yes", length="less")
    erase_labeler(uma.site.store, uma.id, by="lead", why="", now=datetime.now(UTC))
    assert tastes.of(uma.site.store, uma.id) == Kept()


def test_best_of_n_asks_the_users_own_score_and_everybodys_where_there_is_none(models: Any) -> None:
    async def drawn(user: str) -> str:
        number = iter(["short", "a much longer answer", "medium one"])

        def says(_: str, __: Sequence[Message]) -> str:
            return next(number)

        models.says = says

        def for_all(_: Sequence[Message], texts: Sequence[str]) -> Sequence[float]:
            return [-float(len(text)) for text in texts]

        def own(_: Sequence[Message], texts: Sequence[str]) -> Sequence[float]:
            return [float(len(text)) for text in texts]

        rules = Rules(best_of=3, seconds=30.0, score=for_all, score_for=lambda user: own if user == "uma" else None)
        host: Any = Guarded(models, rules)
        await models.start()
        said = ""
        async for piece in host.ask("ppo", Ask(Sampling(), (Message("user", "Hello?"),), user=user, seed=1)):
            said += piece.text
        return said

    assert asyncio.run(drawn("uma")) == "a much longer answer"
    assert asyncio.run(drawn("bob")) == "short"
    assert asyncio.run(drawn("")) == "short"
