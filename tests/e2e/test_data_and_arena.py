"""A file comes in by page, and people vote in the arena, in a real Chromium: by mouse, by drag and drop, by keys, and without scripts."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from serving.web.conftest import Scripted

from accord.feedback import accounts, arena
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import ChatConfig, OpenConfig
from accord.site.app import create
from accord.site.project_site import site_of

ROWS = [{"prompt": f"Which **bread** {n}?", "chosen": f"Rye {n}.\n\n- baked", "rejected": "No.", "note": "x"} for n in range(12)]
Enter = Callable[..., Page]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.create(tmp_path_factory.mktemp("open") / "bakery")


@pytest.fixture(scope="module")
def store(project: Project) -> Iterator[Store]:
    with Store.open(project.store_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(project: Project, store: Store) -> Iterator[str]:
    """The project's site in a server of its own, with models that say what they are told to."""
    models = Scripted(says=lambda model, said: f"Try **{'rye' if model == 'ppo' else 'oats'}**.")
    plain = site_of(project, store, OpenConfig(), models=models, library=models)
    site = replace(plain, chat=replace(ChatConfig(arena=True, turns_per_minute=0)))
    server = uvicorn.Server(uvicorn.Config(create(site), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def enter(browser: Browser, address: str, store: Store) -> Iterator[Enter]:
    contexts, errors = list[BrowserContext](), list[str]()

    def come(role: Role, **options: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options))
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        token = accounts.invite(store, role, f"{role}{len(contexts)}{time.time_ns()}", by="tests", now=datetime.now(UTC))
        page.goto(f"{address}/join?token={token}")
        page.locator("main form button").click()
        page.wait_for_load_state()
        return page

    yield come
    for context in contexts:
        context.close()
    assert not errors


def without_faults(page: Page) -> None:
    found = Axe().run(page)
    assert not found.response["violations"], f"{page.url}: {found.generate_report()}"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} pixels too wide"


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_file_comes_in_by_page(enter: Enter, address: str, store: Store, tmp_path: Path, scripts: bool) -> None:
    name = f"pairs{int(scripts)}.jsonl"
    content = "".join(json.dumps(row | {"prompt": f"{row['prompt']} {scripts}"}) + "\n" for row in ROWS)
    lead = enter("lead", java_script_enabled=scripts, **({} if scripts else {"viewport": {"width": 390, "height": 800}}))
    lead.goto(f"{address}/data")
    if scripts:
        without_faults(lead)
        moved = "([text, name]) => { const moved = new DataTransfer(); moved.items.add(new File([text], name)); return moved; }"
        dropped = lead.evaluate_handle(moved, [content, name])
        lead.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    else:
        (tmp_path / name).write_text(content)
        lead.set_input_files("#file", tmp_path / name)
        lead.get_by_role("button", name="Upload and look").click()
    lead.wait_for_url("**/data/uploads/**")
    while not scripts and lead.get_by_role("link", name="Look again").count():
        lead.get_by_role("link", name="Look again").click()
    expect(lead.get_by_role("cell", name="trl-preference", exact=True)).to_be_visible()
    expect(lead.locator("article.row")).to_have_count(10)
    if scripts:
        without_faults(lead)
    lead.get_by_text("Read it differently").click()
    lead.get_by_label("Leave these columns out").fill("note")
    lead.get_by_role("button", name="Look again").click()
    while not scripts and lead.get_by_role("link", name="Look again").count():
        lead.get_by_role("link", name="Look again").click()
    lead.get_by_role("button", name="Import", exact=True).click()
    while not scripts and lead.get_by_role("link", name="Look again").count():
        lead.get_by_role("link", name="Look again").click()
    expect(lead.get_by_text("This is import", exact=False)).to_be_visible()
    lead.get_by_role("link", name="Its records").click()
    expect(lead.locator("ol.records > li")).to_have_count(12)
    if scripts:
        without_faults(lead)
        lead.set_viewport_size({"width": 390, "height": 800})
        without_faults(lead)
        lead.locator("ol.records a").first.focus()
        lead.keyboard.press("Enter")
        expect(lead.get_by_role("heading", name="Where it came from")).to_be_visible()
        expect(lead.get_by_text(name, exact=True)).to_be_visible()
        without_faults(lead)
        lead.goto(f"{address}/data")
        without_faults(lead)
    else:
        lead.goto(f"{address}/data")
        lead.locator("summary", has_text="Undo").first.click()
        lead.get_by_role("button", name=re.compile("Take back import")).first.click()
        while lead.get_by_role("link", name="Look again").count():
            lead.get_by_role("link", name="Look again").click()
        expect(lead.get_by_text("was taken back", exact=False)).to_be_visible()
        assert not any("False" in prompt.messages[0].content for prompt in store.prompts())


def test_people_vote_in_the_arena(enter: Enter, address: str, store: Store) -> None:
    phone, desk = enter("user", viewport={"width": 390, "height": 800}), enter("labeler", java_script_enabled=False)
    before = arena.outcomes(store).total()
    phone.goto(f"{address}/arena")
    without_faults(phone)
    phone.get_by_label("Your question").fill("Which bread?")
    phone.get_by_role("button", name="Ask two models").click()
    phone.wait_for_url(re.compile(r"/arena/\w+"))
    expect(phone.get_by_text("ppo")).to_have_count(0)
    without_faults(phone)
    phone.keyboard.press("b")
    expect(phone.get_by_text("B is better")).to_be_visible()
    expect(phone.get_by_text(re.compile(r"A was (ppo|sft), B was (ppo|sft)"))).to_be_visible()
    without_faults(phone)
    phone.go_back()
    if phone.locator(".voting").count():
        phone.get_by_role("button", name="A is better").click()
    desk.goto(f"{address}/arena")
    desk.get_by_label("Your question").fill("Which flour?")
    desk.get_by_role("button", name="Ask two models").click()
    desk.get_by_role("button", name="About equal").click()
    expect(desk.get_by_role("region", name="Standings")).to_be_visible()
    assert arena.outcomes(store).total() == before + 2
