"""Once round the circle in a real browser: chat, thumbs, choice, correction, review, new models, a blind trial, the switch, and back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.conftest import quiet
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tiny import SENTENCES

from accord.commands.app import RunFlags, main
from accord.commands.train.ppo import ppo
from accord.commands.train.pretrain import pretrain
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.data.corpus import write_documents
from accord.feedback import accounts, chats, deployments
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SftConfig

BODY: dict[str, Any] = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "context": 1024}
PPO: dict[str, Any] = {"steps": 1, "batch_size": 4, "minibatch_size": 4, "epochs": 1, "lr": 1e-3, "max_tokens": 8, "ptx_coef": 0.0}
REWARD: dict[str, Any] = {"lr": 1e-3, "batch_size": 4}
CHAT: dict[str, Any] = {"two": 0.0, "temperature": 0.0, "max_tokens": 16}
ROUND: dict[str, Any] = {"alpha": 0.2, "least": 5}
"""Five votes for one model decide a trial: a browser clicks slowly."""
PROMPTS = [Prompt(f"p{i}", (Message("user", f"Where is bread number {i}?"),), user=f"u{i}", use_case="qa") for i in range(8)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an SFT model that answers in words, a reward model and a policy."""
    settings = {"chat": CHAT, "round": ROUND, "ppo": PPO, "reward": REWARD}
    project = Project.create(tmp_path_factory.mktemp("chat") / "bakery", settings=settings)
    write_documents(project.path / "corpus" / "text.jsonl", [" ".join(SENTENCES[i % 6 :]) for i in range(60)])
    with Store.open(project.store_url) as store:
        shown = [Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in enumerate(SENTENCES[:2])]
        ranked = [Ranking(f"k-{p.id}", p.id, "ann", (f"{p.id}-0", f"{p.id}-1"), (1, 2), Guideline("training", "1"), "") for p in PROMPTS]
        written = [Demonstration(f"d{i}", prompt, "It is sold at the market.", "ann") for i, prompt in enumerate(PROMPTS)]
        store.add(labelers=[Labeler("ann", "person")], demonstrations=written, responses=shown, rankings=ranked)
    flags = RunFlags(dtype="float32")
    pretrain(project, flags=flags, config=PretrainConfig(**BODY, tokens=2000, batch_tokens=1024, warmup_steps=2))
    sft(project, flags=flags, config=SftConfig(epochs=60, lr=1e-2, ptx_tokens=0))
    reward(project, flags=flags, config=RewardConfig(**REWARD))
    ppo(project, flags=flags, config=PpoConfig(**PPO))
    return project.path


