"""Passages are marked and facts checked in a real browser: by keyboard, in both languages, without scripts, on a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e.conftest import Come, Server, task
from e2e.test_flow import accessible, keys, one
from playwright.sync_api import expect

from accord.feedback import answers
from accord.feedback.queue import Fact
from accord.feedback.tasks import Task

SAID = "Rye bread, **baked** at noon. (1.0)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("marking")
    server = Server(folder / "bakery", f"sqlite:///{folder / 'feedback.db'}")
    yield server
    server.stop()


def fact(number: int) -> Task:
    """A task to check the claim "Rye bread" of the same response."""
    shown = task(number, "mark", 1, 1)
    return replace(shown, kind="fact", fact=Fact("Rye bread", 0, "We bake **wheat**.", "Oven"))


def test_passages_are_marked_and_a_fact_is_checked_by_keyboard_alone(site: Server, come: Come) -> None:
    site.queue(task(1, "mark", 1, priority=2), fact(2))
    page = come()
    keys(page, "Enter")
    expect(page.get_by_role("heading", name="Mark passages", exact=True)).to_be_visible()
    accessible(page)
    view = page.locator(".marked")
    expect(view).to_have_text(SAID)
    expect(view).to_be_focused()
    keys(page, "ArrowRight", "2", "End", "Shift+ArrowLeft", "3")
    expect(page.locator(".marks li")).to_have_count(2)
    expect(page.locator(".marks li").nth(0)).to_have_text("wrong bread ×")
    keys(page, "z")
    expect(page.locator(".marks li")).to_have_count(1)
    keys(page, "Enter")
    expect(page.get_by_role("heading", name="Check a fact")).to_be_visible()
    (spans,) = one(site).payload["answers"]["responses"].values()
    assert spans == {"marked_errors": [{"start": 4, "end": 9, "kind": "wrong"}]}

    expect(page.locator(".claim")).to_have_text("Rye bread")
    expect(page.locator(".source")).to_have_text("We bake wheat.")
    accessible(page)
    keys(page, "Enter")
    expect(page.locator("#problems")).to_have_text("Say what the document says of the claim.")
    keys(page, "2", "r")
    page.keyboard.type("it says wheat")
    keys(page, "Control+Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    said = {answer.kind: answer.payload for answer in answers.every(site.store)}
    assert said["fact"] == {"verdict": "contradicted", "reason": "it says wheat"}
    page.goto(f"{site.address}/tasks/t2")
    expect(page.locator("[name=verdict][value=contradicted]")).to_be_checked()


def test_both_kinds_in_chinese_on_a_telephone(site: Server, come: Come) -> None:
    site.queue(task(1, "mark", 1, priority=2), fact(2))
    page = come(locale="zh-CN", viewport={"width": 390, "height": 844}, reduced_motion="reduce", color_scheme="dark")
    for heading, button in (("标注段落", "有误"), ("核对事实", "文档与该说法矛盾")):
        page.goto(f"{site.address}/next")
        expect(page.locator("#ask")).to_have_text(heading)
        expect(page.get_by_text(button).first).to_be_visible()
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out to the side"
        page.locator(".skipping summary").click()
        page.locator("[name=skip_reason]").press("Enter")
        expect(page.locator("#ask").get_by_text(heading)).to_have_count(0)


def test_both_kinds_without_scripts(site: Server, come: Come) -> None:
    site.queue(task(1, "mark", 1, priority=2), fact(2))
    page = come(java_script_enabled=False)
    page.goto(f"{site.address}/next")
    page.locator("[name='answer.1.marked_errors']").fill("wrong | bread\nincomplete | noon")
    page.get_by_role("button", name="Save and continue").last.click()
    ((_, marked),) = [(answer.kind, answer.payload) for answer in answers.every(site.store)]
    ((spans,),) = [each.values() for each in marked["answers"]["responses"].values()]
    assert [(SAID[span["start"] : span["end"]], span["kind"]) for span in spans] == [("bread", "wrong"), ("noon", "incomplete")]
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.get_by_role("alert")).to_have_text("Say what the document says of the claim.")
    page.get_by_label("The document does not say").check()
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    assert "absent" in [answer.payload.get("verdict") for answer in answers.every(site.store)]
