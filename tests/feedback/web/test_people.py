"""The pages about people: what they tell of themselves, how a lead reads a screening, and settles what is in doubt."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from feedback.test_screening import RUN
from feedback.web.conftest import RANKED, Come, Person, task

from accord.feedback import accounts, answers, tasks
from accord.feedback.store import Store

HACK = "<img src=x onerror=alert(1)>"


def screened(store: Store, come: Come) -> Person:
    ann = come(json=False)
    accounts.qualify(store, ann.id, False, by="tests", why="", now=datetime.now(UTC))
    tasks.add(store, [replace(task, id=f"s{n}") for n, task in enumerate(RUN[2:])])
    for text in ("Mine. " + HACK, "Mine, too."):
        frame = Person(ann.client).frame(text=text)
        said = ann.client.get("/next", headers={"Accept": "application/json"}).json()
        assert ann.post(f"/tasks/{said['task']['id']}/answer", frame).status_code == 200
    return ann


def test_a_lead_reads_a_screening_and_lets_the_labeler_work(queued: Store, come: Come) -> None:
    ann, lead = screened(queued, come), come("lead", "lea", json=False)
    assert "You have finished the screening" in ann.get("/next").text
    assert f"/lead/screening/{ann.id}" in lead.get("/lead/people").text
    page = lead.get(f"/lead/screening/{ann.id}").text
    for text in ("Mine.", "Mine, too.", "As a researcher would.", "2 of 2 tasks done"):
        assert text in page
    assert "<img" not in page
    scores = {"csrf": lead.token(), "action": "score", "score-1": "7", "score-2": "3"}
    assert lead.post(f"/lead/screening/{ann.id}", scores).status_code == 200
    page = lead.get(f"/lead/screening/{ann.id}").text
    assert re.findall(r'name="score-\d" value="(\d)" checked', page) == ["7", "3"]
    assert lead.post(f"/lead/screening/{ann.id}", scores | {"action": "pass", "why": "good enough"}).status_code == 200
    assert accounts.account(queued, ann.id).qualified
    assert "Question 1?" in ann.get("/next").text
    lead.post(f"/lead/screening/{ann.id}", scores | {"action": "fail"})
    assert "You have finished the screening" in ann.get("/next").text


def test_only_a_lead_scores_and_lets_in(queued: Store, come: Come) -> None:
    ann, viewer, bob = screened(queued, come), come("viewer", "vic"), come(name="bob")
    sent = {"action": "pass", "score-1": "7"}
    for person, read in ((viewer, 200), (bob, 403), (ann, 403)):
        assert person.get(f"/lead/screening/{ann.id}").status_code == read
        assert person.post(f"/lead/screening/{ann.id}", sent | {"csrf": person.token()}).status_code == 403
    assert "<form" not in viewer.client.get(f"/lead/screening/{ann.id}").text.split("<main")[1]
    assert not accounts.account(queued, ann.id).qualified
    lead = come("lead", "lea")
    assert lead.post(f"/lead/screening/{ann.id}", sent).status_code == 403, "without the form's token"
    for nobody in ("nobody", "%00", "'--"):
        assert lead.get(f"/lead/screening/{nobody}").status_code == 404
    assert lead.post(f"/lead/screening/{ann.id}", sent | {"csrf": lead.token(), "score-1": "8"}).status_code == 422


def test_what_somebody_tells_is_theirs_to_change(queued: Store, come: Come) -> None:
    ann, lead = come(json=False), come("lead", "lea", json=False)
    assert ann.post("/profile", {"csrf": "x", "groups": "nurses"}).status_code == 403
    told = {"csrf": ann.token(), "groups": f" nurses \r\n\r\n{HACK}\r\nnurses", "language": "zh_CN"}
    ann.post("/profile", told)
    assert accounts.account(queued, ann.id).profile == {"groups": ["nurses", HACK], "language": "zh_CN"}
    page = ann.get("/profile").text
    assert "关于您" in page
    assert "nurses\n&lt;img" in page
    assert "nurses 1" in lead.get("/lead").text
    assert "<img" not in lead.get("/lead").text
    ann.post("/profile", {"csrf": ann.token(), "groups": "\n".join(f"{n} {'x' * 200}" for n in range(50)), "language": "no"})
    kept = accounts.account(queued, ann.id).profile
    assert (len(kept["groups"]), max(map(len, kept["groups"])), kept.get("language")) == (20, 80, None)
    ann.post("/profile", {"csrf": ann.token()})
    assert accounts.account(queued, ann.id).profile == {}


def test_a_lead_settles_what_others_leave_in_doubt(store: Store, come: Come) -> None:
    tasks.add(store, [task(1, k=2)])
    people = [come(name=name) for name in ("ann", "bob")]
    for person, better in zip(people, ("response 0", "response 1"), strict=True):
        texts = person.get("/next").json()["task"]["responses"]
        ranks = {f"rank-{n}": "1" if text == better else "2" for n, text in enumerate(texts, 1)}
        fields = {name: value for name, value in RANKED.items() if name in ("quality-1", "quality-2")} | ranks
        assert person.post("/tasks/t1/answer", person.frame(**fields)).status_code == 200
    lead, viewer = come("lead", "lea", json=False), come("viewer", "vic", json=False)
    assert "1 of 1 pairs" in viewer.get("/lead").text
    assert viewer.post("/lead/doubts", {"csrf": viewer.token()}).status_code == 403
    page = lead.post("/lead/doubts", {"csrf": lead.token()}).text
    assert "Compare two responses" in page
    assert people[0].get("/next").json()["task"] is None, "it is the lead's own"
    given = Person(lead.client).frame(choice="first")
    id = lead.client.get("/next", headers={"Accept": "application/json"}).json()["task"]["id"]
    lead.post(f"/tasks/{id}/answer", given)
    assert len(list(answers.every(store))) == 3
