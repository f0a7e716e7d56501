"""A project with something on every page of its site, the addresses of the pages, and the ways to look at them.

python tests/e2e/whole_site.py OUT    # pictures of every page: desktop, phone, dark, Chinese
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from data.test_pictures import drawn, saved
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, Page, sync_playwright
from serving.web.conftest import Scripted
from small_project import labeled, rankings, with_sft_model
from starlette.types import ASGIApp
from visitors import explained

from accord.commands.data.import_ import import_
from accord.commands.scenes import notes_of
from accord.data.pictures import read
from accord.feedback import accounts, doubts, tasks, tastes
from accord.feedback.accounts import Role
from accord.feedback.queue import Fact
from accord.feedback.store import Store
from accord.feedback.tasks import Kind, Task
from accord.feedback.web import sign_in
from accord.feedback.web.server import lead_link
from accord.records import MediaFile, Message, Prompt, Response, composed
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.serving.guards import Guarded, Rules
from accord.settings import ChatConfig, LabelConfig, OpenConfig
from accord.site import app
from accord.site.folder import DATABASE, Projects, front_of
from accord.site.project_site import ProjectSite, site_of

ROLES: tuple[Role, ...] = ("lead", "viewer", "labeler", "user")
TEXTS = (
    "Rye bread, **baked** at noon.",
    "| day | bread |\n|---|---|\n| Tue | rye |",
    "```python\nprint('bread')\n```",
    "Oats, and $x^2$ of them.",
)
EXPLAINED = "p0-0"
"""The answer of which `accord explain` has told something."""
SCENE = """
[scenes.bakery]
use_cases = "other"
note = "The customer must know which bread keeps."
note_zh = "顾客必须知道哪种面包耐放。"
"""
KINDS: tuple[Kind, ...] = ("rank", "compare", "demonstrate", "correct", "conversation", "evaluate", "prompt", "mark", "fact")


@dataclass(frozen=True)
class Whole:
    """The running site."""

    address: str
    store: Store
    project: Project

    def come_in(self, browser: Browser, role: Role, **options: Any) -> Page:
        """Return the page of somebody new, signed in."""
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options))
        context.set_default_timeout(30_000)
        page = context.new_page()
        token = accounts.invite(self.store, role, f"{role} {time.time_ns() % 10**6}", by="tests", now=datetime.now(UTC))
        page.goto(f"{self.address}/join?token={token}")
        page.locator("main form button").click()
        page.wait_for_load_state()
        return page


@contextmanager
def whole(folder: Path) -> Iterator[Whole]:
    """Serve a project that has runs, jobs, imports, records of every kind, tasks of every kind, people, a conversation and votes."""
    project = labeled(with_sft_model(folder / "unlabeled"), folder / "bakery", rankings())
    rows = [{"prompt": f"Which bread on day {n}?", "response": "Rye."} for n in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_(project, folder / "rows.jsonl")
    explained(project, EXPLAINED)
    with (project.path / "accord.toml").open("a") as settings:
        settings.write(SCENE)
    project = Project.open(project.path)
    jobs.wait(jobs.start(project, ["config"]), 60)
    with Store.open(project.store_url) as store:
        models = Scripted(says=lambda model, said: f"Try **{'rye' if model == 'ppo' else 'oats'}**.", seeing=frozenset({"ppo"}))
        guarded = Guarded(models, Rules())
        plain = site_of(project, store, OpenConfig(upload_mb=20), models=guarded, library=models, scene=notes_of(project))
        site = replace(plain, chat=ChatConfig(arena=True, tastes=True, survey=True, turns_per_minute=0))
        tasks.add(store, [task(number, kind) for number, kind in enumerate(KINDS)])
        tasks.add(store, [seen_and_heard(store)])
        with served(app.create(site)) as address:
            yield Whole(address, store, project)


@contextmanager
def listed(whole: Whole) -> Iterator[str]:
    """Serve the folder of a project as `accord open --all` does; yield a link that signs the operator in."""
    folder, models = whole.project.path.parent, Scripted()

    def opened(path: Path) -> ProjectSite:
        project = Project.open(path)
        return site_of(project, Store.open(project.store_url), OpenConfig(), models=Guarded(models, Rules()), library=models)

    with Store.open(f"sqlite:///{folder / DATABASE}") as store:
        front = front_of(folder, store, LabelConfig(), "")
        with served(Projects(front, opened, "")) as address:
            yield lead_link(store, address, datetime.now(UTC))


@contextmanager
def served(site: ASGIApp) -> Iterator[str]:
    """Serve an application in a thread; yield its address."""
    server = uvicorn.Server(uvicorn.Config(site, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def task(number: int, kind: Kind) -> Task:
    turns = [Message("user", f"Question {number}: which bread, and why?")]
    if kind == "conversation":
        turns = [Message("user", "First?"), Message("assistant", "One."), Message("user", "Second?"), Message("assistant", "Two.")]
        turns.append(Message("user", "Thanks"))
    asked = Prompt(f"q{number}", tuple(turns), source="tests")
    count = {"rank": 4, "evaluate": 4, "compare": 2, "correct": 1, "conversation": 1, "mark": 1, "fact": 1}.get(kind, 0)
    responses = tuple(Response(f"q{number}-{n}", asked.id, TEXTS[n], "sft") for n in range(count))
    fact = Fact(TEXTS[0], 0, "Our rye leaves the oven at noon, and again at five.", "Opening hours") if kind == "fact" else None
    return Task(f"t{number}", kind, asked, responses, "evaluation" if kind == "evaluate" else "training", 99, float(-number), fact=fact)


def seen_and_heard(store: Store) -> Task:
    """Return a task about a picture and a recording, with its prompt in the store."""
    picture, sound = read(saved(drawn(600, 400), "PNG")), MediaFile("audio", "audio/wav", recorded(), 0, 0)
    asked = Prompt("q9", (composed("user", ["What does ", picture.named(), " show, and what is said? ", sound.named()]),), source="tests")
    store.add(prompts=[asked], media=[picture, sound])
    responses = tuple(Response(f"q9-{n}", "q9", text, "sft") for n, text in enumerate(TEXTS[:2]))
    return Task("t9", "compare", asked, responses, "training", 99, 1.0)


def recorded() -> bytes:
    """Return a tenth of a second of silence as a WAV file."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return written.getvalue()


