"""A user asks a vision-language model about a picture in a real browser, and a lead takes what came of it as something to learn from."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from data.test_pictures import drawn, saved
from e2e.conftest import wait_until
from e2e.test_chat_page import Chat, Enter, enter
from playwright.sync_api import Page, expect
from seeing import seeing

from accord.records import MEDIUM
from accord.runtime.project import Project

__all__ = ["enter"]
PASTE = """([bytes, name]) => {
  const held = new DataTransfer();
  held.items.add(new File([Uint8Array.from(atob(bytes), one => one.charCodeAt(0))], name, { type: "image/png" }));
  const text = document.getElementById("text");
  text.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    settings = {"chat": {"two": 0.0, "temperature": 0.0, "max_tokens": 8}}
    project = Project.create(tmp_path / "gallery", settings=settings)
    seeing(project.model("seer"))
    server = Chat(project.path)
    yield server
    server.kill()
    server.store.__exit__()


def add(page: Page, content: bytes) -> None:
    page.locator(".adding summary", has_text="Add pictures").click()
    page.set_input_files("#shown", {"name": "squares.png", "mimeType": "image/png", "buffer": content})
    page.locator("#showing button").click()
    expect(page.locator(".chip.shown img")).to_be_visible()


def drawn_whole(page: Page) -> list[int]:
    """Widths of the pictures of the conversation, in pixels of their files, once each has arrived."""
    expect(page.locator(".turn.user .picture img").first).to_be_visible()
    return page.locator(".turn.user .picture img").evaluate_all(
        "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
    )


def look(page: Page, name: str) -> None:
    """Save what is seen, where somebody wants to look at it."""
    if folder := os.environ.get("ACCORD_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"chat-pictures-{name}.png")


def test_a_picture_goes_from_the_form_to_the_model_and_into_what_is_learned_from(chat: Chat, enter: Enter) -> None:
    page = enter(chat.invite("uma"))
    page.goto(f"{chat.address}/chat")
    page.get_by_role("button", name="Yes, I agree").click()
    add(page, saved(drawn(320, 200), "PNG"))
    look(page, "added")
    page.locator("#text").fill("Which colours are these?")
    page.locator("#text").press("Enter")
    expect(page.locator("article.answer:not(.writing)")).to_have_count(1)
    assert drawn_whole(page) == [320]
    expect(page.locator(".chip.shown")).to_have_count(0)
    asked, answered = chat.turns()
    assert (asked.text, len(asked.media)) == (f"{MEDIUM}Which colours are these?", 1)
    assert answered.model == "seer"
    assert answered.text.strip()
    page.locator("#text").fill("a draft")
    page.evaluate(PASTE, [base64.b64encode(saved(drawn(90, 60), "PNG")).decode(), "pasted.png"])
    expect(page.locator(".chip.shown img")).to_be_visible()
    assert page.locator("#text").input_value() == "a draft", "what is being typed stays"
    look(page, "pasted")
    assert not Axe().run(page).response["violations"]
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    look(page, "phone")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("button", name="Remove picture 1").click()
    expect(page.locator(".chip.shown")).to_have_count(0)
    page.get_by_role("button", name="Good answer").click()
    expect(page.locator("form.why")).to_be_visible()

    lead = enter(chat.invite("lead", "lead"))
    lead.goto(f"{chat.address}/review")
    expect(lead.locator(".picture img")).to_be_visible()
    look(lead, "review")
    lead.get_by_role("button", name="Accept for training").click()
    wait_until(lambda: any(chat.store.thumbs()), "the thumb is in the store")
    (thumb,) = chat.store.thumbs()
    assert thumb.prompt.messages[0].media == asked.media


def test_a_picture_needs_no_scripts(chat: Chat, enter: Enter) -> None:
    page = enter(chat.invite("uma"), java_script_enabled=False, color_scheme="dark")
    page.goto(f"{chat.address}/chat")
    add(page, saved(drawn(320, 200), "PNG"))
    look(page, "dark")
    page.locator("#text").fill("Which colours are these?")
    page.locator("#send").click()
    expect(page.locator("article.answer")).to_have_count(1)
    expect(page.locator(".turn.user .picture img")).to_be_visible()
    asked, _ = chat.turns()
    assert len(asked.media) == 1
