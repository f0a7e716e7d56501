"""A project's own questions and flags in a real browser: by keyboard, in both languages, without scripts, on a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from e2e.conftest import Come, Server, task
from e2e.test_flow import accessible, keys, one
from playwright.sync_api import expect

OWN: dict[str, Any] = {
    "clarity": {
        "kind": "scale",
        "most": 5,
        "text": {"en": "How clear is it?", "zh": "表达是否清楚？"},
        "lowest": {"en": "muddled", "zh": "混乱"},
        "highest": {"en": "clear", "zh": "清楚"},
        "tasks": ["rank", "compare", "conversation"],
    },
    "tone": {
        "kind": "choice",
        "options": {
            "warm": {"text": {"en": "warm", "zh": "亲切"}, "definition": {"en": "as a friend would", "zh": "像朋友一样"}},
            "cold": {"en": "cold", "zh": "冷淡"},
        },
        "text": {"en": "Which tone?", "zh": "语气如何？"},
    },
    "topic": {
        "kind": "text",
        "about": "prompt",
        "text": {"en": "What is it about?", "zh": "关于什么？"},
        "tasks": ["rank", "demonstrate", "conversation"],
        "required": True,
    },
    "errors": {
        "kind": "spans",
        "tasks": ["correct"],
        "options": {"wrong": {"en": "wrong fact", "zh": "事实错误"}, "vague": {"en": "vague", "zh": "含糊"}},
        "text": {"en": "Mark what is wrong with it", "zh": "标出有问题的地方"},
    },
    "crumbs": {
        "kind": "flag",
        "text": {"en": "leaves crumbs", "zh": "掉渣"},
        "definition": {"en": "Bread that crumbles.", "zh": "会掉渣的面包。"},
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("asking")
    server = Server(folder / "bakery", f"sqlite:///{folder / 'feedback.db'}", questions=OWN)
    yield server
    server.stop()


def test_own_questions_are_answered_by_keyboard_in_the_order_of_the_page(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    keys(page, "Enter")
    expect(page.get_by_role("heading", name="The prompt")).to_be_visible()
    keys(page, "Enter")
    expect(page.locator("#problems")).to_have_text("A question is not answered: What is it about?")
    page.keyboard.type("bread")
    keys(page, "Control+Enter", "6")
    expect(page.locator(".step:not([hidden]) .active")).to_contain_text("How clear is it?")
    keys(page, "4", "Enter")
    expect(page.locator("#problems")).to_have_text("A question is not answered: Which tone?")
    keys(page, "1", "e", "i")
    expect(page.get_by_text("Bread that crumbles.").first).to_be_visible()
    expect(page.get_by_text("It does another task than the one asked for", exact=False).first).to_be_visible()
    accessible(page)
    keys(page, "Enter", "3", "2", "2", "Enter", "1", "2", "Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    saved = one(site)
    about = [saved.payload["answers"]["responses"][id] for id in saved.shown]
    assert about == [{"clarity": 4, "tone": "warm"}, {"clarity": 2, "tone": "cold"}]
    assert saved.payload["answers"]["prompt"] == {"topic": "bread"}
    assert [saved.payload["ratings"][id] for id in saved.shown] == [{"quality": 6, "flags": ["crumbs"]}, {"quality": 3}]
    assert set(saved.payload["questions"]) == {"clarity", "tone", "topic"}
    page.goto(f"{site.address}/tasks/t1")
    expect(page.locator("[name='answer.1.clarity'][value='4']")).to_be_checked()


def test_passages_are_marked_by_keyboard_by_mouse_and_undone(site: Server, come: Come) -> None:
    site.queue(task(1, "correct", 1))
    page = come()
    page.goto(f"{site.address}/next")
    view = page.locator(".marked")
    expect(view).to_have_text("Rye bread, **baked** at noon. (1.0)")
    view.focus()
    keys(page, "ArrowRight", "1", "End", "Shift+ArrowLeft", "Shift+ArrowLeft", "2")
    expect(page.locator(".marks li")).to_have_count(2)
    expect(page.locator(".marks li").nth(0)).to_have_text("wrong fact bread ×")
    accessible(page)
    keys(page, "Delete")
    expect(page.locator(".marks li")).to_have_count(1)
    keys(page, "z")
    expect(page.locator(".marks li")).to_have_count(2)
    view.locator("span", has_text="Rye").dblclick()
    page.get_by_role("button", name="vague").click()
    expect(page.locator(".marks li").nth(0)).to_contain_text("vague Rye")
    page.locator("[name=text]").fill("Rye bread, baked at noon.")
    keys(page, "Control+Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    marked = one(site).payload["answers"]["responses"]["r1-0"]["errors"]
    text = "Rye bread, **baked** at noon. (1.0)"
    assert [(text[span["start"] : span["end"]], span["kind"]) for span in marked][:2] == [("Rye", "vague"), ("bread", "wrong")]
    assert text[marked[2]["start"] :].endswith(")")


@pytest.mark.parametrize(
    ("language", "words", "kinds"),
    [
        ("en-GB", ("How clear is it?", "muddled", "leaves crumbs"), ("rank", "conversation")),
        ("zh-CN", ("表达是否清楚？", "混乱", "掉渣"), ("rank", "compare", "correct")),
    ],
)
def test_questions_are_accessible_in_both_languages_on_a_telephone(
    site: Server, come: Come, language: str, words: tuple[str, ...], kinds: tuple[Any, ...]
) -> None:
    sizes = {"rank": 2, "compare": 2, "conversation": 0, "correct": 1}
    site.queue(*(task(n, kind, sizes[kind]) for n, kind in enumerate(kinds)))
    page = come(locale=language, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    for kind in kinds:
        page.goto(f"{site.address}/next")
        expect(page.locator("#task")).to_have_attribute("data-kind", kind)
        if kind == "rank":
            page.locator("#steps button").nth(1).click()
            for text in words:
                expect(page.locator(".step:not([hidden])").get_by_text(text).first).to_be_visible()
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")  # from under the bar, whose place is the screen's edge
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out to the side"
        page.locator(".skipping summary").click()
        page.locator("[name=skip_reason]").press("Enter")
        expect(page.locator(f"#task[data-kind={kind}]")).to_have_count(0)


def test_without_scripts(site: Server, come: Come) -> None:
    site.queue(task(1, "correct", 1), task(2, "demonstrate", 0))
    page = come(java_script_enabled=False)
    page.goto(f"{site.address}/next")
    page.locator("[name=text]").fill("Rye bread.")
    page.locator("[name='answer.1.errors']").fill("wrong | not in it")
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.get_by_role("alert")).to_contain_text("A marked passage is not in the text")
    page.locator("[name='answer.1.errors']").fill("wrong | bread\nvague | noon")
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.locator(".ask")).to_contain_text("Question 2")
    assert [span["start"] for span in one(site).payload["answers"]["responses"]["r1-0"]["errors"]] == [4, 24]
    page.locator("[name=text]").fill("Rye.")
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.get_by_role("alert")).to_have_text("A question is not answered: What is it about?")
    expect(page.locator("[name=text]")).to_have_value("Rye.")
