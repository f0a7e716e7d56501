"""The people page: invitations that lead to the site's real address, states, progress, hours, and tables that are no formulas."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from feedback.web.conftest import RANKED, Come, Person, task
from starlette.testclient import TestClient

from accord.feedback import accounts, answers, audit, tasks, workload
from accord.feedback.counts import count_records
from accord.feedback.privacy import erase_user
from accord.feedback.store import Store
from accord.feedback.web.app import create
from accord.feedback.web.downloads import cell
from accord.records import Guideline
from accord.settings import LabelConfig

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def link_on(page: str) -> str:
    found = re.search(r"<textarea id=\"link\"[^>]*>([^<]+)</textarea>", page)
    assert found, page
    return found[1]


def test_a_lead_invites_by_a_link_that_works_once_and_for_a_second_device_again(store: Store, come: Come) -> None:
    lead = come("lead", "lea", json=False)
    sent = {"csrf": lead.token(), "name": "Ann Smith", "role": "labeler", "group": "nurses", "days": "3", "screened": "yes"}
    link = link_on(lead.post("/lead/people", sent).text)
    assert link.startswith("http://127.0.0.1:8400/join?token=")
    (ann,) = [person for person in accounts.people(store) if person.name == "Ann Smith"]
    assert (ann.role, ann.group, ann.qualified) == ("labeler", "nurses", False)
    ends = accounts.ways_in(store, now=datetime.now(UTC))[ann.id].link_until - datetime.now(UTC).timestamp()
    assert 2.9 * 86_400 < ends <= 3 * 86_400
    first = TestClient(lead.client.app, base_url="http://127.0.0.1:8400")
    assert first.post("/join", data={"token": link.rpartition("=")[2]}, follow_redirects=False).status_code == 303
    assert first.post("/join", data={"token": link.rpartition("=")[2]}, follow_redirects=False).status_code == 403

    page = lead.get(f"/lead/people/{ann.id}").text
    assert link.rpartition("=")[2] not in page, "shown once"
    again = link_on(lead.post(f"/lead/people/{ann.id}/invite", {"csrf": lead.token()}).text)
    second = TestClient(lead.client.app, base_url="http://127.0.0.1:8400")
    assert second.post("/join", data={"token": again.rpartition("=")[2]}, follow_redirects=False).status_code == 303
    assert [device.get("/answers").status_code for device in (first, second)] == [200, 200], "both are signed in"
    assert accounts.ways_in(store, now=datetime.now(UTC))[ann.id] == accounts.Ways(0.0, 2)

    third = link_on(lead.post(f"/lead/people/{ann.id}/invite", {"csrf": lead.token()}).text)
    lead.post(f"/lead/people/{ann.id}/uninvite", {"csrf": lead.token()})
    assert first.post("/join", data={"token": third.rpartition("=")[2]}).status_code == 403
    lead.post(f"/lead/people/{ann.id}/revoke", {"csrf": lead.token(), "why": "left"})
    assert second.get("/answers").status_code == 401
    assert lead.post(f"/lead/people/{ann.id}/invite", {"csrf": lead.token()}).status_code == 409, "not before access is restored"
    assert [entry.what for entry in audit.entries(store, ann.id)][-2:] == ["uninvite", "revoke"]


@pytest.mark.parametrize(
    ("config", "reached", "address"),
    [
        (LabelConfig(), "http://127.0.0.1:18377", "http://127.0.0.1:18377"),
        (LabelConfig(names="labels.example"), "http://labels.example:9000", "http://labels.example:9000"),
        (LabelConfig(names="labels.example"), "http://127.0.0.1:9000", "http://labels.example:9000"),
        (LabelConfig(names="labels.example", https=True), "http://labels.example", "https://labels.example"),
        (LabelConfig(names="labels.example", https=True), "http://127.0.0.1:9000", "https://labels.example"),
    ],
)
def test_the_link_has_the_address_by_which_the_site_is_reached(store: Store, config: LabelConfig, reached: str, address: str) -> None:
    for root in ("", "/team"):
        app = create(store, config, name="bakery", secret="x" * 40)
        client = TestClient(app, base_url=reached, root_path=root)
        token = accounts.invite(store, "lead", "lea", by="tests", now=datetime.now(UTC))
        cookie = client.post("/join", data={"token": token}, follow_redirects=False).headers["set-cookie"].partition(";")[0]
        headers = {"Cookie": cookie}
        csrf = re.search(r'name="csrf" value="(\w+)"', client.get("/lead/people", headers=headers).text)
        assert csrf
        page = client.post("/lead/people", data={"csrf": csrf[1], "name": "Ann"}, headers=headers).text
        assert link_on(page).startswith(f"{address}{root}/join?token=")


NOT_MADE = [({"name": " "}, "name_missing"), ({"name": "a", "days": "366"}, "days"), ({"name": "a", "role": "x"}, "role")]


@pytest.mark.parametrize(("sent", "key"), NOT_MADE)
def test_an_invitation_that_cannot_be_made_is_refused(store: Store, come: Come, sent: dict[str, str], key: str) -> None:
    lead = come("lead", "lea")
    reply = lead.post("/lead/people", {"csrf": lead.token(), **sent})
    assert (reply.status_code, reply.json()["key"]) == (422, key)
    assert len(accounts.people(store)) == 1


def test_only_leads_change_people_and_nobody_locks_themselves_out(store: Store, come: Come) -> None:
    ann, viewer, lead = come(), come("viewer", "vic"), come("lead", "lea")
    for path in ("", f"/{ann.id}", ".csv"):
        assert [person.get(f"/lead/people{path}").status_code for person in (ann, viewer, lead)] == [403, 200, 200]
    for path in ("", f"/{ann.id}/invite", f"/{ann.id}/uninvite", f"/{ann.id}/revoke"):
        for person in (ann, viewer):
            assert person.post(f"/lead/people{path}", {"csrf": person.token(), "name": "x"}).status_code == 403
    page = viewer.client.get(f"/lead/people/{ann.id}").text.split("<main")[1]
    assert "<form" not in page
    assert lead.post(f"/lead/people/{lead.id}/revoke", {"csrf": lead.token()}).json()["key"] == "own_access"
    assert lead.get("/lead/people/nobody").status_code == 404


def answer(store: Store, person: Person | str, number: int, at: datetime, seconds: float, skip: bool = False) -> None:
    who = person if isinstance(person, str) else person.id
    leased = tasks.next_task(store, who, now=at, lease_seconds=3600)
    assert leased
    ranked = {id: place for place, id in enumerate(leased.order, 1)}
    rated = {id: {"quality": 4, "flags": []} for id in leased.order}
    payload = {"skip": ""} if skip else {"ranks": ranked, "ratings": rated}
    guideline = Guideline("training", "v")
    key = f"k{who}{number}"
    answers.submit(store, who, leased.task.id, payload, key=key, revision=0, seconds=seconds, guideline=guideline, now=at)


def test_progress_hours_and_estimates_come_from_the_answers(store: Store) -> None:
    """By hand: 6 tasks for two labelers each are 12 answers; 4 are given, of 100 s but one left open overnight."""
    tasks.add(store, [task(n) for n in range(1, 7)])
    tasks.add(store, [task(9, kind="compare", k=2, overlap=1)])
    for name in ("ann", "bob"):
        accounts.invite(store, "labeler", name, by="tests", now=NOW)
    ann, bob = (person.id for person in accounts.people(store))
    for number, days in enumerate((4, 2, 0)):
        answer(store, ann, number, NOW - timedelta(days=days), 100.0)
    answer(store, bob, 0, NOW - timedelta(days=10), 40_000.0)
    answer(store, bob, 1, NOW, 50.0, skip=True)
    done = workload.work(store, now=NOW)
    assert (done[ann].answers, done[ann].today, done[ann].recent, done[ann].seconds) == (3, 1, 3, 300.0)
    assert (done[bob].answers, done[bob].skipped, done[bob].recent) == (1, 1, 0)
    assert done[bob].seconds == workload.LONGEST + 50.0
    rank, compare = sorted(workload.progress(store, now=NOW), key=lambda kind: kind.kind != "rank")
    assert (rank.kind, rank.tasks, rank.wanted, rank.done, rank.remaining, rank.recent) == ("rank", 6, 12, 4, 8, 3)
    assert rank.days_left == pytest.approx(8 / (3 / 7))
    assert rank.mean_seconds == pytest.approx((300 + 1800) / 4)
    assert rank.hours_left == pytest.approx(8 * 525 / 3600)
    assert (compare.kind, compare.wanted, compare.days_left, compare.hours_left) == ("compare", 1, None, None)
    by_day = [(count, spent) for _, count, spent in workload.daily(store, ann, now=NOW, days=5)]
    assert by_day == [(1, 100), (0, 0), (1, 100), (0, 0), (1, 100)]


def test_a_correction_takes_time_and_is_no_answer_of_its_own(store: Store) -> None:
    """By hand: one answer in 100 s, corrected in 20 s, is 120 s an answer; 11 remain."""
    tasks.add(store, [task(n) for n in range(1, 7)])
    accounts.invite(store, "labeler", "ann", by="tests", now=NOW)
    (ann,) = (person.id for person in accounts.people(store))
    answer(store, ann, 0, NOW, 100.0)
    (given,) = answers.own(store, ann)
    leased = tasks.held(store, ann, given.task_id)
    assert leased
    ranks = {id: place for place, id in enumerate(reversed(leased.order), 1)}
    payload = {"ranks": ranks, "ratings": {id: {"quality": 3, "flags": []} for id in leased.order}}
    guideline = Guideline("training", "v")
    answers.submit(store, ann, given.task_id, payload, key="again", revision=1, seconds=20.0, guideline=guideline, now=NOW)
    (rank,) = workload.progress(store, now=NOW)
    assert (rank.recent, rank.remaining, rank.mean_seconds) == (1, 11, 120.0)
    assert rank.hours_left == pytest.approx(11 * 120 / 3600)
    assert workload.work(store, now=NOW)[ann].mean_seconds == 120.0


def test_tasks_on_an_erased_prompt_are_no_longer_wanted(store: Store) -> None:
    asked = replace(task(1).prompt, user="bob")
    tasks.add(store, [replace(task(1), prompt=asked), task(2)])
    assert (workload.progress(store, now=NOW)[0].wanted, count_records(store).open_tasks) == (4, 2)
    erase_user(store, "bob", by="tests", why="", now=NOW)
    (rank,) = workload.progress(store, now=NOW)
    assert (rank.tasks, rank.wanted, count_records(store).open_tasks) == (1, 2, 1)


def test_a_task_taken_out_of_the_queue_is_no_longer_wanted(store: Store) -> None:
    tasks.add(store, [task(n) for n in (1, 2)])
    assert workload.progress(store, now=NOW)[0].wanted == 4
    tasks.close(store, ["t1"])
    assert workload.progress(store, now=NOW)[0].wanted == 2


def test_the_pages_show_it_in_both_languages(queued: Store, come: Come) -> None:
    ann, lead = come(name="=ann"), come("lead", "lea", json=False)
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    page = lead.get("/lead/people").text
    assert "1 / 6" in page
    assert "Rank responses" in page
    assert "=ann" in lead.get("/lead/people?find=%3DANN").text
    assert "=ann" not in lead.get("/lead/people?find=zzz").text.split('id="main"')[1].replace('value="zzz"', "")
    chinese = lead.get("/lead/people", **{"Accept-Language": "zh-CN"}).text
    assert "邀请他人" in chinese
    assert "预计完成" in chinese
    person = lead.get(f"/lead/people/{ann.id}").text
    assert "Signed in on 1 devices." in person


def test_tables_are_read_by_a_spreadsheet_as_text_and_numbers(queued: Store, come: Come) -> None:
    formula = '=HYPERLINK("http://evil.example","x")'
    ann, lead = come(name=formula), come("lead", "+lea")
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    reply = lead.get("/lead/people.csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"] == 'attachment; filename="people.csv"'
    assert reply.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(reply.text.lstrip("\ufeff"))))
    by_name = {row["name"]: row for row in rows}
    assert by_name.keys() == {f"'{formula}", "'+lea"}
    assert (by_name[f"'{formula}"]["answers"], by_name[f"'{formula}"]["id"]) == ("1", ann.id)
    (kind,) = csv.DictReader(io.StringIO(lead.get("/lead/progress.csv").text.lstrip("\ufeff")))
    assert (kind["kind"], kind["answers_wanted"], kind["answers"]) == ("rank", "6", "1")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1"])
def test_a_text_that_starts_a_formula_gets_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_stay_numbers_and_what_is_unknown_is_empty() -> None:
    assert [cell(value) for value in (-1.5, -3, float("nan"), None, "a=b", "")] == ["-1.5", "-3", "", "", "a=b", ""]
