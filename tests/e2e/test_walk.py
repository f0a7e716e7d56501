"""The stranger's path by the pages alone: from a file of prompts to a chat with a model that learned from a labeler's rankings."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.conftest import quiet
from playwright.sync_api import Browser, Page, expect
from tiny import chat, llama

from accord.feedback.store import Store
from accord.models.folders import save_model
from accord.runtime import jobs, owners
from accord.runtime.project import Project

QUESTIONS = ("What do bees make?", "Where is bread sold?", "Name a colour.", "Who bakes?", "What is wool?", "When is the market?")
PER_TASK = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project, a model and a file of prompts: all that a stranger has."""
    folder = tmp_path_factory.mktemp("stranger")
    template = chat()
    save_model(folder / "models" / "Tiny", llama(vocab=len(template.tokenizer)), template.tokenizer)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS))
    Project.create(folder / "bakery")
    return folder


@pytest.fixture(scope="module")
def link(folder: Path) -> Iterator[str]:
    """`accord open` on the project, and the link that it prints."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accord", "open", str(folder / "bakery"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet())
    assert process.stdout
    said = process.stdout.readline() + process.stdout.readline()
    yield re.findall(r"http://\S+", said)[-1]
    process.kill()
    process.wait()
    process.stdout.close()
    for job in jobs.newest(Project(folder / "bakery")):
        for file in ("supervisor.json", "process.json"):
            if owner := owners.living(job.folder / file):
                os.kill(owner.pid, signal.SIGKILL)


def come_in(browser: Browser, link: str, errors: list[str], *, scripts: bool = True) -> Page:
    """Open an invitation in a browser of its own. What scripts and the policy of the page complain of is noted."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", java_script_enabled=scripts).new_page()
    page.context.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    page.goto(link)
    page.locator("main form button").click()
    page.wait_for_load_state()
    return page


def run_ends(page: Page) -> None:
    """Wait on a run's page until it is done; the page follows by itself."""
    expect(page.locator(".tiles .state")).to_have_text(re.compile("done|failed|lost"), timeout=120_000)
    assert page.locator(".tiles .state").inner_text() == "done", page.locator("main").inner_text()


def go(page: Page, *texts: str) -> None:
    """Follow links of the bar by their texts."""
    for text in texts:
        page.locator("header, nav").get_by_role("link", name=text, exact=True).first.click()
        page.wait_for_load_state()


@pytest.mark.slow
def test_from_a_file_to_a_chat_by_the_pages_alone(folder: Path, link: str, browser: Browser) -> None:
    errors: list[str] = []
    lead = come_in(browser, link, errors)

    lead.locator("#data h2 a").click()
    lead.set_input_files("#file", folder / "prompts.jsonl")
    lead.get_by_role("button", name="Upload and look").click()
    lead.wait_for_url("**/data/uploads/**")
    lead.get_by_role("button", name="Import", exact=True).click()
    expect(lead.get_by_text("This is import", exact=False)).to_be_visible()

    go(lead, "Home")
    lead.locator("#sample h2 a").click()
    lead.get_by_role("link", name="New run").click()
    lead.get_by_role("link", name="sample", exact=True).click()
    lead.get_by_label("Model that responds").fill(str(folder / "models" / "Tiny"))
    lead.get_by_label("k", exact=True).fill(str(PER_TASK))
    lead.get_by_label("max_tokens", exact=True).fill("8")
    lead.get_by_role("button", name="Start").click()
    expect(lead.locator("main")).to_contain_text("link it into models/")  # a page opens no folder of the machine by its path
    (folder / "bakery" / "models").mkdir(exist_ok=True)
    (folder / "bakery" / "models" / "Tiny").symlink_to(folder / "models" / "Tiny")
    lead.get_by_label("Model that responds").fill("Tiny")
    lead.get_by_role("button", name="Start").click()
    lead.wait_for_url("**/run/sample")
    run_ends(lead)

    go(lead, "Labeling", "People")
    lead.get_by_role("link", name="Queue tasks").click()
    lead.get_by_label("Responses that break off").select_option("queue")  # eight tokens end none of them
    lead.get_by_role("button", name="Count what would come").click()
    expect(lead.get_by_role("status")).to_contain_text("new tasks")
    lead.get_by_role("button", name="Queue tasks").click()
    expect(lead.get_by_role("status")).to_contain_text("are queued")
    go(lead, "People")
    lead.get_by_label("Name", exact=True).fill("Ann")
    lead.get_by_role("button", name="Make a link").click()
    invitation = lead.get_by_label("Link").input_value()

    ann = come_in(browser, invitation, errors, scripts=False)  # all steps of a task on one page
    ranked = 0
    while True:
        ann.goto(re.sub(r"/join.*", "/next", link))
        if not ann.locator("[name=rank-1]").count():
            break
        assert ann.locator("[name=rank-1]").count() >= PER_TASK
        for place in range(1, PER_TASK + 1):
            ann.locator(f"[name=quality-{place}][value='4']").check(force=True)
            ann.locator(f"[name=rank-{place}][value='{place}']").check(force=True)
        ann.locator("#save").click()
        ann.wait_for_load_state()
        ranked += 1
        assert ranked < 2 * len(QUESTIONS)
    assert ranked >= len(QUESTIONS) - 1
    with Store.open(Project.open(folder / "bakery").store_url) as store:
        rankings = list(store.rankings())
        assert len(rankings) == ranked
        assert all(len(ranking.response_ids) == PER_TASK for ranking in rankings)

    go(lead, "Runs")
    lead.get_by_role("link", name="New run").click()
    lead.get_by_role("link", name="dpo", exact=True).click()
    lead.get_by_label("Model to start from").fill("Tiny")
    lead.get_by_role("button", name="Start").click()
    lead.wait_for_url("**/run/dpo")
    run_ends(lead)

    go(lead, "Project report")
    expect(lead.locator("body")).to_contain_text("Improve by DPO")

    lead.goto(re.sub(r"/join.*", "/", link))
    go(lead, "Chat")
    lead.locator("textarea[name=text]").fill("What do bees make?")
    lead.locator("textarea[name=text]").press("Enter")
    expect(lead.locator("main")).to_contain_text(re.compile(r"dpo@\w{12}"))
    assert not errors
