"""Single sign-on against providers in processes of their own, over HTTP: one that can lie, and a published one (oidc-provider-mock)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from feedback.web.oidc_provider import CLIENT, SECRET
from starlette.testclient import TestClient

from accord.errors import UsageError
from accord.feedback import accounts, audit
from accord.feedback import sso as single
from accord.feedback.privacy import erase_labeler
from accord.feedback.store import Store
from accord.feedback.web.app import create
from accord.feedback.web.sub_path import SubPath
from accord.settings import LabelConfig, SsoConfig

HOME = "http://127.0.0.1:8400"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    words = [sys.executable, str(Path(__file__).with_name("oidc_provider.py"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


@dataclass
class House:
    """A site with single sign-on, and the provider behind it."""

    store: Store
    issuer: str

    def control(self, lie: str = "", sub: str = "s-1", key: str = "", userinfo: dict[str, Any] | None = None, **claims: Any) -> None:
        said = {"lie": lie, "claims": {"sub": sub, "name": "Ann Smith", **claims}, "userinfo": userinfo or {}}
        httpx.post(f"{self.issuer}/control", json=said | ({"key": key} if key else {}))

    def browser(self, root: str = "", **settings: Any) -> TestClient:
        os.environ[single.SECRET] = SECRET
        try:
            given = {"issuer": self.issuer, "client_id": CLIENT, "title": "Bakery ID", **settings}
            provider = single.provider({"sso": given})
        finally:
            del os.environ[single.SECRET]
        site = SubPath(create(self.store, LabelConfig(), name="bakery", secret="x" * 40, sso=provider), root)
        return TestClient(site, base_url=HOME, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def house(address: str, tmp_path: Path) -> Iterator[House]:
    with Store.open(f"sqlite:///{tmp_path}/feedback.db") as store:
        yield House(store, address)


OPEN = {"create": True, "domains": "bakery.example"}
MAIL = {"email": "ann@bakery.example", "email_verified": True}


def through(browser: TestClient, link: str = "", root: str = "") -> httpx.Response:
    """Go to the provider and back, as a browser follows the redirections."""
    to = browser.get(f"{root}/sso/start{link}")
    assert to.status_code == 303, to.text
    answer = httpx.get(to.headers["location"])
    assert answer.status_code == 302, answer.text
    return browser.get(answer.headers["location"])


def linking(browser: TestClient) -> str:
    """Return the query of the link on the page about oneself."""
    found = re.search(r'href="/sso/start(\?link=\w+)"', browser.get("/profile").text)
    assert found
    return found[1]


def me(browser: TestClient, root: str = "") -> int:
    return browser.get(f"{root}/guidelines", follow_redirects=True).status_code


def test_a_new_person_of_an_allowed_domain_gets_one_account_and_comes_back_to_it(house: House) -> None:
    house.control(**MAIL)
    first, second = house.browser(**OPEN), house.browser(**OPEN)
    assert me(first) == 401
    for browser in (first, second):
        assert through(browser).headers["location"] == "/"
        assert me(browser) == 200
    assert [(person.name, person.role) for person in accounts.people(house.store)] == [("Ann Smith", "labeler")]
    house.control(sub="s-2", **MAIL)  # the same address and name, another person
    assert through(house.browser(**OPEN)).status_code == 303
    assert len(accounts.people(house.store)) == 2


def test_the_way_to_the_provider_has_state_nonce_and_a_challenge_of_its_own_each_time(house: House) -> None:
    browser = house.browser()
    seen = [httpx.URL(browser.get("/sso/start").headers["location"]).params for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert len(seen[0][name]) >= 32
        assert seen[0][name] != seen[1][name]
    assert (seen[0]["code_challenge_method"], seen[0]["response_type"]) == ("S256", "code")
    assert seen[0]["redirect_uri"] == f"{HOME}/sso/back"
    assert SECRET not in str(seen)


LIES = (
    "unsigned",
    "shared secret",
    "public key as secret",
    "another key",
    "changed",
    "issuer",
    "audience",
    "audiences",
    "party",
    "nonce",
    "no nonce",
    "expired",
    "no exp",
    "no iat",
    "not yet",
    "no sub",
    "nobody",
    "denied",
    "other iss",
)


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_cannot_be_trusted_lets_nobody_in(house: House, lie: str) -> None:
    house.control(lie, **MAIL)
    browser = house.browser(**OPEN)
    assert through(browser).status_code == 403
    assert me(browser) == 401
    assert not accounts.people(house.store)


def test_a_provider_of_another_name_is_refused(house: House) -> None:
    house.control("other name", **MAIL)
    assert house.browser(**OPEN).get("/sso/start").status_code == 403


def test_new_keys_of_the_provider_are_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "NEW_KEYS", 0.0)
    house.control(**MAIL)
    browser = house.browser(**OPEN)
    assert through(browser).status_code == 303
    house.control(key="new", **MAIL)
    assert through(browser).status_code == 303


def test_only_the_browser_that_began_can_finish_and_once(house: House) -> None:
    house.control(**MAIL)
    attacker, victim = house.browser(**OPEN), house.browser(**OPEN)
    answer = httpx.get(attacker.get("/sso/start").headers["location"]).headers["location"]
    assert victim.get(answer).status_code == 403, "has begun nothing"
    victim.get("/sso/start")
    assert victim.get(answer).status_code == 403, "began another"
    assert attacker.get(answer).status_code == 303
    attacker.cookies.delete("accord_session")
    assert attacker.get(answer).status_code == 403, "once"
    cookie = house.browser(**OPEN)
    cookie.get("/sso/start")
    (name,) = [name for name in cookie.cookies if name.endswith("_sso")]
    cookie.cookies.set(name, cookie.cookies[name][:-1] + "0", domain="127.0.0.1")
    assert cookie.get(answer).status_code == 403


def invited(house: House, browser: TestClient, name: str = "ann") -> str:
    token = accounts.invite(house.store, "labeler", name, by="tests", now=datetime.now(UTC))
    assert browser.post("/join", data={"token": token}).status_code == 303
    return next(person.id for person in accounts.people(house.store) if person.name == name)


def test_by_default_the_invited_link_their_account_once(house: House) -> None:
    house.control(**MAIL)
    stranger = house.browser()
    assert through(stranger).status_code == 403
    assert not accounts.people(house.store)
    browser = house.browser()
    ann = invited(house, browser)
    assert "Link with Bakery ID" in browser.get("/profile").text
    assert through(browser, linking(browser)).status_code == 303
    assert [(entry.who, entry.what) for entry in audit.entries(house.store)][-1] == (ann, "link")
    elsewhere = house.browser()
    assert through(elsewhere).status_code == 303
    assert me(elsewhere) == 200
    assert len(accounts.people(house.store)) == 1
    other = house.browser()
    invited(house, other, "bob")
    assert through(other, linking(other)).status_code == 409, "it is Ann's"


def test_somebody_who_is_signed_in_links_nothing_without_asking_for_it(house: House) -> None:
    house.control(**MAIL)
    browser = house.browser()
    invited(house, browser)
    assert through(browser).status_code == 403
    assert through(house.browser()).status_code == 403


def test_a_link_is_made_by_the_account_that_asked_for_it_alone(house: House) -> None:
    house.control(**MAIL)
    browser = house.browser()
    invited(house, browser)
    answer = httpx.get(browser.get(f"/sso/start{linking(browser)}").headers["location"]).headers["location"]
    invited(house, browser, "bob")  # who signed in meanwhile
    assert browser.get(answer).status_code == 403


def test_no_other_site_begins_to_link_an_account(house: House) -> None:
    """Or it would sign the browser in at the provider as somebody of its own, and link that one with the account."""
    house.control(sub="attacker", **MAIL)
    browser, other = house.browser(), house.browser()
    invited(house, browser)
    invited(house, other, "bob")
    for link in ("?link=yes", "?link=", linking(other)):
        answer = browser.get(f"/sso/start{link}")
        if answer.status_code == 303:
            answer = browser.get(httpx.get(answer.headers["location"]).headers["location"])
        assert answer.status_code == 403
    assert not [entry for entry in audit.entries(house.store) if entry.what == "link"]
    assert through(house.browser()).status_code == 403


@pytest.mark.parametrize("lie", ["drips", "pours"])
def test_the_exchange_of_a_token_ends_in_time_and_size_whatever_the_provider_sends(
    house: House, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "SECONDS", 3.0)  # the provider drips for 30
    house.control(lie, **MAIL)
    browser, began = house.browser(**OPEN), time.monotonic()
    assert through(browser).status_code == 403
    assert time.monotonic() - began < 20
    assert me(browser) == 401
    house.control(**MAIL)
    assert through(browser).status_code == 303


def test_a_provider_that_does_not_answer_keeps_no_thread_for_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "SECONDS", 1.5)
    monkeypatch.setattr(single, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(12) as threads:
        browser = House(house.store, f"http://127.0.0.1:{silent.getsockname()[1]}").browser(**OPEN)
        start = time.monotonic()
        assert {answer.status_code for answer in threads.map(browser.get, ["/sso/start"] * 12)} == {403}
        assert browser.get("/sso/start").status_code == 403, "at once: it did not answer a moment ago"
        assert time.monotonic() - start < 8


def test_an_address_and_its_verification_come_from_one_place(house: House) -> None:
    house.control(email="boss@bakery.example", userinfo={"email": "me@evil.example", "email_verified": True, "groups": ["staff"]})
    assert through(house.browser(**OPEN, roles={"staff": "labeler"})).status_code == 403


def test_an_address_counts_only_if_the_provider_verified_it(house: House) -> None:
    for claims in ({}, {"email": "ann@bakery.example"}, MAIL | {"email_verified": "true"}, MAIL | {"email": "a@evil.example"}):
        house.control(**claims)
        assert through(house.browser(**OPEN)).status_code == 403
    house.control(userinfo=MAIL)
    assert through(house.browser(**OPEN)).status_code == 303, "the provider says it beside the token"
    house.control(sub="s-3", userinfo=MAIL | {"sub": "s-4"})
    assert through(house.browser(**OPEN)).status_code == 403, "of somebody else"


def test_groups_give_roles_and_their_change_is_audited(house: House) -> None:
    settings = {"create": True, "roles": {"staff": "labeler", "research": "lead", "visitors": "viewer"}}
    for groups, role in ((["staff"], "labeler"), (["visitors", "research"], "lead"), ("visitors", "viewer")):
        house.control(groups=groups)
        browser = house.browser(**settings)
        assert through(browser).status_code == 303
        assert [person.role for person in accounts.people(house.store)] == [role]
    assert [entry.why for entry in audit.entries(house.store) if entry.what == "role"] == [
        "single sign-on: labeler to lead",
        "single sign-on: lead to viewer",
    ]
    for groups in (["strangers"], [], None, {"staff": 1}, [["staff"]]):
        house.control(groups=groups)
        assert through(house.browser(**settings)).status_code == 403


def test_revoked_and_erased_accounts_stay_out(house: House) -> None:
    house.control(**MAIL)
    assert through(house.browser(**OPEN)).status_code == 303
    (person,) = accounts.people(house.store)
    accounts.revoke(house.store, person.id, by="lead", why="left", now=datetime.now(UTC))
    assert through(house.browser(**OPEN)).status_code == 403
    erase_labeler(house.store, person.id, by="lead", why="asked", now=datetime.now(UTC))
    assert through(house.browser(**OPEN)).status_code == 303, "a new account: nothing ties it to the erased one"
    assert len(accounts.people(house.store)) == 2


def test_failures_count_against_their_address(house: House) -> None:
    house.control("changed", **MAIL)
    browser = house.browser(**OPEN)
    assert {through(browser).status_code for _ in range(accounts.ATTEMPTS)} == {403}
    assert through(browser).status_code == 429


def test_under_a_path_and_signing_out_there_too(house: House) -> None:
    house.control(**MAIL)
    browser = house.browser("/accord", **OPEN)
    assert through(browser, root="/accord").headers["location"] == "/accord/"
    assert me(browser, "/accord") == 200
    page = house.browser("/accord").get("/accord/join").text
    assert re.search(r'href="/accord/sso/start">Sign in with Bakery ID', page)
    out = browser.get("/accord/sso/out").headers["location"]
    assert out == f"{house.issuer}/end?client_id=bakery&post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A8400%2Faccord%2Fjoin"


def test_a_site_without_it_has_none_of_its_pages(house: House) -> None:
    browser = TestClient(create(house.store, LabelConfig(), name="bakery"), base_url=HOME)
    assert browser.get("/sso/start").status_code == 404
    assert "sso" not in browser.get("/join").text


def test_settings_that_would_let_anybody_in_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"issuer": "https://id.example", "client_id": "x"}
    for wrong in ({"create": True}, {"roles": {"staff": "boss"}}, {"scopes": "email"}, {"client_id": ""}):
        with pytest.raises(UsageError):
            SsoConfig(**known | wrong)
    monkeypatch.delenv(single.SECRET, raising=False)
    with pytest.raises(UsageError, match=single.SECRET):
        single.provider({"sso": known})
    monkeypatch.setenv(single.SECRET, "s")
    with pytest.raises(UsageError, match="https"):
        single.provider({"sso": known | {"issuer": "http://id.example"}})
    assert "'s'" not in repr(single.provider({"sso": known}))


def test_a_published_provider_lets_people_in(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    claims = '{"sub": "ann", "name": "Ann", "email": "ann@bakery.example", "email_verified": true, "groups": ["staff"]}'
    words = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), "--user-claims", claims]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            issuer = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"{issuer}/.well-known/openid-configuration")
                    break
                except httpx.TransportError:
                    assert process.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.1)
            browser = House(house.store, issuer).browser(**OPEN, roles={"staff": "labeler"})
            to = browser.get("/sso/start").headers["location"]
            assert "Ann" not in str(browser.cookies)
            answer = httpx.post(to, data={"sub": "ann"})
            assert answer.status_code == 302, answer.text
            assert browser.get(answer.headers["location"]).headers["location"] == "/"
            assert me(browser) == 200
        finally:
            process.kill()
    assert [(person.name, person.role) for person in accounts.people(house.store)] == [("Ann", "labeler")]
