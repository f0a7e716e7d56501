"""A lead asks why an answer scores as it does, and reads it by page; what somebody else said in private is not looked into."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from visitors import HACK, Come, explained

from accord.feedback import chats, consents, erasure, reactions
from accord.feedback.copies import copies, remove_copies
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt, Response, Sampling
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.serving.web.site import ChatSite
from accord.site.project_site import ProjectSite
from accord.site.why_pages import WHY

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def filled(store: Store) -> None:
    prompt = Prompt("p1", (Message("user", f"Which bread keeps? {HACK}"),))
    responses = [Response("--r1", "p1", f"Rye keeps. Ask the baker. {HACK}", "m"), Response("r2", "p1", "Rye keeps.", "m")]
    store.add(prompts=[prompt], labelers=[Labeler("ann", "person")], responses=responses)


def ended(project: Project) -> jobs.Job:
    return jobs.wait(jobs.newest(project)[0], 120)


def test_a_lead_asks_and_everybody_who_may_reads(come: Come, project: Project) -> None:
    lead, viewer, labeler = come("lead"), come("viewer"), come("labeler")
    story = lead.get("/records/story?id=p1&kind=prompt").text
    (address, *others) = re.findall(rf'href="({WHY}\?id=[^"]*)"', story)
    assert (address, len(others)) == (f"{WHY}?id=--r1", 1)
    assert "Explain it" in lead.get(address).text
    assert "Explain it" not in viewer.get(address).text
    assert viewer.post(WHY, id="--r1", once="a").status_code == 403
    assert labeler.get(address).status_code == 403
    assert lead.get(f"{WHY}?id=none").status_code == 404
    for _ in range(2):
        assert lead.post(WHY, follow=False, id="--r1", once="a").status_code == 303
    assert len(jobs.newest(project)) == 1
    job = ended(project)
    assert job.state == "done", job.log()
    for page in (lead.get(address).text, viewer.get(address).text):
        assert "It lacks" in page
        assert "Ask the baker." in page
        assert "no reward model" in page
        assert "<img" not in page
        assert "<script>" not in page
        assert "style=" not in page


def test_every_part_of_a_result_has_its_place_in_both_languages(come: Come, project: Project) -> None:
    explained(project, "r2")
    page = come("viewer").get(f"{WHY}?id=r2").text
    for said in (
        "+1.500",
        "+1.250",
        'class="up3"',
        'class="down1"',
        "rank 2 of 3",
        "No other answer",
        "/records/story?id=p9&amp;kind=prompt",
    ):
        assert said in page, said
    assert "<img" not in page
    chinese = come("lead").get(f"{WHY}?id=r2", follow=True, **{"Accept-Language": "zh-CN"}).text
    assert "为什么这样回答" in chinese


def test_a_turn_is_looked_into_only_with_consent(come: Come, store: Store, project: Project) -> None:
    lead, user = come("lead"), come("user")
    asked = chats.begin(store, user.id, "Which bread?", system="", key="k1", now=NOW)
    told: dict[str, Any] = {"model": "m", "digest": "", "sampling": Sampling(), "seed": 0, "finish": "stop", "now": NOW}
    turn = chats.answer(store, asked, "Rye.", id="turn-1", **told)
    address = f"{WHY}?id={turn.id}"
    assert lead.get(address).status_code == 404
    assert lead.post(WHY, id=turn.id, once="b").status_code == 404
    reactions.react(store, user.id, "thumb", turn.id, {"up": True, "reasons": [], "note": ""}, now=NOW)
    assert lead.get(address).status_code == 404
    consents.answer(store, user.id, True, now=NOW)
    assert lead.get(address).status_code == 200
    assert f'href="{address}"' in lead.get("/review").text
    consents.answer(store, user.id, False, now=NOW)
    assert lead.get(address).status_code == 404
    assert not jobs.newest(project)


def test_what_was_explained_is_hidden_with_the_consent_and_gone_with_the_person(come: Come, store: Store, project: Project) -> None:
    """The list of jobs shows no words of a chat, and `accord forget` leaves none in them."""
    lead, user = come("lead"), come("user")
    asked = chats.begin(store, user.id, "Which bread is good for my illness?", system="", key="k1", now=NOW)
    told: dict[str, Any] = {"model": "m", "digest": "", "sampling": Sampling(), "seed": 0, "finish": "stop", "now": NOW}
    chats.answer(store, asked, "Rye.", id="turn-1", **told)
    reactions.react(store, user.id, "thumb", "turn-1", {"up": True, "reasons": [], "note": ""}, now=NOW)
    consents.answer(store, user.id, True, now=NOW)
    explained(project, "turn-1", prompt_id="chat-1", prompt="Which bread is good for my illness, [name]?")
    address = f"{WHY}?id=turn-1"
    assert "illness" in lead.get(address).text
    consents.answer(store, user.id, False, now=NOW)
    assert lead.get(address).status_code == 404
    page = lead.get("/jobs/1").text
    assert "illness" not in page
    assert f'href="{address}"' in page
    who = erasure.person(store, user.id)
    remove_copies(copies(project.path, who, ()), who)
    assert "illness" not in (project.path / "jobs" / "001" / "output.txt").read_text("utf-8")


def test_the_page_is_in_the_project_only() -> None:
    assert ChatSite.why == ""
    assert ProjectSite.why == WHY