def fill(whole: Whole, lead: Page, labeler: Page, user: Page) -> None:
    """Do by the pages what leaves something on others: a note to the lead, a conversation with a reaction, a vote, an upload, a taste."""
    labeler.goto(f"{whole.address}/next")
    me = next(person.id for person in accounts.people(whole.store) if person.role == "labeler")
    doubts.ask(whole.store, me, "t9", "What counts as bread?", now=datetime.now(UTC))
    for page in (user, lead):
        page.goto(f"{whole.address}/chat")
        if page.get_by_role("button", name=re.compile("Yes, I agree|同意")).count():
            page.get_by_role("button", name=re.compile("Yes, I agree|同意")).click()
        page.locator("textarea[name=text]").fill("Which bread?")
        page.locator("textarea[name=text]").press("Enter")
        page.get_by_text("Try", exact=False).first.wait_for()
    for number in (1, 2):  # one goes with a message, the other waits for the next
        lead.locator(".adding summary", has_text="Add pictures").click()
        picture = saved(drawn(100 * number, 80), "PNG")
        lead.set_input_files("#shown", {"name": "loaf.png", "mimeType": "image/png", "buffer": picture})
        lead.locator("#showing button").click()
        lead.locator(".chip.shown").wait_for()
        if number == 1:
            lead.locator("#text").fill("Which bread?")
            lead.locator("#send").click()
            lead.locator(".turn.user .picture").wait_for()
            lead.locator("article.answer:not(.writing)").nth(1).wait_for()
    user.get_by_role("button", name="Bad answer").first.click()
    user.locator("form.why").first.wait_for()
    for person in accounts.people(whole.store):
        if person.role in ("user", "lead"):
            tastes.say(whole.store, person.id, {"casual": -1}, on=True)
            tastes.learned(whole.store, person.id, {"length": (-0.9, 0.2), "lists": (0.6, 0.3)}, 12, 1)
    user.locator(".adding summary", has_text="Add documents").click()
    user.set_input_files("#files", {"name": "prices.md", "mimeType": "text/markdown", "buffer": b"Rye bread costs three coins."})
    user.locator(".adding button:visible").click()
    user.locator(".chip").wait_for()
    user.goto(f"{whole.address}/arena")
    user.locator("textarea").first.fill("Which bread?")
    user.locator("main form button").first.click()
    user.wait_for_url(re.compile(r"/arena/\w+"))
    lead.goto(f"{whole.address}/data")
    row = {"prompt": "What?", "response": "So."}
    lead.set_input_files("#file", {"name": "more.jsonl", "mimeType": "application/json", "buffer": json.dumps(row).encode()})
    lead.get_by_role("button", name="Upload and look").click()
    lead.wait_for_url("**/data/uploads/**")


