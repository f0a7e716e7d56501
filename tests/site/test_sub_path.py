"""A site under a path of its host: every address that goes out has the path before it, and cookies belong to it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient
from visitors import Come

from accord.errors import UsageError
from accord.feedback import accounts
from accord.feedback.web.sub_path import SubPath, checked
from accord.site.app import create
from accord.site.project_site import ProjectSite

LEADS = re.compile(r'(?:href|action|formaction|src|data-live|data-stop|data-at|data-to)="(/[^"]*)"')


def test_every_address_on_every_page_has_the_path_before_it(come: Come) -> None:
    lead, seen, waiting = come("lead", root="/rlhf/bakery"), set[str](), {"/rlhf/bakery/"}
    lead.post("/say", text="Hello?", key="k", headers={"Accept": "text/html"})
    while waiting:
        address = waiting.pop()
        page = lead.client.get(address, headers={"Accept": "text/html"})
        assert page.status_code == 200, address
        assert page.url.path.startswith("/rlhf/bakery")
        seen.add(address)
        if page.headers["content-type"].startswith("text/html"):
            found = LEADS.findall(page.text)
            assert not [to for to in found if not f"{to}/".startswith("/rlhf/bakery/")], address
            links = re.findall(r'<(?:a|link|script) [^>]*(?:href|src)="(/[^"#?]*)', page.text)
            waiting |= set(links) - seen
    assert any("/static/" in address for address in seen)
    assert any("/c/" in address for address in seen)
    assert len(seen) > 15


def test_what_a_program_is_told_to_do_next_has_the_path(come: Come) -> None:
    lead = come("lead", root="/rlhf")
    said = lead.post("/say", text="Hello?", key="k", headers={"Accept": "application/json"}).json()
    assert said["next"].startswith("/rlhf/c/")
    assert said["live"] == f"{said['next']}/live"
    language = lead.post("/language", follow=False, language="zh_CN", to="/lead")
    assert language.headers["location"] == "/rlhf/lead"
    assert "Path=/rlhf;" in language.headers["set-cookie"]


@pytest.mark.parametrize("kept", [True, False], ids=["the proxy keeps the path", "the proxy takes it off"])
def test_a_proxy_may_keep_the_path_or_take_it_off(come: Come, kept: bool) -> None:
    lead = come("lead", root="/rlhf")
    page = lead.client.get("/rlhf/lead" if kept else "/lead", headers={"Accept": "text/html", "Cookie": cookie(lead.client.cookies)})
    assert page.status_code == 200
    assert 'href="/rlhf/next"' in page.text


def cookie(jar: object) -> str:
    return "; ".join(f"{each.name}={each.value}" for each in jar.jar)  # type: ignore[attr-defined]


def test_cookies_belong_to_the_path_and_say_so(site: ProjectSite, come: Come) -> None:
    secure = replace(site, config=replace(site.config, https=True))
    for root, wanted in [("", "__Host-accord="), ("/rlhf", "__Secure-accord_")]:
        token = accounts.invite(site.store, "lead", f"lea{root}", by="tests", now=datetime.now(UTC))
        with TestClient(SubPath(create(secure), root), base_url="https://127.0.0.1:8400") as client:
            given = client.post(f"{root}/join", data={"token": token}, follow_redirects=False)
            assert given.headers["location"] == f"{root}/"
            assert given.headers["set-cookie"].startswith(wanted)
            assert f"Path={root or '/'};" in given.headers["set-cookie"]
            assert client.get(f"{root}/lead").status_code == 200, "the browser sends it back"
            assert client.get(f"{root}/health").json() == {"status": "ok"}


def test_a_path_is_checked() -> None:
    assert [checked(path) for path in ("", "/", "/a", "/a/b.c/")] == ["", "", "/a", "/a/b.c"]
    for path in ("a", "//a", "/a b", "/a?b", "/a//b", 'x"y', "/{{ 1 }}"):
        with pytest.raises(UsageError, match="no path"):
            checked(path)
