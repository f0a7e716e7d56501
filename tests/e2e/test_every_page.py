"""Every page of the project's site in each role: for readers, by keyboard alone, on a phone, in the dark and in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.whole_site import LOOKS, ROLES, Whole, fill, listed, template_of, templates, walk, whole
from playwright.sync_api import Browser, Page

from accord.feedback import accounts
from accord.feedback.accounts import Role
from accord.runtime import jobs

WIDTH = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HEAD = """() => ({
  title: document.title.trim(),
  h1: [...document.querySelectorAll("h1")].map(one => one.textContent.trim()).filter(Boolean).length,
  lang: document.documentElement.lang,
})"""
WATCH = """() => {
  document.activeElement?.blur();
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
    if (!/[A-Za-z]{2,}[,;:]?\s+[A-Za-z]{2,}/.test(text) || /[\u4e00-\u9fff]/.test(text)) continue;
    if (at.closest("script, style, code, pre, kbd, textarea, option, [lang^='en'], .text, .said, #settings, td.number")) continue;
    if (at.checkVisibility()) found.push(text);
  }
  for (const name of ["aria-label", "placeholder", "alt"])
    for (const at of document.querySelectorAll(`[${name}]:not([lang^="en"] *)`)) {
      const text = at.getAttribute(name);
      if (/[A-Za-z]{4,}/.test(text) && !/[\u4e00-\u9fff]/.test(text)) found.push(`${name}: ${text}`);
    }
  return found;
}"""
WRITTEN = re.compile(
    r"Which bread|Question \d|What counts as bread|The baker opens|A river runs|Who keeps the mill|At the market|Where is bread|"
    r"Rye bread|Try rye|Try oats|What does \W*show, and what|"
    r"^aria-label: (bakery|tokens: \w+ \d+)$|^placeholder: prompt=question$|^person simulated$|^base, sft$|"
    r"^accord (pretrain|sft)$"
)
"""What people and models of the project wrote, names of it, and what is typed as it stands."""
WALKED = {
    *("/", "/answers", "/arena", "/chat", "/data", "/data/uploads/{id}", "/doubts", "/guidelines", "/join", "/label", "/lead"),
    *(
        "/lead/audit",
        "/lead/people",
        "/lead/people/{id}",
        "/lead/queue",
        "/mine",
        "/next",
        "/profile",
        "/records",
        "/recordings/{digest}",
        "/records/story",
    ),
    *("/records/why", "/report", "/review", "/run/{name}", "/runs", "/runs/compare", "/runs/new", "/runs/new/{method}", "/taste"),
}
"""Pages that a lead comes to by links, and by ``whole_site.STARTS``."""
UNSEEN_PAGES = {
    "/jobs/{number}",
    "/data/jobs/{number}",
    "/lead/screening/{id}",
    "/guidelines/{set}",
    "/arena/{id}",
    "/c/{id}",
    "/tasks/{task_id:path}",
}
"""Pages to which a link leads only where there is a job, an invited labeler or something of one's own; ``own_pages`` goes to each."""


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
    found = Axe().run(page)
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


def test_no_page_is_left_out_of_the_walk() -> None:
    """A new page of the site is named here: the slow tests then hold that they come to it."""
    assert set(templates()) == WALKED | UNSEEN_PAGES
    assert not WALKED & UNSEEN_PAGES


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
        assert visited >= WALKED, "pages to which no link leads"


@pytest.mark.slow
@pytest.mark.parametrize("look", ["phone", "dark", "zh"])
def test_every_page_fits_a_phone_the_dark_and_chinese(site: Whole, browser: Browser, look: str) -> None:
    page = site.come_in(browser, "lead", **LOOKS[look])
    faults = list[str]()
    for _ in walk(site, page):
        faults += sound(page) + (not_chinese(page) if look == "zh" else [])
    page.context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("role", [role for role in ROLES if role != "lead"])
def test_no_role_reads_english_on_a_chinese_page(site: Whole, browser: Browser, role: Role) -> None:
    page = site.come_in(browser, role, **LOOKS["zh"])
    faults = list[str]()
    for _ in walk(site, page):
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
        faults += not_chinese(page)
    page.context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("look", ["desktop", "zh"])
def test_pages_of_ones_own_are_sound_too(site: Whole, browser: Browser, look: str) -> None:
    faults, visited = list[str](), set[str]()
    for page in own_pages(site, browser, look):
        visited.add(template_of(urlsplit(page.url).path))
        faults += by_keys(page) + sound(page) + (not_chinese(page) if look == "zh" else [])
    assert not faults, "\n".join(faults)
    assert visited >= UNSEEN_PAGES


def own_pages(site: Whole, browser: Browser, look: str) -> Iterator[Page]:
    """Go to the pages that only their author reaches, those of jobs and screenings, and the list of `accord open --all`."""
    labeler = site.come_in(browser, "labeler", **LOOKS[look])
    labeler.goto(f"{site.address}/arena")
    labeler.locator("textarea").first.fill("Which bread?")
    labeler.locator("main form button").first.click()
    labeler.wait_for_url(re.compile(r"/arena/\w+"))
    pair = labeler.url
    yield labeler
    labeler.goto(pair)
    labeler.locator("form[action$='/vote'] button").first.click()
    labeler.wait_for_load_state()
    yield labeler
    labeler.goto(f"{site.address}/chat")
    if (agree := labeler.get_by_role("button", name=re.compile("Yes, I agree|同意"))).count():
        agree.first.click()
    labeler.locator("textarea[name=text]").fill("Which bread?")
    labeler.locator("textarea[name=text]").press("Enter")
    labeler.wait_for_url(re.compile(r"/c/\w+"))
    labeler.locator("article.answer:not(.writing)").first.wait_for()
    labeler.goto(labeler.url)  # as somebody who comes back to it: the answer is whole
    yield labeler
    labeler.goto(f"{site.address}/next")
    for path in ("/guidelines/training", "/guidelines/evaluation", "/tasks/t9"):
        answer = labeler.goto(f"{site.address}{path}")
        assert answer
        assert answer.status == 200, path
        yield labeler
    labeler.context.close()
    lead = site.come_in(browser, "lead", **LOOKS[look])
    screened = next(person.id for person in accounts.people(site.store) if person.role == "labeler")
    number = jobs.wait(jobs.newest(site.project)[0], 60).number  # while it runs its page loads itself again
    for path in (f"/jobs/{number}", f"/data/jobs/{number}", f"/lead/screening/{screened}"):
        answer = lead.goto(f"{site.address}{path}")
        assert answer
        assert answer.status == 200, path
        yield lead
    lead.context.close()
    with listed(site) as link:
        context = browser.new_context(**({"locale": "en-GB"} | LOOKS[look]))
        context.set_default_timeout(30_000)
        operator = context.new_page()
        operator.goto(link)
        operator.locator("main form button").click()
        operator.get_by_role("link", name="bakery").wait_for()
        yield operator
        context.close()


def not_chinese(page: Page) -> list[str]:
    """Return what is English on a page that should be Chinese."""
    said = [f"English: {text[:100]}" for text in page.evaluate(ENGLISH) if not WRITTEN.search(text)]
    said += [] if page.evaluate("document.documentElement.lang.startsWith('zh')") else ["its language is not Chinese"]
    return [f"{page.url}: {each}" for each in said]
