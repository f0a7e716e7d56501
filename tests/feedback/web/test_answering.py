"""Bad, late, foreign and repeated submissions: the right status, the reader's language, nothing stored half."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from feedback.web.conftest import HOME, RANKED, Come, Person, task
from sqlalchemy import insert
from starlette.testclient import TestClient

from accord.feedback import accounts, answers, guidelines, schema, tasks
from accord.feedback.store import Store
from accord.feedback.web.app import create
from accord.records import Prompt
from accord.settings import LabelConfig


def stored(store: Store) -> list[answers.Answer]:
    return list(answers.every(store, withdrawn=True))


def test_an_answer_is_taken_once_however_often_it_arrives(queued: Store, come: Come) -> None:
    ann = come()
    sent = ann.frame(**RANKED)
    first, again = (ann.post("/tasks/t1/answer", sent) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json() == {"next": "/next", "answer": stored(queued)[0].id, "revision": 1}
    changed = ann.post("/tasks/t1/answer", sent | {"rank-1": "3"})
    assert (changed.status_code, changed.json()["key"]) == (409, "key_reused")
    assert len(stored(queued)) == 1


def test_a_labeler_is_told_the_scene_of_a_prompt_and_its_note(queued: Store, come: Come) -> None:
    def scene(prompt: Prompt, language: str) -> tuple[str, str]:
        note = {"en": "Say <b>what</b> happens next.", "zh": "说明接下来会发生什么。"}[language]
        return ("complaint", note) if prompt.id in ("p1", "p2", "p3") else ("", "")

    ann = come(json=False, scene=scene)
    page = ann.get("/next").text
    assert "Scene: complaint" in page
    assert "Say &lt;b&gt;what&lt;/b&gt; happens next." in page
    ann.client.cookies.set("accord_language", "zh_CN")
    assert "说明接下来会发生什么。" in ann.get("/next").text
    ann.json = True
    assert ann.get("/next").json()["task"]["scene"] == "complaint"
    bea = come(name="bea")
    assert "scene" not in bea.get("/next").json()["task"]


def test_the_order_of_the_page_is_the_servers(queued: Store, come: Come) -> None:
    ann = come()
    texts = ann.get("/next").json()["task"]["responses"]
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    (answer,) = stored(queued)
    names = {r.id: r.text for r in queued.responses()}
    assert [names[id] for id in answer.shown] == texts
    assert [answer.payload["ranks"][id] for id in answer.shown] == [1, 2, 2]


@pytest.mark.parametrize(
    ("change", "status", "key"),
    [
        ({"rank-2": ""}, 422, "ranks_incomplete"),
        ({"rank-2": "0"}, 422, "ranks_incomplete"),
        ({"rank-2": "-1"}, 422, "ranks_incomplete"),
        ({"rank-2": "1e9"}, 422, "malformed"),
        ({"rank-2": "first"}, 422, "malformed"),
        ({"rank-2": "٣"}, 422, "malformed"),
        ({"quality-1": "8"}, 422, "rating_missing"),
        ({"quality-1": ""}, 422, "rating_missing"),
        ({"flags-1": "none of ours"}, 422, "malformed"),
        ({"prompt_flags": "<script>"}, 422, "malformed"),
        ({"reason": "x" * 100_001}, 422, "too_long"),
        ({"revision": "1"}, 409, "stale"),
        ({"revision": "x"}, 422, "malformed"),
        ({"key": ""}, 422, "malformed"),
        ({"key": "k" * 200}, 422, "malformed"),
        ({"csrf": ""}, 403, "csrf"),
    ],
)
def test_what_does_not_fit_is_refused(queued: Store, come: Come, change: dict[str, str], status: int, key: str) -> None:
    ann = come()
    reply = ann.post("/tasks/t1/answer", ann.frame(**RANKED) | change)
    assert (reply.status_code, reply.json()["key"]) == (status, key)
    assert stored(queued) == []
    assert ann.post("/tasks/t1/answer", ann.frame(**RANKED)).status_code == 200, "and the right one is taken afterwards"


def test_a_refusal_keeps_what_was_written(queued: Store, come: Come) -> None:
    ann = come(json=False)
    page = ann.post("/tasks/t1/answer", ann.frame(**RANKED) | {"rank-3": "", "reason": "dear <b>reader</b>"})
    assert page.status_code == 422
    assert "Every response needs a rank." in page.text
    assert "dear &lt;b&gt;reader&lt;/b&gt;" in page.text
    assert len(re.findall(r'name="(?:rank|quality)-\d" value="\d" checked', page.text)) == 5


def test_a_rank_that_contradicts_the_ratings_is_asked_about_once_without_scripts_too(queued: Store, come: Come) -> None:
    ann = come(json=False)
    sent = ann.frame(**RANKED) | {"rank-1": "3"}
    page = ann.post("/tasks/t1/answer", sent)
    assert page.status_code == 422
    assert "You rated A 7 and B 3, but B has the better rank." in page.text
    assert stored(queued) == []
    assert 'name="sure" value="yes"' in page.text
    assert ann.client.post("/tasks/t1/answer", data=sent | {"sure": "yes"}, follow_redirects=False).status_code == 303
    program = come(name="bob")
    assert program.post("/tasks/t1/answer", program.frame(**RANKED) | {"rank-1": "3"}).status_code == 200, "a program means what it sends"


def test_refusals_are_told_in_the_readers_language(queued: Store, come: Come) -> None:
    ann = come()
    reply = ann.post("/tasks/t1/answer", ann.frame(), **{"Accept-Language": "zh-CN"})
    assert reply.json()["error"] == "请给每个回复排名。"
    assert "页面不存在" in come(json=False).get("/nowhere", **{"Accept-Language": "zh-CN"}).text


@pytest.mark.parametrize(
    "body",
    [b"", b"&&&===", b"csrf", b"\xff\xfe", b"%", b"a=%ff", b"csrf=\x00", "&".join(f"f{n}=1" for n in range(1000)).encode(), b'{"csrf": 1}'],
)
def test_any_body_gets_an_answer_of_its_own_fault(queued: Store, come: Come, body: bytes) -> None:
    ann = come()
    ann.frame()
    reply = ann.client.post("/tasks/t1/answer", content=body, headers=ann.headers | {"Content-Type": "application/x-www-form-urlencoded"})
    assert 400 <= reply.status_code < 500
    assert stored(queued) == []


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/plain"])
def test_only_plain_forms_are_read(queued: Store, come: Come, kind: str) -> None:
    ann = come()
    assert ann.client.post("/tasks/t1/answer", content=b"x", headers=ann.headers | {"Content-Type": kind}).status_code == 415


def test_half_a_surrogate_pair_is_refused_in_words(queued: Store, come: Come) -> None:
    ann = come()
    body = "&".join(f"{k}={v}" for k, v in ann.frame(**RANKED).items()) + "&reason=%ED%A0%80"
    reply = ann.client.post("/tasks/t1/answer", content=body, headers=ann.headers | {"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status_code == 400


def test_a_late_answer_is_told_so(queued: Store, come: Come) -> None:
    people = [come(name=name, config=LabelConfig(lease_minutes=1e-4)) for name in ("ann", "bob", "cid")]
    frames = [person.frame(**RANKED) for person in people]
    shown = [person.given["id"] for person in people]
    assert shown == ["t1"] * 3, "the leases ran out one after the other"
    replies = [person.post("/tasks/t1/answer", sent) for person, sent in zip(people, frames, strict=True)]
    assert sorted(reply.status_code for reply in replies) == [200, 200, 410]
    assert {reply.json()["key"] for reply in replies if reply.status_code == 410} == {"late"}
    assert len(stored(queued)) == 2, "the overlap holds"


def test_a_correction_is_a_new_revision(queued: Store, come: Come) -> None:
    ann = come()
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    given = ann.get("/tasks/t1").json()
    assert given["task"]["revision"] == 1
    assert given["task"]["said"]["ranks"], "the page shows what was said"
    hidden = {
        "csrf": given["csrf"],
        "key": given["key"],
        "revision": "1",
        "version": given["task"]["guideline"]["version"],
        "action": "save",
    }
    reply = ann.post("/tasks/t1/answer", hidden | RANKED | {"rank-1": "3"})
    assert reply.json()["revision"] == 2
    assert reply.json()["next"] == "/answers"
    assert [answer.withdrawn for answer in stored(queued)] == [True, False]


def test_a_draft_is_kept_and_counts_for_nothing(queued: Store, come: Come) -> None:
    ann = come()
    assert ann.post("/tasks/t1/draft", ann.frame(**{"rank-2": "1", "flags-3": "hallucination"})).json() == {"kept": True}
    said = ann.get("/next").json()["task"]["said"]
    assert list(said["ranks"].values()) == [1]
    assert list(said["ratings"].values()) == [{"flags": ["hallucination"]}]
    assert stored(queued) == []


def test_a_skipped_task_goes_to_others(queued: Store, come: Come) -> None:
    ann, bob = come(), come(name="bob")
    ann.post("/tasks/t1/answer", ann.frame() | {"action": "skip", "skip_reason": "unpleasant"})
    assert stored(queued)[0].payload == {"skip": "unpleasant"}
    assert ann.get("/next").json()["task"]["id"] == "t2"
    assert bob.get("/next").json()["task"]["id"] == "t1"


@pytest.mark.parametrize(
    ("kind", "k", "fields", "payload"),
    [
        ("compare", 2, {"choice": "tie", "reason": "same"}, {"choice": "tie", "reason": "same"}),
        ("demonstrate", 0, {"text": "one\r\ntwo"}, {"text": "one\ntwo"}),
        ("correct", 1, {"text": "better"}, {"response_id": "r1-0", "text": "better"}),
        ("evaluate", 2, {"rank-1": "5", "rank-2": "9", "quality-1": "7", "quality-2": "1"}, None),
    ],
)
def test_each_kind_is_stored_as_its_payload(store: Store, come: Come, kind: Any, k: int, fields: dict[str, str], payload: Any) -> None:
    tasks.add(store, [task(1, kind, k)])
    ann = come()
    assert ann.post("/tasks/t1/answer", ann.frame(**fields)).status_code == 200
    said = stored(store)[0].payload
    assert said == payload if payload else sorted(said["ranks"].values()) == [1, 2]


@pytest.mark.parametrize("version", ["", "made up", "0" * 12, "x" * 500_000])
def test_an_answer_names_a_version_that_its_page_can_have_shown(queued: Store, come: Come, version: str) -> None:
    long_ago = {"set": "training", "version": "0" * 12, "language": "en", "text": "Former.", "at": "2020-01-01T00:00:00+00:00"}
    with queued.write() as connection:
        connection.execute(insert(schema.guidelines).values(long_ago))
    ann = come()
    sent = ann.frame(**RANKED)
    refused = ann.post("/tasks/t1/answer", sent | {"version": version})
    assert (refused.status_code, refused.json()["key"]) == (422, "other_guideline")
    assert stored(queued) == []
    assert ann.post("/tasks/t1/answer", sent).status_code == 200
    assert [answer.guideline.version for answer in stored(queued)] == [sent["version"]]


def test_a_page_made_before_the_guideline_changed_may_name_its_version(store: Store, tmp_path: Path) -> None:
    tasks.add(store, [task(1)])
    guidelines.write_out(tmp_path)
    site = create(store, LabelConfig(), name="bakery", secret="x" * 40, folder=tmp_path)
    with TestClient(site, base_url=HOME) as client:
        token = accounts.invite(store, "labeler", "bob", by="tests", now=datetime.now(UTC))
        client.post("/join", data={"token": token}, follow_redirects=False)
        bob = Person(client, "bob", True)
        sent = bob.frame(**RANKED)
        guidelines.path_of(tmp_path, "training", "en").write_text("# Another guideline\n")
        assert bob.frame()["version"] != sent["version"]
        assert bob.post("/tasks/t1/answer", sent).status_code == 200
    assert [answer.guideline.version for answer in stored(store)] == [sent["version"]]


def test_a_form_for_another_guideline_is_another_page(queued: Store, come: Come) -> None:
    ann = come()
    ann.post("/guidelines/training/read", {"csrf": ann.token(), "version": "of yesterday"})
    page = come(name="bob", json=False).get("/guidelines/training").text
    assert "I have read this" in page
