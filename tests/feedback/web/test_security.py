"""A test for each class of hole that labeling tools were found to have."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feedback.web.conftest import NOW, RANKED, Come, addresses, heard, task

from accord.errors import UsageError
from accord.feedback import accounts, answers, audit, tasks
from accord.feedback.store import Store
from accord.feedback.web import access
from accord.feedback.web.security import LARGEST_BODY, form_token, token_fits
from accord.feedback.web.server import SECRET, is_loopback, lead_link, secret_for
from accord.records import Message, Prompt, Response
from accord.settings import LabelConfig

HACK = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>"
PAGES = addresses("GET")
POSTS = [*addresses("POST"), "/leave"]


def test_stored_text_of_every_kind_is_escaped(store: Store, come: Come) -> None:
    prompt = Prompt(f"p{HACK[:20]}", (Message("system", HACK), Message("user", HACK)), source=HACK)
    responses = tuple(Response(f"r{n}{HACK[:20]}", prompt.id, f"{HACK} {n}", HACK) for n in range(3))
    tasks.add(store, [tasks.Task("t1", "rank", prompt, responses)])
    person = come("lead", HACK, json=False)
    sent = person.frame(**RANKED, reason=HACK)
    pages = [person.get(path).text for path in PAGES if not path.endswith(".csv")]
    assert person.post("/tasks/t1/answer", sent).status_code == 200
    for page in (*pages, person.get("/answers").text, person.get("/tasks/t1").text, person.get("/lead").text):
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page or HACK[:4] not in page


def test_every_answer_carries_the_headers(queued: Store, come: Come) -> None:
    person = come()
    for path in (*PAGES, "/nowhere", "/static/x/site.css", "/join"):
        headers = person.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
    assert person.get("/next").headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in person.get("/").headers
    secure = come(None, config=LabelConfig(https=True))
    assert secure.get("/join").headers["strict-transport-security"]


def test_the_pages_have_nothing_inline(queued: Store, come: Come) -> None:
    person = come("lead", json=False)
    for path in (*addresses("GET", id=person.id, digest=heard(queued)), "/join"):
        page = person.get(path)
        assert page.status_code == 200, f"{path} does not open for a lead"
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", page.text), path


def test_without_a_session_there_is_nothing(queued: Store, come: Come) -> None:
    assert len(PAGES) > 5
    assert len(POSTS) > 5
    stranger = come(None)
    for path in PAGES:
        reply = stranger.get(path)
        assert (reply.status_code, reply.json()["key"]) == (401, "login")
    for path in POSTS:
        assert stranger.post(path, {"csrf": "x"}).status_code == 401
    for path in ("/register", "/signup", "/docs", "/openapi.json", "/redoc", "/admin", "/api", "/accounts"):
        assert stranger.get(path).status_code == 404, "no sign-up, no description of an interface"


def test_forms_need_the_sessions_own_token(queued: Store, come: Come) -> None:
    ann, bob = come(), come(name="bob")
    sent = ann.frame(**RANKED)
    theirs = bob.token()
    for token in ("", "0" * 64, theirs, "é", ann.token()[:-1]):
        for path in POSTS:
            assert ann.post(path, sent | {"csrf": token}).status_code == 403
    assert list(answers.every(queued)) == []
    assert ann.get("/next").status_code == 200, "and nobody was logged out"


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_other_sites_cannot_post_even_with_the_token(queued: Store, come: Come, headers: dict[str, str]) -> None:
    ann = come()
    assert ann.post("/tasks/t1/answer", ann.frame(**RANKED), **headers).status_code == 403
    token = accounts.invite(queued, "labeler", "eve", by="tests", now=datetime.now(UTC))
    assert ann.post("/join", {"token": token}, **headers).status_code == 403, "nor log somebody in as somebody else"
    assert ann.post("/language", {"language": "zh_CN"}, **headers).status_code == 403


def test_form_tokens_depend_on_session_and_secret() -> None:
    assert token_fits("s", "k", form_token("s", "k"))
    assert len({form_token("s", "k"), form_token("s", ""), form_token("t", "k"), form_token("t", "")}) == 4


def test_a_labeler_cannot_reach_anothers_work(queued: Store, come: Come) -> None:
    ann, bob = come(), come(name="bob")
    ann.post("/tasks/t1/answer", ann.frame(**RANKED, reason="private words"))
    ann.frame()
    ann.post("/tasks/t2/draft", ann.frame(text="x"))
    for path in ("/tasks/t1", "/tasks/t2", "/tasks/none", "/tasks/%00", "/tasks/t1/../t1"):
        reply = bob.get(path)
        assert (reply.status_code, reply.json()["error"]) == (404, "You have no such task."), "another's and none look the same"
    frame = bob.frame(**RANKED)
    assert bob.given["id"] == "t1"
    bob.post("/tasks/t1/answer", frame)
    assert bob.post("/tasks/t2/answer", frame).status_code == 404
    assert "private words" not in bob.get("/tasks/t1").text
    assert "private words" not in bob.client.get("/answers").text


def test_filters_in_the_address_reach_nothing(queued: Store, come: Come) -> None:
    ann, bob = come(), come(name="bob")
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    for query in ("?labeler=" + ann.id, "?before=9999' OR '1'='1", "?before=%00", "?limit=1000000", "?labeler__id=x&order_by=-id"):
        page = bob.client.get("/answers" + query)
        assert page.status_code == 200
        assert "/tasks/t1" not in page.text


def test_roles_end_where_they_end(queued: Store, come: Come) -> None:
    labeler, viewer, lead = come(), come("viewer", "vic"), come("lead", "lea")
    assert [person.get("/lead").status_code for person in (labeler, viewer, lead)] == [403, 200, 200]
    assert [person.get("/next").status_code for person in (labeler, viewer, lead)] == [200, 403, 200]
    for person in (labeler, viewer):
        for what in ("pause", "resume", "exclude", "include"):
            assert person.post(f"/lead/people/{lead.id}/{what}", {"csrf": person.token(), "role": "lead"}).status_code == 403
    assert labeler.post("/join", {"token": "x", "role": "lead"}).status_code == 403
    assert "role" not in labeler.get("/").text or "lead" not in accounts.account(queued, labeler.id).role
    assert accounts.account(queued, labeler.id).role == "labeler"
    assert "form" not in re.sub(r'action="/(language|leave)"', "", viewer.client.get("/lead").text.split("<main")[1]).split("</main")[0]


def test_a_lead_pauses_and_leaves_out(queued: Store, come: Come) -> None:
    ann, lead = come(), come("lead", "lea")
    token = lead.token()
    assert lead.post(f"/lead/people/{ann.id}/pause", {"csrf": token, "why": "holiday"}).status_code == 200
    assert (ann.get("/next").status_code, ann.get("/next").json()["key"]) == (403, "paused")
    lead.post(f"/lead/people/{ann.id}/resume", {"csrf": token})
    ann.post("/tasks/t1/answer", ann.frame(**RANKED))
    assert len(list(queued.rankings())) == 1
    lead.post(f"/lead/people/{ann.id}/exclude", {"csrf": token, "why": "careless"})
    assert list(queued.rankings()) == []
    lead.post(f"/lead/people/{ann.id}/include", {"csrf": token})
    assert len(list(queued.rankings())) == 1
    assert lead.post(f"/lead/people/{ann.id}/erase", {"csrf": token}).status_code == 404
    for nobody in ("nobody", "%00", "'--"):
        assert lead.post(f"/lead/people/{nobody}/pause", {"csrf": token}).status_code == 404


def test_an_invitation_works_once_and_looking_does_not_use_it(queued: Store, come: Come) -> None:
    token = accounts.invite(queued, "labeler", "ann", by="tests", now=datetime.now(UTC))
    first, second = come(None), come(None)
    assert first.get(f"/join?token={token}").status_code == 200
    assert first.post("/join", {"token": token}).status_code == 200
    assert second.post("/join", {"token": token}).status_code == 403
    late = accounts.invite(queued, "labeler", "old", by="tests", now=NOW, days=1)
    assert second.post("/join", {"token": late}).status_code == 403


def test_guessing_is_slowed_down(queued: Store, come: Come) -> None:
    stranger = come(None)
    assert {stranger.post("/join", {"token": f"guess {n}"}).status_code for n in range(accounts.ATTEMPTS)} == {403}
    reply = stranger.post("/join", {"token": "guess"})
    assert (reply.status_code, reply.json()["key"]) == (429, "too_many_attempts")


def test_a_session_is_new_at_log_in_and_ends_in_the_store(queued: Store, come: Come) -> None:
    planted = come(None)
    planted.client.cookies.set("accord_session", "planted-by-somebody")
    token = accounts.invite(queued, "labeler", "ann", by="tests", now=datetime.now(UTC))
    reply = planted.client.post("/join", data={"token": token}, follow_redirects=False)
    cookie = reply.headers["set-cookie"]
    assert "planted" not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    session = re.search(r"accord_session=([^;]+)", cookie)[1]
    assert accounts.session(queued, "planted-by-somebody", now=datetime.now(UTC)) is None
    with queued.read() as connection:
        kept = str(connection.exec_driver_sql("SELECT * FROM sessions").all())
    assert session not in kept, "only a hash is kept"
    planted.client.cookies.clear()
    planted.client.cookies.set("accord_session", session)
    planted.post("/leave", {"csrf": planted.token()})
    planted.client.cookies.set("accord_session", session)
    assert planted.get("/").status_code == 401


def test_a_revoked_person_is_out_at_once(queued: Store, come: Come) -> None:
    ann = come()
    accounts.revoke(queued, ann.id, by="tests", why="left", now=datetime.now(UTC))
    assert ann.get("/").status_code == 401


def test_sessions_end_by_themselves(queued: Store, come: Come) -> None:
    ann = come(config=LabelConfig(session_days=1e-9))
    assert ann.get("/").status_code == 401


def test_cookies_over_https_are_locked_to_the_host(queued: Store, come: Come) -> None:
    person = come(None, config=LabelConfig(https=True))
    token = accounts.invite(queued, "labeler", "ann", by="tests", now=datetime.now(UTC))
    cookie = person.client.post("/join", data={"token": token}, follow_redirects=False).headers["set-cookie"]
    assert cookie.startswith("__Host-accord=")
    assert "Secure" in cookie


def test_bodies_that_are_too_large_are_refused_unread(queued: Store, come: Come) -> None:
    ann = come()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ann.client.post("/tasks/t1/answer", content=b"a" * (LARGEST_BODY + 1), headers=form).status_code == 413
    assert ann.client.post("/join", content=(b"a" * 60_000 for _ in range(20)), headers=form).status_code == 413, "without a length, too"
    assert ann.client.post("/join", content=b"", headers=form | {"Content-Length": "-1"}).status_code == 413


@pytest.mark.parametrize(
    "path",
    ["../visiting.py", "..%2fvisiting.py", "%2e%2e/visiting.py", "....//app.py", "/etc/passwd", "site.css%00.py", "templates/page.html"],
)
def test_no_path_leads_out_of_the_static_files(come: Come, path: str) -> None:
    reply = come(None).client.get(f"/static/x/{path}")
    assert reply.status_code == 404
    assert "import" not in reply.text


def test_static_files_are_served_by_name(come: Come) -> None:
    person = come(None)
    for name in access.static_files():
        assert person.client.get(access.static_address(name)).status_code == 200
    size = sum(len(content) for name, content in access.static_files().items() if name.endswith(".js"))
    assert size < 40_000, "about 35 KB of scripts"


@pytest.mark.parametrize(
    "to", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\t//evil", "/a\r\nSet-Cookie: x=1", ""]
)
def test_no_form_leads_to_another_site(come: Come, to: str) -> None:
    reply = come(None).client.post("/language", data={"language": "zh_CN", "to": to}, follow_redirects=False)
    assert reply.headers["location"] == "/"


def test_the_server_fetches_nothing(queued: Store) -> None:
    """SSRF needs a client: the site's code has none."""
    sources = {path.name: path.read_text("utf-8") for path in Path(access.__file__).parent.glob("*.py")}
    assert not re.search(r"urllib\.request|http\.client|httpx|import requests|urlopen|aiohttp|create_connection", "".join(sources.values()))
    assert [name for name, text in sources.items() if "subprocess" in text] == ["workers.py"], "which starts the others"


