"""A picture from a file to a ranking in a real browser, and from there out of the project and in again."""

from __future__ import annotations

import json
import re
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from data.test_pictures import drawn, saved
from e2e.conftest import Come, Server, wait_until
from playwright.sync_api import Page, expect

from accord import Project, Store
from accord.commands.data.export import export
from accord.commands.data.import_ import import_
from accord.feedback import tasks
from accord.feedback.media import read_media
from accord.feedback.tasks import Task
from accord.records import MEDIUM, RankedPrompt, Response, composed

SIZE = (1200, 800)


def queued(site: Server, folder: Path) -> None:
    """One task about a picture that was imported."""
    folder.mkdir(exist_ok=True)
    (folder / "squares.jpg").write_bytes(saved(drawn(*SIZE), "PNG"))  # a wrong ending
    (folder / "rows.jsonl").write_text(json.dumps({"prompt": "Which colours does <image> show?", "image": "squares.jpg"}) + "\n")
    import_(site.project.path, folder / "rows.jsonl", split="train", quiet=True)
    (asked,) = site.store.prompts()
    said = ("Red, green, blue and white.", "A dog.", "Red.")
    responses = tuple(Response(f"r{n}", asked.id, text, "sft") for n, text in enumerate(said))
    tasks.add(site.store, [Task("t1", "rank", asked, responses, "training", 1)])


def width_of(page: Page) -> int:
    return page.locator(".picture img").evaluate("image => image.getBoundingClientRect().width")


def test_a_ranking_about_a_picture_goes_from_the_browser_to_a_file_and_back(site: Server, come: Come, tmp_path: Path) -> None:
    queued(site, tmp_path / "data")
    page = come(java_script_enabled=False)
    page.get_by_role("link", name="Start").click()
    picture = page.get_by_role("img", name="Picture")
    expect(picture).to_be_visible()
    assert 250 < width_of(page) <= SIZE[0]
    with page.context.expect_page() as opened:
        picture.click()
    alone = opened.value
    alone.wait_for_load_state()
    assert re.search(r"/media/[0-9a-f]{64}$", alone.url)
    alone.close()
    order = [article.inner_text() for article in page.locator(".step article.response").all()]
    for place, text in enumerate(order, 1):
        best = text.startswith("Red, green")
        page.locator(f"[name=quality-{place}][value='{7 if best else 2}']").check(force=True)
        page.locator(f"[name=rank-{place}][value='{1 if best else 2}']").check(force=True)
    page.get_by_role("button", name="Save and continue").last.click()
    wait_until(lambda: any(site.store.rankings()), "the ranking is in the store")

    (ranked,) = site.store.ranked_prompts()
    assert (ranked.responses[ranked.ranks.index(1)].text, sorted(ranked.ranks)) == ("Red, green, blue and white.", [1, 2, 2])
    export(site.project.path, what="rankings", out=tmp_path / "out.jsonl", media="files")
    other = Project.create(tmp_path / "other")
    import_(other.path, tmp_path / "out.jsonl", quiet=True)
    with Store.open(other.store_url) as store:
        (again,) = store.ranked_prompts()
        assert isinstance(again, RankedPrompt)
        assert (again.prompt, again.responses, again.ranks) == (ranked.prompt, ranked.responses, ranked.ranks)
        (media,) = again.prompt.messages[0].media
        assert again.prompt.messages == (composed("user", ["Which colours does ", media, " show?"]),)
        assert again.prompt.messages[0].content == f"Which colours does {MEDIUM} show?"
        assert read_media(store, media.digest) == read_media(site.store, media.digest)


def test_a_task_with_a_picture_is_accessible_and_fits_a_telephone(site: Server, come: Come, tmp_path: Path) -> None:
    queued(site, tmp_path / "data")
    page = come(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(f"{site.address}/next")
    expect(page.get_by_role("img", name="Picture")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert 250 < width_of(page) <= 390
    assert not Axe().run(page).response["violations"]
