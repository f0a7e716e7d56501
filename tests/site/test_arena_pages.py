"""The arena by page: unnamed until the vote, one vote for a pair, a table that follows, limits, and nothing while it is closed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from serving.web.conftest import Scripted
from visitors import Come, Person

from accord.errors import ModelError
from accord.feedback import arena
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import ChatConfig, OpenConfig
from accord.site.project_site import ProjectSite, site_of


@pytest.fixture
def arena_settings() -> dict[str, Any]:
    return {}


@pytest.fixture
def site(project: Project, store: Store, models: Scripted, arena_settings: dict[str, Any]) -> ProjectSite:
    models.digests = {"ppo": "a" * 12, "sft": "b" * 12, "base": "c" * 12}
    plain = site_of(project, store, OpenConfig(), models=models, library=models, secret="x" * 40)
    chat = ChatConfig(arena=True, arena_models="ppo, sft", turns_per_minute=0)
    models.says = lambda model, said: f"Rye from {len(model)} bakers."
    return replace(plain, chat=replace(chat, **arena_settings))


def ask(person: Person, text: str = "Which bread?", **fields: str) -> Any:
    key = re.search(r'name="key" value="([^"]+)"', person.get("/arena").text)
    assert key
    return person.post("/arena/ask", **{"key": key[1], "text": text, **fields})


def shown(page: Any) -> str:
    return page.text.partition("<main")[2]


def test_the_names_appear_with_the_vote_and_the_table_follows(come: Come, store: Store) -> None:
    uma, wins = come("user", "uma"), Counter[str]()
    for n in range(4):
        pair = ask(uma, f"Which bread {n}?")
        assert pair.url.path.startswith("/arena/")
        assert "ppo" not in shown(pair)
        assert "sft" not in shown(pair)
        assert shown(pair).count("<article") == 2
        voted = uma.post(f"{pair.url.path}/vote", choice="first")
        named = re.search(r"A was (\w+), B was (\w+)\.", shown(voted))
        assert named
        assert {*named.groups()} == {"ppo", "sft"}
        wins[named[1]] += 1
        again = uma.post(f"{pair.url.path}/vote", choice="second")
        assert again.status_code == 409
        assert "You have voted on this pair already" in again.text
    table = shown(uma.get("/arena"))
    rows = re.findall(r'<tr><td class="number">(\d)</td><th scope="row">(\w+)</th>.*?<td class="number">(\d+)</td></tr>', table)
    assert sorted(name for _, name, _ in rows) == ["ppo", "sft"]
    strongest = {name for name in ("ppo", "sft") if wins[name] == max(wins.values())}
    assert {name for rank, name, _ in rows if rank == "1"} == strongest
    assert {votes for _, _, votes in rows} == {"4"}
    assert "base" not in table, "it is not in the arena"
    assert arena.outcomes(store).total() == 4


def test_nothing_that_is_the_authors_own_names_the_models_before_the_vote(come: Come) -> None:
    uma = come("user", "uma")
    path = ask(uma).url.path
    talk = path.replace("/arena/", "/c/")
    own = (f"{talk}/export", f"{talk}/export?form=json", "/mine/export")

    def names(page: str) -> list[str]:
        return re.findall(r"\b(?:ppo|sft)@|\"model\": \"(?:ppo|sft)\"", page)

    for address in (*own, talk):
        assert names(uma.get(address).text) == [], address
    uma.post(f"{path}/vote", choice="tie")
    for address in own[1:]:
        assert len(names(uma.get(address).text)) == 2, address


def test_a_model_trained_again_starts_anew(come: Come, models: Scripted) -> None:
    uma = come("user", "uma")
    uma.post(f"{ask(uma).url.path}/vote", choice="tie")
    assert "from 1 votes" in shown(uma.get("/arena"))
    assert " … " not in shown(uma.get("/arena")), "one vote has no interval"
    models.digests["ppo"] = "d" * 12
    page = shown(uma.get("/arena"))
    assert "No vote yet." in page
    assert "1 votes on earlier versions are not counted." in page


def test_a_form_sent_twice_asks_once(come: Come, models: Scripted) -> None:
    uma = come("user", "uma")
    key = re.search(r'name="key" value="([^"]+)"', uma.get("/arena").text)
    assert key
    pages = [uma.post("/arena/ask", key=key[1], text="Which bread?").url.path for _ in range(2)]
    assert len(set(pages)) == 1
    assert len(models.asked) == 2


def test_others_see_no_pair_of_mine_and_viewers_no_vote(come: Come) -> None:
    uma, vic, viewer = come("user", "uma"), come("user", "vic"), come("viewer")
    path = ask(uma).url.path
    assert vic.get(path).status_code == 404
    assert vic.post(f"{path}/vote", choice="first").status_code == 404
    assert viewer.get("/arena").status_code == 200
    assert "Ask two models" not in viewer.get("/arena").text
    assert viewer.post("/arena/ask", key="k", text="x").status_code == 403
    assert uma.post(f"{path}/vote", choice="best").status_code == 422


def test_a_question_is_drawn_from_the_project(come: Come, store: Store) -> None:
    uma = come("user", "uma")
    assert ask(uma, "", draw="yes").status_code == 422
    store.add_prompts([Prompt("p", (Message("user", "Which flour?"),))])
    assert "Which flour?" in shown(ask(uma, "", draw="yes"))


def test_a_model_that_fails_leaves_no_pair_and_the_question(come: Come, models: Scripted, store: Store) -> None:
    uma = come("user", "uma")
    models.says = lambda model, said: ModelError("broken") if model == "ppo" else "Rye."
    page = ask(uma)
    assert page.status_code == 503
    assert "Which bread?" in page.text
    assert "could not be loaded" in page.text
    assert arena.outcomes(store).total() == 0


@pytest.mark.parametrize("arena_settings", [{"arena_per_hour": 2}])
def test_pairs_in_an_hour_are_limited(come: Come) -> None:
    uma = come("user", "uma")
    assert [ask(uma, f"{n}?").status_code for n in range(3)] == [200, 200, 429]
    assert ask(come("user", "vic")).status_code == 200


@pytest.mark.parametrize("arena_settings", [{"arena": False}])
def test_a_closed_arena_is_not_there(come: Come) -> None:
    lead = come("lead")
    assert 'href="/arena"' not in lead.get("/").text
    assert lead.get("/arena").status_code == 404
    assert lead.post("/arena/ask", key="k", text="x").status_code == 404


@pytest.mark.parametrize("arena_settings", [{"arena_models": "ppo"}])
def test_one_model_alone_has_nobody_to_meet(come: Come) -> None:
    lead = come("lead")
    assert "needs two models" in lead.get("/arena").text
    assert lead.post("/arena/ask", key="k", text="x").status_code == 404


@pytest.mark.parametrize("arena_settings", [{"arena_models": "", "arena_draw": draw} for draw in ("telling", "uniform")])
def test_every_pair_can_be_drawn(come: Come, models: Scripted) -> None:
    uma, pairs = come("user", "uma"), Counter[frozenset[str]]()
    for n in range(15):
        ask(uma, f"Bread {n}?")
        pairs[frozenset(model for model, *_ in models.asked[-2:])] += 1
    assert len(pairs) == 3


def test_intervals_are_shown_once_there_are_votes_for_them(come: Come) -> None:
    uma = come("user", "uma")
    for n in range(20):
        page = ask(uma, f"Bread {n}?")
        uma.post(f"{page.url.path}/vote", choice="first" if n % 2 else "second")
        assert (" … " in shown(uma.get("/arena"))) == (n == 19)