def test_requests_for_another_host_are_refused(queued: Store, come: Come) -> None:
    assert come(None).client.get("/join", headers={"Host": "evil.example"}).status_code == 400
    assert (
        come(None, config=LabelConfig(names="label.example, b.example")).client.get("/join", headers={"Host": "b.example"}).status_code
        == 200
    )


def test_only_this_machines_address_opens_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    assert secret_for(LabelConfig(), insecure=False) == ""
    for host in ("0.0.0.0", "192.168.1.5", "::", "label.example"):
        for insecure in (False, True):
            with pytest.raises(UsageError, match="no secret is set"):
                secret_for(LabelConfig(host=host, https=True), insecure=insecure)
    monkeypatch.setenv(SECRET, "1234")
    with pytest.raises(UsageError, match="4 characters"):
        secret_for(LabelConfig(), insecure=False)
    monkeypatch.setenv(SECRET, "s" * 32)
    with pytest.raises(UsageError, match="in the clear"):
        secret_for(LabelConfig(host="0.0.0.0"), insecure=False)
    assert secret_for(LabelConfig(host="0.0.0.0"), insecure=True) == "s" * 32
    assert secret_for(LabelConfig(host="0.0.0.0", https=True), insecure=False) == "s" * 32


def test_which_addresses_are_this_machines() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "")))


def test_the_operators_link_is_one_account_and_a_new_token_each_time(store: Store) -> None:
    now = datetime.now(UTC)
    links = {lead_link(store, "http://127.0.0.1:1", now + timedelta(seconds=n)) for n in range(3)}
    assert len(links) == 3
    assert [(person.role, person.name) for person in accounts.people(store)] == [("lead", audit.OPERATOR)]


def test_a_store_that_is_gone_is_told_in_words(store: Store, come: Come) -> None:
    tasks.add(store, [task()])
    ann = come()
    sent = ann.frame(**RANKED)
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE answers RENAME TO gone")
    reply = ann.post("/tasks/t1/answer", sent)
    assert reply.status_code == 503
    assert "database is unavailable" in reply.json()["error"]
    assert "gone" not in reply.text
    assert reply.headers["content-security-policy"]
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO answers")
    assert ann.post("/tasks/t1/answer", sent).status_code == 200