class Chat:
    """``accord chat`` on a project."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.store = Store.open(Project.open(folder).store_url)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", "from accord.commands.app import main; main()", "chat", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet())
        assert self.process.stdout
        said = self.process.stdout.readline()
        found = re.search(r"(http://\S+:(\d+))", said)
        assert found, said + self.process.stdout.read()
        self.address, self.port = found[1], int(found[2])
        self.link = self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def invite(self, name: str, role: Role = "user") -> str:
        token = accounts.invite(self.store, role, name, by="tests", now=datetime.now(UTC))
        return f"{self.address}/join?token={token}"

    def turns(self, name: str = "uma") -> list[chats.Turn]:
        """Everything that somebody said or was told, oldest first."""
        user = next(person.id for person in accounts.people(self.store) if person.name == name)
        talks = [chats.opened(self.store, user, talk.id)[1] for talk in chats.listed(self.store, user)]
        return sorted((turn for turns in talks for turn in turns), key=lambda turn: turn.at)


Typed = Callable[..., dict[str, Any]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command in this process, which has loaded torch already; gives what it prints as JSON."""

    def run(*words: object, fails: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        typing = [*map(str, words), "--json"]
        if fails:
            with pytest.raises(SystemExit) as end:
                main(typing)
            assert end.value.code == fails
            return {}
        main(typing)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def chat(trained: Path, tmp_path: Path) -> Iterator[Chat]:
    server = Chat(Path(shutil.copytree(trained, tmp_path / "bakery")))
    yield server
    server.kill()
    server.store.__exit__()


Enter = Callable[..., Page]


@pytest.fixture
def enter(browser: Browser) -> Iterator[Enter]:
    """Opens a browser of its own at an invitation. Errors on any page fail the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def come(link: str, **options: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options))
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        page.goto(link)
        page.locator("main form button").click()
        page.wait_for_url(re.compile(r"/$"))
        return page

    yield come
    for context in contexts:
        context.close()
    assert not errors, errors


def consent(page: Page, word: str) -> None:
    page.get_by_role("button", name=word, exact=True).click()
    expect(page.locator(".consent")).to_have_count(0)


def ask(page: Page, text: str, against: str = "") -> None:
    """Says something in a new conversation, by keyboard, and waits for the answer: a model this small has learned single turns alone."""
    if "/c/" in page.url:
        page.get_by_role("link", name="New conversation").click()
        page.wait_for_url(re.compile(r"/(chat)?$"))
    if against:
        page.locator(".settings summary").click()
        page.get_by_label("Side by side with").select_option(against)
    page.locator("#text").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator(".thumbs, #problems:not(:empty), .unanswered").first).to_be_visible()
    expect(page.locator(".thumbs").first).to_be_visible(timeout=1000)


def test_once_round_the_circle(chat: Chat, enter: Enter, typed: Typed) -> None:
    uma, lea = enter(chat.invite("uma")), enter(chat.link)

    # people talk, and say what they think
    consent(uma, "Yes, I agree")
    ask(uma, "Where is bread number 3?")
    uma.get_by_role("button", name="Good answer").click()
    uma.get_by_label("helpful").check()
    uma.get_by_role("button", name="Keep", exact=True).click()
    expect(uma.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    ask(uma, "Where is bread number 5?", against="sft")
    expect(uma.locator(".two .by")).to_have_count(0)
    uma.get_by_role("button", name="A is better").click()
    expect(uma.locator(".two .by")).to_have_count(2)
    uma.get_by_text("Correct", exact=True).last.click()
    uma.get_by_label("What the answer should have been").last.fill("The baker keeps bread number five. Mail ann@example.org.")
    uma.get_by_role("button", name="Keep the correction").last.click()
    expect(uma.get_by_text("Correct ✓")).to_be_visible()
    said = chat.turns()

    # a lead reviews
    lea.goto(f"{chat.address}/review")
    expect(lea.locator("article.review")).to_have_count(3)
    expect(lea.get_by_text("personal data, taken out")).to_be_visible()
    lea.get_by_role("button", name="Accept all of this page").click()
    expect(lea.get_by_text("Nothing waits for a review.")).to_be_visible()
    assert not [d for d in chat.store.demonstrations() if "example.org" in d.text]

    # the stages learn from it
    new = typed("round", chat.folder)
    assert (new["new"]["rankings"], new["new"]["demonstrations"], new["new"]["thumbs"]) == ({"user": 2}, {"user": 1}, {"user": 1})
    assert 0 <= new["drift"] <= 1
    made = typed("round", chat.folder, "--run", "--stages", "reward ppo")
    assert (made["reward"], made["ppo"]) == ("reward-2", "ppo-2")
    learned = {row["turn"] for row in typed("lineage", chat.folder, "ppo-2")["chat_turns"]}
    pair = {turn.id for turn in said if turn.pair}
    assert pair < learned <= {turn.id for turn in said}, "from the new weights back to the very turns"
    assert typed("lineage", chat.folder, "ppo")["chat_turns"] == []

    # old and new, blind, on live turns
    typed("round", chat.folder, "--trial", "ppo-2", "--share", 1)
    typed("switch", chat.folder, "--to", "ppo-2", fails=2)
    for n in range(5):
        ask(uma, f"Where is bread number {n}?")
        two = chat.turns()[-2:]
        assert {turn.model for turn in two} == {"ppo", "ppo-2"}
        uma.get_by_role("button", name="A is better" if two[0].model == "ppo-2" else "B is better").last.click()
        expect(uma.locator(".two .choosing [aria-pressed=true]")).to_have_count(1)
    trial = typed("round", chat.folder)["trial"]
    assert (trial["votes"], trial["share"][0], trial["verdict"]) == (5, 1.0, "better")

    # the switch, and back, under a page that is open
    typed("switch", chat.folder, "--to", "ppo-2")
    ask(uma, "Where is bread number 6?")
    digest = json.loads((chat.folder / "models/ppo-2/lineage.json").read_text())["digest"]
    assert chat.turns()[-1].signature == f"ppo-2@{digest[:12]}"
    typed("switch", chat.folder, "--back")
    ask(uma, "Where is bread number 7?")
    assert chat.turns()[-1].model == "ppo"
    assert [one.model for one in deployments.history(chat.store)] == ["ppo", "ppo-2", "ppo"]
    queued = typed("round", chat.folder, "--queue", "--k", 2)
    assert queued["prompts"] == 2


def test_a_killed_server_loses_no_turn_that_was_stored(chat: Chat, enter: Enter) -> None:
    uma = enter(chat.invite("uma"))
    consent(uma, "No")
    for n in range(3):
        ask(uma, f"Where is bread number {n}?")
    shown = uma.locator(".answer .text").all_inner_texts()
    with uma.expect_response(re.compile("/say$")) as told:
        uma.locator("#text").fill("What is lost?")
        uma.keyboard.press("Enter")
    assert told.value.ok
    chat.kill()
    said = [turn.text for turn in chat.turns()]
    assert [text for text in said if text.startswith("Where")] == [f"Where is bread number {n}?" for n in range(3)]
    assert "What is lost?" in said
    chat.start()
    uma.goto(uma.url)
    assert uma.locator(".answer .text").first.inner_text() == shown[0]
    assert "What is lost?" in uma.locator("#thread").inner_text()


def test_the_pages_are_accessible_and_fit(chat: Chat, enter: Enter) -> None:
    lea = enter(chat.link, reduced_motion="reduce", color_scheme="dark", viewport={"width": 390, "height": 800}, has_touch=True)
    accessible(lea)
    consent(lea, "Yes, I agree")
    ask(lea, "Where is bread number 3?")
    lea.get_by_role("button", name="Bad answer").click()
    expect(lea.locator(".why")).to_be_visible()
    lea.locator(".settings summary").click()
    accessible(lea)
    lea.keyboard.press("Escape")
    for path in (lea.url, f"{chat.address}/mine", f"{chat.address}/taste", f"{chat.address}/review"):
        lea.goto(path)
        accessible(lea)
        assert lea.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} fits"


def test_it_works_without_scripts(chat: Chat, enter: Enter) -> None:
    uma = enter(chat.invite("uma"), java_script_enabled=False)
    uma.get_by_role("button", name="Yes, I agree").click()
    uma.get_by_placeholder("Ask something").fill("Where is bread number 3?")
    uma.get_by_role("button", name="Send", exact=True).click()
    expect(uma.locator(".answer")).to_have_count(1)
    uma.get_by_role("button", name="Good answer").click()
    expect(uma.get_by_text("waits for a review")).to_be_visible()
    uma.get_by_text("Edit", exact=True).click()
    uma.get_by_label("What I say instead").fill("Where is bread number 4?")
    uma.get_by_role("button", name="Send again").click()
    expect(uma.get_by_text("2 / 2")).to_be_visible()
    uma.get_by_text("Rename", exact=True).first.click()
    uma.get_by_label("Title").fill("About bread")
    uma.get_by_role("button", name="Rename").click()
    uma.get_by_role("button", name="Pin", exact=True).click()
    uma.get_by_label("Search conversations").fill("NUMBER 4")
    uma.get_by_role("button", name="Search").click()
    uma.get_by_role("link", name="Pinned: About bread").click()
    uma.get_by_text("Delete this conversation").click()
    uma.get_by_role("button", name="Delete it").click()
    expect(uma.get_by_text("No conversation yet.")).to_be_visible()


def accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    assert not found.response["violations"], found.generate_report()
