"""A labeler's day in a real browser: by keyboard alone, without scripts, two at once, in Chinese, on a tablet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.conftest import Come, Server, task, wait_until
from feedback.web.conftest import addresses, heard
from playwright.sync_api import Page, expect

from accord.feedback import accounts, answers

KINDS = ("rank", "compare", "demonstrate", "correct", "conversation", "evaluate")
LOOKS = pytest.mark.parametrize("server", ["sqlite"], indirect=True)
"""For what a page looks like, which hangs on no database."""
SIZES = {"compare": 2, "demonstrate": 0, "correct": 1, "conversation": 0}


def keys(page: Page, *pressed: str) -> None:
    for key in pressed:
        page.keyboard.press(key)


def one(site: Server) -> answers.Answer:
    (found,) = answers.every(site.store)
    return found


def test_six_responses_are_ranked_by_keyboard_alone(site: Server, come: Come) -> None:
    site.queue(task(1))
    page = come()
    keys(page, "Enter")
    expect(page.get_by_role("heading", name="The prompt")).to_be_visible()
    assert not page.locator("[name^=rank]:checked, [name^=quality]:checked").count(), "the list starts unranked"
    keys(page, "s", "Enter", "Enter")
    expect(page.locator("#problems")).to_have_text("Rate response A from 1 to 7.")
    for quality in (7, 6, 5, 4, 3, 2):
        keys(page, str(quality), "a", "Enter")
    expect(page.locator(".suggested")).to_be_visible()
    expect(page.locator(".rung").nth(0)).to_have_text("1 bestA")
    keys(page, "z")
    expect(page.locator(".ladder")).to_contain_text("not ranked")
    keys(page, "2", "1", "1", "3")
    expect(page.locator(".rung").nth(0)).to_have_text("1 bestBC")
    keys(page, "Enter")
    expect(page.locator("#problems")).to_have_text("Not yet ranked: E, F")
    keys(page, "6", "6", "ArrowUp", "Shift+ArrowUp", "z", "z")
    expect(page.locator(".rung.rest")).to_have_text("not rankedF")
    keys(page, "ArrowDown", "6", "r")
    page.keyboard.type("because")
    keys(page, "Control+Enter")
    expect(page.locator("#problems")).to_contain_text("You rated A 7 and B 6, but B has the better rank.")
    keys(page, "Control+Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()

    saved = one(site)
    order = saved.shown
    assert [saved.payload["ranks"][id] for id in order] == [2, 1, 1, 3, 4, 4], "ties stay, gaps close"
    assert [saved.payload["ratings"][id]["quality"] for id in order] == [7, 6, 5, 4, 3, 2]
    assert all(saved.payload["ratings"][id]["flags"] == ["fails_to_follow_instructions"] for id in order)
    assert saved.payload["prompt_flags"] == ["sensitive"]
    assert saved.payload["reason"] == "because"
    assert 0 < saved.seconds < 120


@pytest.mark.parametrize(
    ("locale", "best", "contradicted", "done"),
    [
        ("en-US", "1 best", "You rated A 5 and C 1, but C has the better rank.", "No tasks for you right now"),
        ("zh-CN", "1 最好", "您给 A 打了 5 分，给 C 打了 1 分，但 C 的名次更靠前。", "目前没有任务"),
    ],
)
def test_ratings_fill_in_the_ranking_with_ties_and_follow_a_changed_rating(
    site: Server, come: Come, locale: str, best: str, contradicted: str, done: str
) -> None:
    site.queue(task(1, k=3))
    page = come("ann", locale=locale)
    page.goto(f"{site.address}/next")
    keys(page, "Enter", "5", "Enter", "6", "Enter", "5", "Enter")
    rungs = page.locator(".rung")
    expect(rungs.nth(0)).to_have_text(f"{best}B")
    expect(rungs.nth(1)).to_have_text("2AC")
    keys(page, "ArrowLeft", "7", "Enter")
    expect(rungs.nth(0)).to_have_text(f"{best}C")
    keys(page, "3", "ArrowLeft", "1", "Enter")
    expect(rungs.nth(2)).to_have_text("3A")  # a rank that somebody gave stays
    keys(page, "Enter")
    expect(page.locator("#problems")).to_contain_text(contradicted)
    keys(page, "Enter")
    expect(page.get_by_role("heading", name=done)).to_be_visible()
    saved = one(site)
    assert [saved.payload["ranks"][id] for id in saved.shown] == [3, 2, 1]


def test_what_a_model_wrote_cannot_act(site: Server, come: Come) -> None:
    site.queue(task(1))
    page = come()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.address}/next")
    assert page.evaluate("window.hacked") is None
    assert not page.locator("article img, article script").count()
    assert page.locator("article table").count() == 2, "one alone, one in the ranking"
    assert page.locator("article pre code").first.inner_text().startswith("print('bread')")
    assert not page.locator("article a").count()
    assert not [address for address in asked if not address.startswith(site.address)]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_other_kinds_by_keyboard(site: Server, come: Come, kind: Any) -> None:
    site.queue(task(1, kind, SIZES.get(kind, 3)))
    page = come()
    keys(page, "Enter")
    page.wait_for_selector("#task")
    match kind:
        case "compare":
            keys(page, "4", "Enter")
        case "demonstrate":
            page.keyboard.type("Rye,\nbecause it keeps.")
            keys(page, "Control+Enter")
        case "correct":
            keys(page, "Control+End")
            page.keyboard.type(" And water.")
            keys(page, "Control+Enter")
        case "conversation":
            keys(page, "5", "Enter", "6", "d", "Enter")
        case _:
            keys(page, "Enter", "6", "Enter", "5", "Enter", "5", "Enter", "1", "2", "2", "b", "Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    saved = one(site)
    assert saved.guideline.set == ("evaluation" if kind == "evaluate" else "training")
    match kind:
        case "compare":
            assert saved.payload == {"choice": "both_bad"}
        case "demonstrate":
            assert [d.text for d in site.store.demonstrations()] == ["Rye,\nbecause it keeps."]
        case "correct":
            assert [d.text for d in site.store.demonstrations()] == ["Rye bread, **baked** at noon. (1.0) And water."]
            assert site.rankings() == {("p1", "ann"): (1, 2)}, "the correction is preferred"
        case "conversation":
            assert saved.payload["turns"] == {"1": {"quality": 5}, "3": {"quality": 6, "flags": ["hallucination"]}}
        case _:
            assert sorted(saved.payload["ranks"].values()) == [1, 2, 2]
            assert saved.payload["all_bad"] is True


def test_without_scripts(site: Server, come: Come) -> None:
    site.queue(task(1, k=3), task(2, k=2))
    page = come(java_script_enabled=False)
    page.get_by_role("link", name="Start").click()
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.get_by_role("alert")).to_have_text("Every response needs a rank.")
    for place, (rank, quality) in enumerate(((1, 7), (2, 3), (2, 2)), 1):
        page.locator(f"[name=quality-{place}][value='{quality}']").check(force=True)
        page.locator(f"[name=rank-{place}][value='{rank}']").check(force=True)
    page.locator("textarea[name=reason]").fill("no scripts")
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator("textarea[name=reason]")).to_have_value("no scripts")
    page.get_by_role("button", name="Save and continue").last.click()
    expect(page.locator(".ask")).to_contain_text("Question 2")
    page.locator(".skipping summary").click()
    page.locator("[name=skip_reason]").fill("not for me")
    page.get_by_role("button", name="Skip this task").click()
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    said = {answer.task_id: answer for answer in answers.every(site.store)}
    assert [said["t1"].payload["ranks"][id] for id in said["t1"].shown] == [1, 2, 2]
    assert said["t2"].payload == {"skip": "not for me"}


def test_two_people_side_by_side_rank_the_same_project(site: Server, come: Come) -> None:
    site.queue(*(task(n, k=2, overlap=2 if n == 1 else 1) for n in range(1, 4)))
    pages = {name: come(name) for name in ("ann", "bob")}
    seen: dict[str, list[str]] = {name: [] for name in pages}
    for _ in range(2):
        for name, page in pages.items():
            page.goto(f"{site.address}/next")
            seen[name].append(page.locator(".ask .turn").inner_text().split("Question ")[1][0])
        for page in pages.values():
            keys(page, "Enter", "4", "Enter", "4", "Enter", "1", "2", "Enter")
            expect(page.locator(".ranking")).to_be_hidden()
    assert {name: set(numbers) for name, numbers in seen.items()} == {"ann": {"1", "2"}, "bob": {"1", "3"}}
    assert sorted(site.rankings()) == [("p1", "ann"), ("p1", "bob"), ("p2", "ann"), ("p3", "bob")]


def test_a_draft_outlives_the_page_and_an_answer_can_be_corrected(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    page.goto(f"{site.address}/next")
    keys(page, "Enter", "6", "Enter", "3", "Enter", "1", "r")
    page.keyboard.type("draft text")
    expect(page.locator("#saved")).to_have_text("draft saved")
    page.goto(f"{site.address}/next")
    expect(page.locator("[name=reason]")).to_have_value("draft text")
    expect(page.locator(".rung").nth(0)).to_have_text("1 bestA")
    keys(page, "ArrowDown", "ArrowDown", "2", "Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    page.get_by_role("link", name="My answers").first.click()
    page.locator(".answers a").click()
    expect(page.get_by_text("You are correcting an earlier answer")).to_be_visible()
    page.locator(".card").nth(0).focus()
    keys(page, "2", "Enter")
    expect(page.get_by_role("heading", name="My answers")).to_be_visible()
    expect(page.locator(".answers")).to_contain_text("revision 2")
    first, second = answers.every(site.store, withdrawn=True)
    assert (first.withdrawn, second.withdrawn) == (True, False)
    assert set(site.rankings().values()) == {(1, 1)}


def test_in_chinese(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.wait_for_load_state("load")
    keys(page, "Enter")
    expect(page.locator("#ask")).to_have_text("给回复排名")
    expect(page.locator(".guide")).to_contain_text("有用")
    keys(page, "Enter", "Enter")
    expect(page.locator("#problems")).to_contain_text("请给回复 A 打分")
    keys(page, "6", "Enter", "5", "Enter", "1", "2", "Enter")
    expect(page.get_by_role("heading", name="目前没有任务")).to_be_visible()
    asked = come("bob", locale="zh-CN")
    expect(asked.get_by_role("link", name="开始")).to_be_visible()


@LOOKS
def test_every_kind_of_task_is_accessible_light_and_dark(site: Server, come: Come) -> None:
    site.queue(*(task(n, kind, SIZES.get(kind, 3), priority=-float(n)) for n, kind in enumerate(KINDS)))
    page = come(reduced_motion="reduce")
    for kind in KINDS:
        page.goto(f"{site.address}/next")
        expect(page.locator("#task")).to_have_attribute("data-kind", kind)
        steps = page.locator(".steps button")
        for index in range(max(1, steps.count())):
            if steps.count() > 1:
                steps.nth(index).click()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                accessible(page)
        page.locator(".skipping summary").click()
        page.locator("[name=skip_reason]").press("Enter")
        expect(page.locator(f"#task[data-kind={kind}]")).to_have_count(0)


@LOOKS
def test_the_other_pages_are_accessible(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come("lea", "lead", reduced_motion="reduce")
    accounts.invite(site.store, "labeler", "Ann", by="tests", now=datetime.now(UTC), screened=True)
    ann = next(person.id for person in accounts.people(site.store) if person.name == "Ann")
    for path in (*addresses("GET", id=ann, digest=heard(site.store)), "/join", "/nowhere"):
        if path.endswith(".csv"):
            continue  # downloads
        page.goto(site.address + path)
        accessible(page)
    page.goto(f"{site.address}/next")
    keys(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    accessible(page)
    keys(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    assert not found.response["violations"], found.generate_report()


@LOOKS
def test_it_fits_a_tablet_and_a_telephone(site: Server, come: Come) -> None:
    site.queue(task(1))
    page = come("lea", "lead", viewport={"width": 1024, "height": 1024}, has_touch=True)
    for width in (1024, 768, 390):
        page.set_viewport_size({"width": width, "height": 1024})
        for path in (*addresses("GET", digest=heard(site.store)), "/next"):
            if path.endswith(".csv"):
                continue
            page.goto(f"{site.address}{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path}: nothing stands out to the side"
        for _ in range(2):
            page.locator("#next").tap()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nor on any step"
        page.locator(".pill").nth(0).wait_for(state="attached")
        sizes = page.locator(".step:not([hidden]) .pill:visible, .actions button:visible").evaluate_all(
            "all => all.map(one => Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height))"
        )
        assert min(sizes) >= 38, "big enough for a finger"


def test_single_keys_can_be_turned_off(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    page.goto(f"{site.address}/next")
    keys(page, "?")
    page.get_by_label("Single keys are shortcuts").uncheck()
    keys(page, "Escape", "Enter", "6")
    assert not page.locator("[name=quality-1]:checked").count()
    wait_until(lambda: page.evaluate("localStorage.getItem('accord.keys.off')") == "yes", "the choice is kept")