STARTS = (
    "/",
    "/next",
    "/tasks/t9",
    "/runs/new/ppo",
    "/runs/compare?a=base&b=sft",
    "/lead/queue",
    "/records?kind=ranking",
    "/join",
    f"/records/why?id={EXPLAINED}",
    f"/recordings/{MediaFile('audio', 'audio/wav', recorded(), 0, 0).digest}",
)
NO_PAGES = re.compile(r"/live$|/state$|/export$|\.csv$|/static/|/manifest|/health|/ready|/runs/plan/|^/start$|^/back$|^/out$")
"""Addresses that return a part of a page, a file or a word."""


def templates() -> list[str]:
    """Return the addresses of the site's pages as its routers write them."""
    routes = [route for router in (sign_in.router, *app.PAGES) for route in router.routes if isinstance(route, APIRoute)]
    return sorted({route.path for route in routes if "GET" in route.methods and not NO_PAGES.search(route.path)})


def template_of(path: str) -> str:
    """Return the page that an address is of: the most specific of those that fit."""
    fits = [each for each in templates() if re.fullmatch(re.sub(r"\{[^}]*:path\}", ".+", re.sub(r"\{[^}:]*\}", "[^/]+", each)), path)]
    return max(fits, key=lambda each: (each.count("/"), -each.count("{"), len(each)), default="")


def walk(whole: Whole, page: Page) -> Iterator[str]:
    """Go to each page that links lead to from where a role comes in; of each kind of page the first two."""
    waiting = [whole.address + start for start in STARTS]
    seen, counted = set[str](), dict[str, int]()
    while waiting:
        address = waiting.pop(0)
        path = address.removeprefix(whole.address).partition("?")[0].partition("#")[0]
        kind = template_of(path)
        if not kind or address in seen or counted.get(kind, 0) >= (7 if kind.startswith("/tasks") else 2):
            continue
        seen.add(address)
        answer = page.goto(address)
        if answer is None or answer.status in (403, 404):
            continue
        counted[kind] = counted.get(kind, 0) + 1
        yield kind
        links = page.evaluate("[...document.querySelectorAll('a[href]:not([download])')].map(link => link.href.split('#')[0])")
        waiting += [link for link in links if link.startswith(whole.address)]


LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {},
    "phone": {"viewport": {"width": 390, "height": 844}},
    "dark": {"color_scheme": "dark"},
    "zh": {"locale": "zh-CN", "viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def pictures(out: Path) -> None:
    """Take a picture of every page in every look."""
    with tempfile.TemporaryDirectory() as folder, whole(Path(folder)) as site, sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        people = {role: site.come_in(browser, role) for role in ROLES}
        fill(site, people["lead"], people["labeler"], people["user"])
        for look, options in LOOKS.items():
            for role in ROLES if look == "desktop" else ("lead",):
                page = site.come_in(browser, role, **options)
                for number, kind in enumerate(walk(site, page)):
                    name = re.sub(r"\W+", "-", kind).strip("-") or "home"
                    (out / look).mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=out / look / f"{role}-{name}-{number}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
