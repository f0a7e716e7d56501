"""The chat in this process over a store and scripted models, and people who use it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from accord.feedback import accounts
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.records import Message, Sampling
from accord.serving.guards import Guarded, Rules
from accord.serving.host import Ask, Piece
from accord.serving.web.app import create
from accord.serving.web.site import ChatSite, labels
from accord.settings import ChatConfig

HOME = "http://127.0.0.1:8500"


@dataclass
class Scripted:
    """Models that say what they are told to: a host and a library in one."""

    digests: dict[str, str] = field(default_factory=lambda: {"ppo": "aaaaaaaaaaaa", "sft": "bbbbbbbbbbbb"})
    open: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[tuple[str, tuple[Message, ...], Sampling, int | None]] = field(default_factory=list[Any])
    says: Callable[[str, Sequence[Message]], str | Exception] = lambda model, said: f"**{model}** heard: {said[-1].content}"
    pace: float = 0.0
    """Seconds between two words."""
    seeing: frozenset[str] = frozenset()
    shown: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """The pictures of each request, by their digests."""
    swaps: list[str] = field(default_factory=list[str])

    def names(self) -> Sequence[str]:
        return list(self.digests)

    def digest(self, name: str) -> str:
        return self.digests.get(name, "")

    def models(self) -> list[str]:
        return list(self.open)

    def version(self, model: str) -> str:
        return f"{model}@{self.open[model]}"

    async def swap(self, name: str, model: str) -> None:
        self.swaps.append(name)
        self.open[name] = self.digests[model]

    def sees(self, model: str) -> bool:
        return model in self.seeing

    def state(self) -> dict[str, dict[str, float]]:
        return {}

    async def start(self) -> None:
        self.open = dict(self.digests)

    async def close(self) -> None:
        self.open = {}

    def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        self.shown.append(tuple(file.digest for file in ask.media))
        return self.stream(model, ask.conversation, sampling=ask.sampling, seed=ask.seed)

    async def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        self.asked.append((model, tuple(conversation), sampling, seed))
        version, said = self.version(model), self.says(model, conversation)
        if isinstance(said, Exception):
            raise said
        for word in re.findall(r"\S+\s*", said):
            yield Piece(word, version=version)
            await asyncio.sleep(self.pace)
        yield Piece("", "stop", version=version)


@dataclass
class Person:
    """A browser of somebody's, without scripts."""

    client: TestClient
    id: str
    site: ChatSite

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers={"Accept": "text/html"} | headers)

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', self.client.get("/mine").text)
        assert found
        return found[1]

    def post(self, path: str, *, json: bool = False, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        accept = {"Accept": "application/json" if json else "text/html"}
        return self.client.post(path, data={"csrf": self.csrf(), **fields}, headers=accept | (headers or {}))

    def say(self, text: str, to: str = "", *, key: str = "", **fields: Any) -> str:
        """Says something and returns the address of the conversation."""
        key = key or f"k{datetime.now(UTC).timestamp()}"
        reply = self.post(f"{to}/say", text=text, key=key, **fields)
        assert reply.status_code == 200, reply.text
        return reply.url.path

    def turns(self, to: str) -> list[Any]:
        from accord.feedback import chats

        return chats.opened(self.site.store, self.id, to.removeprefix("/c/"))[1]

    def agree(self, given: bool = True) -> None:
        assert self.post("/consent", given="yes" if given else "no").status_code == 200


Come = Callable[..., Person]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'feedback.db'}") as opened:
        yield opened


@pytest.fixture
def models() -> Scripted:
    return Scripted()


@pytest.fixture
def come(store: Store, models: Scripted) -> Iterator[Come]:
    """Lets somebody in by invitation; everybody comes to the same running site unless settings are given."""
    opened: dict[str, tuple[ChatSite, TestClient]] = {}
    clients: list[TestClient] = []

    def enter(name: str = "uma", role: Role = "user", rules: Rules | None = None, **settings: Any) -> Person:
        config = ChatConfig(**({"two": 0.0, "turns_per_minute": 0} | settings))
        key = f"{json.dumps(settings, sort_keys=True)} {rules}"
        if key not in opened:
            answering = Guarded(models, rules) if rules else models
            site = ChatSite(store, labels(config), "bakery", "x" * 40, chat=config, models=answering, library=models)
            running = TestClient(create(site), base_url=HOME, raise_server_exceptions=False)
            running.__enter__()
            opened[key] = site, running
            clients.append(running)
        site, running = opened[key]
        client = TestClient(running.app, base_url=HOME, raise_server_exceptions=False)
        client.portal = running.portal  # one event loop, as in a server: answers outlive the request that asked for them
        token = accounts.invite(store, role, name, by="tests", now=datetime.now(UTC))
        assert client.post("/join", data={"token": token}, follow_redirects=False).status_code == 303
        return Person(client, next(person.id for person in accounts.people(store) if person.name == name), site)

    yield enter
    for client in clients:
        client.__exit__(None, None, None)
