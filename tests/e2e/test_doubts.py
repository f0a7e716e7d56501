"""A doubt in real browsers: the labeler asks by keyboard, the lead answers and makes a rule, the labeler sees why it came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.conftest import Come, Server, task
from e2e.test_flow import accessible, keys, one
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doubting")
    server = Server(folder / "bakery", f"sqlite:///{folder / 'feedback.db'}")
    yield server
    server.stop()


def test_a_doubt_is_asked_answered_and_becomes_a_rule(site: Server, come: Come) -> None:
    site.queue(task(1, "compare", 2))
    ann = come("ann", viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    ann.goto(f"{site.address}/next")
    keys(ann, "2", "n")
    ann.keyboard.type("Is rye a bread?")
    keys(ann, "Control+Enter")
    expect(ann.locator("#doubt-sent")).to_have_text("Sent to the lead.")
    accessible(ann)
    expect(ann.locator("[name=choice][value=second]")).to_be_checked()
    keys(ann, "Escape", "Enter")
    expect(ann.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    assert one(site).payload == {"choice": "second"}, "a doubt is no part of the answer"

    lea = come("lea", "lead", locale="zh-CN", reduced_motion="reduce")
    lea.get_by_role("link", name="等待答复的疑问：1").click()
    lea.locator("section.read summary").first.click()
    expect(lea.get_by_text("Is rye a bread?").first).to_be_visible()
    lea.locator("[name=text]").fill("It is, see below.")
    lea.get_by_role("button", name="发送").click()
    expect(lea.locator(".thread")).to_contain_text("It is, see below.")
    lea.get_by_text("写成规则或示例").click()
    accessible(lea)
    lea.locator("[name=rule-en]").fill("Rye is a bread.")
    lea.locator("[name=rule-zh]").fill("黑麦面包也是面包。")
    lea.get_by_role("button", name="加入指南").click()
    expect(lea.locator(".notice")).to_contain_text("Rye is a bread.")

    ann.goto(f"{site.address}/doubts")
    expect(ann.locator(".thread")).to_contain_text("It is, see below.")
    expect(ann.locator(".thread")).not_to_contain_text("lea")  # a labeler sees that a lead answered, not which one
    accessible(ann)
    assert ann.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ann.goto(f"{site.address}/guidelines/training")
    ann.get_by_text("Rules that grew from doubts: 1").click()
    expect(ann.get_by_text("The doubt was: Is rye a bread?")).to_be_visible()
    expect(ann.locator("article")).to_contain_text("Rye is a bread.")


def test_without_scripts_a_doubt_keeps_what_was_entered(site: Server, come: Come) -> None:
    site.queue(task(1, "demonstrate", 0))
    page = come(java_script_enabled=False)
    page.goto(f"{site.address}/next")
    page.locator("[name=text]").fill("Rye, because")
    page.locator("#doubt summary").click()
    page.get_by_role("button", name="Send to the lead").click()
    expect(page.get_by_role("alert")).to_have_text("Write something first.")
    page.locator("#doubt summary").click()
    page.locator("[name=doubt]").fill("Which rye?")
    page.get_by_role("button", name="Send to the lead").click()
    expect(page.get_by_text("Sent to the lead.")).to_be_visible()
    expect(page.locator("[name=text]")).to_have_value("Rye, because")
    page.locator("#doubt summary").click()
    expect(page.locator(".thread")).to_contain_text("Which rye?")
