"""Records are browsed, exported and removed by page, and each has its story; what somebody else may not do is refused."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from visitors import Come

from accord.feedback import audit, browse
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Thumb

HACK = "<img src=x onerror=alert(1)>\"'"


@pytest.fixture(autouse=True)
def filled(store: Store) -> None:
    prompts = [Prompt(f"p{n:03}", (Message("user", f"Which bread {n}? {HACK}"),), source=f"f {n % 2}.jsonl") for n in range(60)]
    responses = [Response(f"r{p.id}/{k}", p.id, f"**loaf {k}** of {p.id} {HACK}", f"m&{k}") for p in prompts[:3] for k in range(2)]
    rankings = [Ranking(f"k{p.id}", p.id, "ann", (f"r{p.id}/0", f"r{p.id}/1"), (2, 1), Guideline("training", "1"), "") for p in prompts[:3]]
    store.add(prompts=prompts, labelers=[Labeler("ann", "person")], responses=responses, rankings=rankings)
    store.add(demonstrations=[Demonstration("d1", prompts[0], HACK, "ann")], thumbs=[Thumb(prompts[0], responses[0], False, "ann")])


def stories(page: str) -> list[str]:
    return re.findall(r"/records/story\?id=([^&\"]*)", page.partition("<main")[2])


def test_pages_follow_one_another_with_their_filters(come: Come) -> None:
    viewer, found = come("viewer"), list[str]()
    address = "/records?kind=prompts&source=" + quote("f 1.jsonl")
    for _ in range(3):
        page = viewer.get(address).text
        found += stories(page)
        following = re.search(r'href="(/records\?[^"]*after=[^"]*)"', page)
        if not following:
            break
        address = following[1].replace("&amp;", "&")
    assert found == [f"p{n:03}" for n in range(1, 60, 2)]
    many = viewer.get("/records").text
    assert len(stories(many)) == browse.ON_A_PAGE
    assert "Next page" in many


@pytest.mark.parametrize("kind", browse.BROWSED)
def test_every_kind_is_listed_and_told_with_texts_escaped(come: Come, kind: str) -> None:
    lead = come("lead")
    listed = lead.get(f"/records?kind={kind}&text=&ranked=yes" if kind != "demonstrations" else f"/records?kind={kind}")
    assert listed.status_code == 200
    found = re.findall(r'href="(/records/story[^"]*)"', listed.text)
    assert found
    told = lead.get(found[0].replace("&amp;", "&"))
    assert told.status_code == 200
    for page in (listed.text, told.text):
        assert "<img" not in page
        assert "onerror=alert(1)&gt;" in page
    assert "m&amp;0" in told.text
    assert "asked-for" in told.text or kind == "prompts"


def test_what_is_exported_is_what_passes(come: Come, store: Store) -> None:
    viewer = come("viewer")
    sent = viewer.get("/records/export?kind=rankings&model=m%261&as=rankings+jsonl")
    assert sent.headers["content-disposition"] == 'attachment; filename="rankings-jsonl.jsonl"'
    assert [json.loads(line)["id"] for line in sent.text.splitlines()] == ["kp000", "kp001", "kp002"]
    pairs = viewer.get("/records/export?kind=rankings&source=f+1.jsonl&as=comparisons+trl-preference")
    assert [json.loads(line)["chosen"][0]["content"][:8] for line in pairs.text.splitlines()] == ["**loaf 1"]
    assert viewer.get("/records/export?kind=prompts&as=rankings+jsonl").status_code == 422
    offered = re.findall(r'<option value="(\w+ [\w-]+)"', viewer.get("/records?kind=responses").text)
    assert offered
    for each in offered:
        assert viewer.get(f"/records/export?kind=responses&as={quote(each)}").status_code == 200


def test_a_lead_removes_a_record_with_a_reason_and_nobody_else(come: Come, store: Store) -> None:
    lead, viewer, labeler = come("lead"), come("viewer"), come("labeler")
    assert "Remove this record" not in viewer.get("/records/story?id=p000").text
    for person in (viewer, labeler):
        assert person.post("/records/remove", id="p000", kind="prompt", why="x").status_code == 403
    assert labeler.get("/records").status_code == labeler.get("/records/story?id=p000").status_code == 403
    told = lead.post("/records/remove", id="rp000/1", kind="response", why="a name")
    assert "This record was removed" in told.text
    assert "a name" in told.text
    assert [r.id for r in store.rankings()] == ["kp001", "kp002"], "one response alone is no ranking"
    assert [(entry.who, entry.on, entry.why) for entry in audit.entries(store) if entry.what == "remove"] == [
        (lead.id, "response rp000/1", "a name")
    ]
    assert lead.post("/records/remove", id="rp000/1", kind="response", why="again").status_code == 404
    assert stories(lead.get("/records?kind=responses&removed=yes").text) == ["rp000%2F1"]


@pytest.mark.parametrize("bad", ["text=%00", "after=%00", "source=" + "x" * 401, "text=%ED%A0%80"])
def test_what_no_database_could_look_for_is_refused_or_finds_nothing(come: Come, bad: str) -> None:
    page = come("lead").get(f"/records?{bad}")
    assert page.status_code in (200, 400)
    assert page.status_code == 400 or stories(page.text) == []


@pytest.mark.parametrize("odd", ["kind=x", "imported=x", "imported=99999999999", "split=x", "ranked=maybe", "removed=no"])
def test_a_filter_that_no_form_sends_filters_nothing(come: Come, odd: str) -> None:
    assert len(stories(come("lead").get(f"/records?{odd}").text)) == browse.ON_A_PAGE
    assert come("viewer").get("/records/story?id=none").status_code == 404
    assert come("viewer").get("/records/story").status_code == 404


def test_a_search_that_ends_early_says_so_and_goes_on(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "STRETCH", 10)
    slow = browse.page
    monkeypatch.setattr(browse, "page", lambda *values, **named: slow(*values, **named, seconds=0.0))  # pyright: ignore
    page = come("lead").get("/records?text=nowhere").text
    assert "The search stopped after a second" in page
    assert "Search on" in page
    assert "There is no such record" not in page


def test_a_records_page_shows_a_hint_of_a_model_with_its_worth_and_none_on_known_models(come: Come, store: Store) -> None:
    said = "As an AI language model, I have no oven of my own, but I can explain how bread is baked on a stone in an ordinary oven at home."
    prompt = Prompt("baking", (Message("user", "How is bread baked?"),))
    store.add(prompts=[prompt], labelers=[Labeler("bot", "model")])
    store.add(demonstrations=[Demonstration("d-ann", prompt, said, "ann")])
    page = come("lead").get("/records/story?id=baking&kind=prompt").text
    assert page.count("Hint: a model may have written this.") == 1
    assert "A hint, not a verdict: it finds 21% of models&#39; texts, and where it errs most, people wrote 3 of 10" in page
    store.add(demonstrations=[Demonstration("d-bot", prompt, said, "bot")])
    assert come("lead").get("/records/story?id=baking&kind=prompt").text.count("Hint: a model may") == 1
