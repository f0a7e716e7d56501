"""The runs page in a real browser: a training by keyboard alone that outlives its site, and every page for eyes, phones and readers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.conftest import quiet, wait_until
from playwright.sync_api import Browser, Page, expect
from small_project import labeled, rankings, with_sft_model

from accord.feedback import accounts, deployments
from accord.feedback.store import Store
from accord.runtime import jobs, owners
from accord.runtime.project import Project


class Opened:
    """``accord open`` on a project, in a process of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "accord", "open", str(self.project.path), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet())
        assert self.process.stdout
        said = [self.process.stdout.readline() for _ in range(2)]
        assert self.address in said[0], said

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def invitation(self, name: str) -> str:
        with Store.open(self.project.store_url) as store:
            return accounts.invite(store, "lead", name, by="tests", now=datetime.now(UTC))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The site of a project with an SFT model, rankings, and two runs of a terminal."""
    folder = tmp_path_factory.mktemp("runs")
    site = Opened(labeled(with_sft_model(folder / "unlabeled"), folder / "bakery", rankings()))
    yield site
    site.kill()
    for job in jobs.newest(site.project):
        for file in ("supervisor.json", "process.json"):
            if owner := owners.living(job.folder / file):
                os.kill(owner.pid, signal.SIGKILL)


@pytest.fixture
def lead(opened: Opened, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A lead's page. Errors of scripts fail the test."""
    options = getattr(request, "param", {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"})
    context, errors = browser.new_context(**options), list[str]()
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    page.goto(f"{opened.address}/join?token={opened.invitation(request.node.name)}")
    page.locator("main form button").click()
    page.wait_for_url(f"{opened.address}/")
    yield page
    context.close()
    assert not errors, errors


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what a selector names has the focus."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def test_a_training_by_keyboard_alone_outlives_its_site_and_is_deployed(opened: Opened, lead: Page) -> None:
    page, project = lead, opened.project
    page.goto(f"{opened.address}/runs")
    expect(page.locator("main")).to_contain_text("pretrain")
    tab_to(page, "a.button.main")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{opened.address}/runs/new")
    tab_to(page, "a[href$='/runs/new/dpo']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{opened.address}/runs/new/dpo")
    tab_to(page, "[name='set.epochs']")
    page.keyboard.press("Control+a")
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.locator("#problem-epochs")).to_have_text("epochs is 0; it must be above 0")
    tab_to(page, "[name='set.epochs']")
    page.keyboard.press("Control+a")
    page.keyboard.type("60")
    tab_to(page, "[name='set.batch_size']")
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    tab_to(page, "button[value='start']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{opened.address}/run/dpo")
    expect(page.locator("pre.command").first).to_contain_text("accord dpo")
    expect(page.locator(".curve").first).to_be_visible()  # the first steps come by themselves

    (job,) = (job for job in jobs.newest(project) if job.run == "dpo")
    opened.kill()
    assert job.folder.is_dir()
    assert owners.living(job.folder / "process.json"), "the site's death does not touch the run"
    opened.start()
    expect(page.locator(".tiles .state")).to_have_text("done")  # and the open page comes to know of it
    found = jobs.read(project, job.number)
    assert (found.state, found.exit_code) == ("done", 0)
    assert found.result()["rankings"] == 14

    expect(page.locator("#actions")).to_contain_text("This model answers in the chat.")  # as the newest policy
    page.goto(f"{opened.address}/run/sft")
    tab_to(page, "form[action$='/promote'] button")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_have_text("Deployed: this model answers from the next turn on.")
    with Store.open(project.store_url) as store:
        deployed = deployments.deployed(store)
        assert deployed
        assert deployed.model == "sft"
        page.goto(f"{opened.address}/runs")
        page.get_by_role("button", name="Roll back to the previous model").click()
        expect(page.locator(".notice")).to_contain_text("Rolled back")
        deployed = deployments.deployed(store)
        assert deployed
        assert deployed.model == "dpo"


@pytest.mark.slow
def test_a_run_is_stopped_saved_and_resumed(opened: Opened, lead: Page) -> None:
    page, project = lead, opened.project
    page.goto(f"{opened.address}/runs/new/dpo")
    page.get_by_label("Name of the run").fill("long")
    page.locator("[name='set.epochs']").fill("100000")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".curve").first).to_be_visible()
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".tiles .state")).to_have_text("stopped")
    (job,) = (job for job in jobs.newest(project) if job.run == "long")
    assert job.exit_code == 75
    saved = (project.run("long") / "metrics.jsonl").read_text("utf-8").count("\n")
    page.get_by_role("button", name="Resume the run").click()
    wait_until(lambda: (project.run("long") / "metrics.jsonl").read_text("utf-8").count("\n") > saved + 1, "the run goes on")
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".tiles .state")).to_have_text("stopped")


EYES = [
    pytest.param({"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}, id="desktop"),
    pytest.param({"viewport": {"width": 390, "height": 844}, "locale": "zh-CN", "color_scheme": "dark"}, id="phone, dark, Chinese"),
]


@pytest.mark.parametrize("lead", EYES, indirect=True)
def test_every_page_is_sound_for_readers_and_fits_the_screen(opened: Opened, lead: Page) -> None:
    page = lead
    job = jobs.wait(jobs.start(opened.project, ["config"]), 60)
    for address in ("/runs", "/runs/new", "/runs/new/ppo", "/run/sft", "/runs/compare?a=base&b=sft", f"/jobs/{job.number}"):
        page.goto(opened.address + address)
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
        found = Axe().run(page)
        assert not found.violations_count, f"{address}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address} is {wide} pixels too wide"
    page.goto(f"{opened.address}/run/sft")
    expect(page.locator("h1")).to_contain_text("sft")
    box = page.locator(".curve").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    expect(page.locator(".curve .said").first).to_have_attribute("visibility", "visible")


def test_pages_tell_all_without_scripts(opened: Opened, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    page.goto(f"{opened.address}/join?token={opened.invitation('plain')}")
    page.locator("main form button").click()
    page.goto(f"{opened.address}/run/base")
    expect(page.locator(".curve path.line").first).to_be_attached()
    expect(page.locator(".tiles .state")).to_have_text("done")
    page.goto(f"{opened.address}/runs/new/sft?preset=quick")
    page.get_by_role("button", name="Show command and memory").click()
    expect(page.locator("pre.command")).to_contain_text("--epochs=1")
    context.close()
