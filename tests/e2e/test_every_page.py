"""Every page of the project's site in each role: for readers, by keyboard alone, on a phone, in the dark and in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.whole_site import LOOKS, ROLES, Whole, fill, templates, walk, whole
from playwright.sync_api import Browser, Page

from accord.feedback.accounts import Role

WIDTH = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HEAD = """() => ({
  title: document.title.trim(),
  h1: [...document.querySelectorAll("h1")].map(one => one.textContent.trim()).filter(Boolean).length,
  lang: document.documentElement.lang,
})"""
WATCH = """() => {
  const shown = one => one.checkVisibility() && one.getClientRects().length && !one.closest("[inert]");
  const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")];
  window.controls = all.filter(one => shown(one) && !one.disabled && one.tabIndex >= 0);
  window.reached = new Set();
  window.unseen = new Set();
  const name = one => one.outerHTML.slice(0, 120);
  const looks = one => {
    const box = [one, one.closest("label"), one.nextElementSibling].filter(Boolean);
    const props = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor", "backgroundColor"];
    return box.map(each => props.map(prop => getComputedStyle(each)[prop]).join()).join(";");
  };
  const before = new Map(window.controls.map(one => [one, looks(one)]));
  document.addEventListener("focusin", event => {
    const one = event.target;
    window.reached.add(one);
    if (before.has(one) && looks(one) === before.get(one)) window.unseen.add(name(one));
  }, true);
  window.missed = () => window.controls.filter(one => {
    if (window.reached.has(one)) return false;
    const alike = each => each === one || (one.type === "radio" && each.name === one.name && each.form === one.form);
    return !window.controls.filter(alike).some(each => window.reached.has(each));
  }).map(name);
  return window.controls.length;
}"""
ENGLISH = r"""() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.parentElement, text = node.textContent.trim();
    if (!/[A-Za-z]{2,}[,;:]?\s+[A-Za-z]{2,}[,;:]?\s+[A-Za-z]{2,}/.test(text) || /[\u4e00-\u9fff]/.test(text)) continue;
    const left = "script, style, code, pre, kbd, textarea, option, [lang^='en'], .text, .said";
    if (at.closest(left) || !at.checkVisibility()) continue;
    found.push(text);
  }
  return found;
}"""
WRITTEN = re.compile(
    r"Which bread|Question \d|What counts as bread|The baker opens|A river runs|Who keeps the mill|At the market|Where is bread|"
    r"Rye bread|Try rye|Try oats"
)
"""What people and models of the project wrote."""
UNSEEN_PAGES = {
    "/jobs/{number}",
    "/data/jobs/{number}",
    "/lead/screening/{id}",
    "/guidelines/{set}",
    "/arena/{id}",
    "/c/{id}",
    "/tasks/{task_id:path}",
}
"""Pages to which a link leads only where there is a job, an invited labeler or something of one's own."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("whole")) as running:
        people = {role: running.come_in(browser, role) for role in ROLES}
        fill(running, people["lead"], people["labeler"], people["user"])
        for page in people.values():
            page.context.close()
        yield running


def sound(page: Page) -> list[str]:
    """Return what is wrong with a page for readers: axe's findings, no title, heading or language."""
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    left_out = {"region": {"enabled": False}} if page.url.endswith("/report") else {}
    # the report's switches stand before the page that they change, so that they work without scripts
    found = Axe().run(page, options={"rules": left_out})
    said = [f"axe: {each['id']}: {[node['html'][:150] for node in each['nodes'][:3]]}" for each in found.response["violations"]]
    head = page.evaluate(HEAD)
    said += [f"has no {what}" for what, there in head.items() if not there]
    if (wide := page.evaluate(WIDTH)) > 0:
        said.append(f"is {wide} pixels too wide")
    return [f"{page.url}: {each}" for each in said]


def by_keys(page: Page) -> list[str]:
    """Return what Tab does not come to, or does not show; and folds that Enter or Space do not open."""
    count = page.evaluate(WATCH)
    for _ in range(count + 12):
        page.keyboard.press("Tab")
    said = [f"Tab never comes to {each}" for each in page.evaluate("window.missed()")]
    said += [f"focus is not seen on {each}" for each in page.evaluate("[...window.unseen]")]
    fold = page.locator("details:not([open]) > summary:visible")
    if fold.count():
        one = fold.first.element_handle()
        one.focus()
        for key, opened in (("Enter", True), ("Space", False)):
            page.keyboard.press(key)
            if one.evaluate("one => one.parentElement.open") != opened:
                said.append(f"{key} does not work on {one.evaluate('one => one.outerHTML')[:100]}")
    return [f"{page.url}: {each}" for each in said]


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_page_is_sound_and_works_by_keyboard_alone(site: Whole, browser: Browser, role: Role) -> None:
    page = site.come_in(browser, role)
    errors = list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    faults, visited = list[str](), set[str]()
    for kind in walk(site, page):
        visited.add(kind)
        faults += by_keys(page) + sound(page)
    page.context.close()
    assert not faults, "\n".join(faults)
    assert not errors
    if role == "lead":
        assert not set(templates()) - visited - UNSEEN_PAGES, "pages to which no link leads"


@pytest.mark.slow
@pytest.mark.parametrize("look", ["phone", "dark"])
def test_every_page_fits_a_phone_the_dark_and_chinese(site: Whole, browser: Browser, look: str) -> None:
    page = site.come_in(browser, "lead", **LOOKS[look])
    faults = list[str]()
    for _ in walk(site, page):
        faults += sound(page)
        if look == "zh":
            english = [text for text in page.evaluate(ENGLISH) if not WRITTEN.search(text)]
            faults += [f"{page.url}: English: {text[:100]}" for text in english]
            if not page.evaluate("document.documentElement.lang.startsWith('zh')"):
                faults.append(f"{page.url}: its language is not Chinese")
    page.context.close()
    assert not faults, "\n".join(faults)
