"""Labeling on a telephone: three quarters of the screen are the prompt and the responses, and four responses can be one page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from e2e.conftest import Come, Server, task, wait_until
from playwright.sync_api import Page, expect

from accord.feedback.tasks import Task

LONG = "A response of several paragraphs, as models write them. " * 60
SHARE = """() => {
  const bottom = document.querySelector(".actions").getBoundingClientRect().top;
  const shown = new Set();
  for (const text of document.querySelectorAll(".ask .text, .step:not([hidden]) .response, .step:not([hidden]) .card .text")) {
    const box = text.getBoundingClientRect();
    const frame = text.closest(".ask")?.getBoundingClientRect() ?? { top: 0, bottom };
    const end = Math.min(box.bottom, frame.bottom, bottom);
    for (let y = Math.ceil(Math.max(box.top, frame.top, 0)); y < end; y++) shown.add(y);
  }
  return shown.size / innerHeight;
}"""
"""The share of the screen's height on which a line of the prompt or of a response is seen, not covered by the buttons below."""


def long(number: int, k: int) -> Task:
    made = task(number, k=k)
    return replace(made, responses=tuple(replace(one, text=f"{LONG} ({one.id})") for one in made.responses))


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 640)])
def test_three_quarters_of_the_screen_are_text(site: Server, come: Come, width: int, height: int) -> None:
    site.queue(long(1, 4))
    page = come(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    page.goto(f"{site.address}/next")
    steps = page.locator("#steps button")
    for index in range(1, 6):
        steps.nth(index).tap()
        expect(steps.nth(index)).to_have_attribute("aria-current", "step")
        wait_until(lambda: page.evaluate(SHARE) >= 0.75, f"step {index} shows {page.evaluate(SHARE):.0%} of text")
        assert fits(page)


def test_without_flags_and_ratings_four_responses_are_one_page(site: Server, come: Come) -> None:
    site.queue(replace(task(1, k=4), without=("flags", "ratings")))
    page = come(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    page.goto(f"{site.address}/next")
    expect(page.locator(".step")).to_have_count(1)
    expect(page.locator("#steps")).to_be_hidden()
    expect(page.get_by_text("Question 1")).to_be_visible()
    assert not page.locator("[name^=quality], [name^=flags], [name=prompt_flags]").count()
    assert fits(page)
    for place in range(1, 5):
        page.locator(f".pill:has([name=rank-{place}][value='{place}'])").tap()
    page.locator("#save").tap()
    wait_until(lambda: bool(site.rankings()), "the ranking is stored")
    assert sorted(next(iter(site.rankings().values()))) == [1, 2, 3, 4]
    assert not next(iter(site.store.rankings())).ratings
