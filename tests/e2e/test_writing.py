"""A labeler writes prompts in a real browser, by keyboard, in both languages, on a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from e2e.conftest import Come, Server
from e2e.test_flow import accessible, keys
from playwright.sync_api import expect

from accord.feedback import written


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("writing")
    server = Server(folder / "bakery", f"sqlite:///{folder / 'feedback.db'}")
    yield server
    server.stop()


def test_a_prompt_is_written_for_a_users_intent_and_plainly(site: Server, come: Come) -> None:
    now = datetime.now(UTC)
    kinds: dict[written.Ask, list[str]] = {"user-based": ["plan a meal"], "plain": []}
    for ask, intents in kinds.items():
        made = list(written.tasks_for(site.store, ask, count=1, intents=intents, overlap=2, priority=0.0))
        written.queue_all(site.store, made, now=now)
    page = come(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    keys(page, "Enter")
    expect(page.locator(".ask")).to_contain_text("plan a meal")
    expect(page.get_by_role("heading", name="A user wants to use the assistant for this.", exact=False)).to_be_visible()
    assert "Labelers write a prompt" not in page.content()
    keys(page, "Control+Enter")
    expect(page.locator("#problems")).to_have_text("Write a prompt first.")
    accessible(page)
    page.locator("[name=text]").fill("What can I cook for six?\nTwo eat no meat.")
    keys(page, "Control+Enter")
    expect(page.locator(".step h2")).to_contain_text("Write any task")
    page.locator("[name=text]").fill("What can I cook for six?\nTwo eat no meat.")
    keys(page, "Control+Enter")
    expect(page.locator("#problems")).to_have_text("This prompt is there already. Write another one.")
    page.locator("[name=text]").fill("Name three rivers.")
    keys(page, "Control+Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    prompts = {prompt.messages[0].content for prompt in site.store.prompts()}
    assert prompts == {"What can I cook for six?\nTwo eat no meat.", "Name three rivers."}
    page.goto(f"{site.address}/answers")
    expect(page.locator(".answers")).to_contain_text("Write a prompt")

    bob = come("bob", locale="zh-CN")
    bob.goto(f"{site.address}/next")
    expect(bob.locator("#ask")).to_have_text("撰写问题")
    expect(bob.locator(".step h2")).to_contain_text("有位用户想让助手做这件事")
