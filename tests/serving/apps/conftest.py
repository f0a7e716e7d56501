"""The API with routes for apps, over a store and models that say what they are told to, on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import serving

from accord.feedback.app_prompts import Draw
from accord.feedback.store import Store
from accord.records import Message, Sampling
from accord.serving.api import create
from accord.serving.apps import hook_routes, routes, task_routes
from accord.serving.apps.desk import Desk, mount
from accord.serving.apps.keeper import Keeper
from accord.serving.host import Ask, Piece
from accord.serving.keys import Keys
from accord.serving.screens import EVERYTHING


@dataclass
class Echo:
    """A host whose only model repeats the last message, with the number of the answer when there are several."""

    pace: float = 0.0
    count: int = 0

    def models(self) -> list[str]:
        return ["ppo"]

    def version(self, model: str) -> str:
        return f"{model}@{'a' * 12}"

    def sees(self, model: str) -> bool:
        return False

    def state(self) -> dict[str, dict[str, float]]:
        return {}

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        self.count += 1
        for word in f"heard {ask.conversation[-1].content} {self.count}".split(" "):
            yield Piece(f"{word} ", version=self.version(model), count=1, prompt_tokens=3)
            await asyncio.sleep(self.pace)
        yield Piece("", "stop", version=self.version(model), prompt_tokens=3)

    def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        return self.ask(model, Ask(sampling, tuple(conversation)))


@dataclass
class Served:
    """A running server and what stands behind it."""

    url: str
    store: Store
    keys: Keys
    keeper: Keeper
    host: Echo
    desk: Desk
    made: list[httpx.Client] = field(default_factory=list[httpx.Client])

    def client(self, name: str = "bakery", **how: Any) -> httpx.Client:
        """Returns a client with a new key."""
        how = {"scopes": ("chat", "feedback"), "store": "feedback"} | how
        token, _ = self.keys.add(name, **how)
        client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.made.append(client)
        return client


def chat(client: httpx.Client, text: str = "Which bread?", user: str = "ann", **more: Any) -> httpx.Response:
    """Asks the model; the answer repeats the text."""
    body: dict[str, Any] = {"model": "ppo", "messages": [{"role": "user", "content": text}], **more}
    answer = client.post("/v1/chat/completions", json=body | ({"user": user} if user else {}))
    assert answer.status_code == 200, answer.text
    return answer


def response_id(client: httpx.Client, text: str = "Which bread?", user: str = "ann", **more: Any) -> str:
    return chat(client, text, user, **more).json()["id"]


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


Serve = Callable[..., Served]


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served]:
    """A server in which every request of a key that stores prompts is sampled."""
    host, keys = Echo(), Keys(tmp_path)
    with Store.open(f"sqlite:///{tmp_path / 'feedback.db'}") as store:
        desk = Desk(lambda: store)
        keeper = Keeper(desk, Draw(EVERYTHING, share=1.0, per_user=3), 30)
        routers = (routes.router, task_routes.router, hook_routes.router)
        app = create(host, keys=keys, keeper=keeper, extend=lambda app: mount(app, desk, *routers))
        with serving(host, app) as url:
            found = Served(url, store, keys, keeper, host, desk)
            yield found
            for client in found.made:
                client.close()
