"""One application for everybody: where each role lands, what its bar leads to, and which pages it may open."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from fastapi.routing import APIRoute
from visitors import Come, Person

from accord.feedback import tasks
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.feedback.unranked import waiting_tasks
from accord.feedback.web import sign_in
from accord.feedback.web.access import static_files
from accord.records import Message, Prompt, Response
from accord.site.app import PAGES
from accord.site.navigation import AREAS, ARENA
from accord.site.project_site import ProjectSite

ROLES: tuple[Role, ...] = get_args(Role)
OPENED = {
    "/next": {"lead", "labeler"},
    "/answers": {"lead", "labeler"},
    "/lead": {"lead", "viewer"},
    "/review": {"lead", "viewer"},
    "/report": {"lead", "viewer"},
}
"""Pages of some roles; every other page in the bar is open to all who have a session."""


def in_bar(page: str) -> list[str]:
    """The addresses in the bar and in the row below it."""
    navs = re.findall(r"<nav (?:aria-label|class=\"under\").*?</nav>", page.partition("<main")[0], re.DOTALL)
    return [address for nav in navs for address in re.findall(r'href="([^"]*)"', nav)]


@pytest.mark.parametrize(("role", "landing"), [("lead", "/"), ("viewer", "/"), ("labeler", "/label"), ("user", "/chat")])
def test_each_role_comes_in_where_it_works(come: Come, role: Role, landing: str) -> None:
    page = come(role).get("/")
    assert (page.status_code, page.url.path) == (200, landing)


@pytest.mark.parametrize("role", ROLES)
def test_the_bar_leads_to_pages_that_the_role_may_open(come: Come, role: Role) -> None:
    person, seen, waiting = come(role), set[str](), {"/"}
    while waiting:
        address = waiting.pop()
        page = person.get(address)
        assert page.status_code == 200, address
        seen |= {address, page.url.path}
        waiting |= set(in_bar(page.text)) - seen
    wanted = {
        page.address for area in AREAS if role in area.roles and area.address != ARENA for page in (area, *area.pages) if role in page.roles
    }
    assert seen >= wanted, "every page of the role can be reached through the bar"
    forbidden = {address for address, roles in OPENED.items() if role not in roles}
    assert not seen & forbidden
    assert all(person.get(address).status_code == 403 for address in forbidden)


def test_a_page_says_where_it_is(come: Come) -> None:
    lead = come("lead")
    for address, area, page in [("/", "Home", ""), ("/lead", "Labeling", "Quality"), ("/mine", "Chat", "My data")]:
        shown = re.findall(r'<a [^>]*aria-current="\w+"[^>]*>([^<]*)</a>', lead.get(address).text)
        assert shown == ([area, page] if page else [area])


def test_a_stranger_sees_no_page(come: Come) -> None:
    stranger = come("lead")
    stranger.client.cookies.clear()
    for router in PAGES:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            if "GET" in route.methods:
                address = re.sub(r"\{set\}", "training", route.path)
                assert stranger.get(re.sub(r"\{[^}]*\}", "x", address)).status_code == 401, route.path


def test_only_the_first_page_has_an_address_that_another_part_has_too() -> None:
    """The first router with an address answers it: a page that is hidden by another would be missed by nobody but its readers."""
    found = Counter[tuple[str, str]]()
    for router in (sign_in.router, *PAGES):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            found.update((method, route.path) for method in route.methods)
    assert {address for address, count in found.items() if count > 1} == {("GET", "/")}


def test_no_two_parts_have_a_file_of_one_name(site: ProjectSite) -> None:
    """Templates and static files are looked up by name in one part after the other; the bar alone is written by each."""
    parts = [Path(__import__(package, fromlist=["x"]).__file__ or "").parent for package in site.packages]
    for folder, shared in (("templates", {"page.html"}), ("static", set[str]())):
        names = Counter(file.name for part in parts for file in (part / folder).glob("*.*"))
        assert {name for name, count in names.items() if count > 1} == shared
    assert len(static_files(site.packages)) > 10


def test_people_label_and_chat_on_one_site(come: Come, store: Store, site: ProjectSite) -> None:
    prompt = Prompt("p", (Message("user", "Which bread?"),))
    store.add_prompts([prompt])
    store.add_responses([Response(f"r{n}", "p", f"loaf {n}", "sft") for n in range(2)])
    tasks.add(store, list(waiting_tasks(store, seed=0, overlap=0.0)))
    ann: Person = come("labeler", "ann")
    page = ann.get("/next").text
    assert "loaf 0" in page
    assert "Which bread?" in page
    uma: Person = come("user", "uma")
    said = uma.post("/say", text="Hello?", key="k", headers={"Accept": "text/html"})
    assert said.status_code == 200
    assert "heard: Hello?" in said.text
    assert said.url.path.startswith("/c/")
