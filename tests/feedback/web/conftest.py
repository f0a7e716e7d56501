"""The site in this process over a store, and people who use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from accord.feedback import accounts, tasks
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.feedback.tasks import Kind, Task
from accord.feedback.web.access import SceneOf
from accord.feedback.web.app import PAGES, create
from accord.records import MediaFile, Message, Prompt, Response, composed
from accord.settings import LabelConfig

HOME = "http://127.0.0.1:8400"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def task(number: int = 1, kind: Kind = "rank", k: int = 3, overlap: int = 2, text: str = "response") -> Task:
    prompt = Prompt(f"p{number}", (Message("user", f"Question {number}?"),))
    responses = tuple(Response(f"r{number}-{n}", prompt.id, f"{text} {n}", "sft") for n in range(k))
    return Task(f"t{number}", kind, prompt, responses, "training", overlap)


def addresses(method: str, **places: str) -> list[str]:
    """Every address of the site that takes a method, out of its routers, so that a new page is held to what holds for all.

    Args:
        places: what stands in the placeholders; x in those that are not named.
    """
    known = {"task_id": "t1", "set": "training", "what": "pause", **places}
    routes = [route for router in PAGES for route in router.routes if isinstance(route, APIRoute) and method in route.methods]
    return [re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: known.get(found[1], "x"), route.path) for route in routes]


SOUND = MediaFile("audio", "audio/wav", b"RIFF a sound")


def heard(store: Store) -> str:
    """Bring a recording into the store, and return its digest, of which the address of its page is made."""
    store.add(media=[SOUND], prompts=[Prompt("spoken", (composed("user", [SOUND.named("Turn of the light.")]),))])
    return SOUND.digest


@dataclass
class Person:
    """A browser of somebody's, without scripts: cookies are kept, redirections are followed."""

    client: TestClient
    id: str = ""
    json: bool = True
    given: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": "application/json"} if self.json else {"Accept": "text/html"}

    def get(self, path: str, **headers: str) -> object:
        return self.client.get(path, headers=self.headers | headers)

    def post(self, path: str, data: object = None, **headers: str) -> object:
        return self.client.post(path, data=data, headers=self.headers | headers)

    def token(self) -> str:
        """The forms' token, as it stands on the pages of this session."""
        found = re.search(r'name="csrf" value="(\w+)"', self.client.get("/").text)
        assert found
        return found[1]

    def frame(self, **fields: object) -> dict[str, object]:
        """The hidden fields of a task's page."""
        said = self.client.get("/next", headers={"Accept": "application/json"}).json()
        task = said["task"]
        hidden = {"csrf": said["csrf"], "key": said["key"], "revision": task["revision"], "version": task["guideline"]["version"]}
        self.given = {"id": task["id"]}
        return {**hidden, "action": "save", **fields}


RANKED = {"rank-1": "1", "rank-2": "2", "rank-3": "2", "quality-1": "7", "quality-2": "3", "quality-3": "3"}
Come = Callable[..., Person]


@pytest.fixture
def come(store: Store) -> Iterator[Come]:
    """Lets somebody in by invitation, or only to the door without a role."""
    opened: list[TestClient] = []

    def enter(
        role: Role | None = "labeler",
        name: str = "ann",
        config: LabelConfig | None = None,
        json: bool = True,
        scene: SceneOf | None = None,
    ) -> Person:
        app = create(store, config or LabelConfig(), name="bakery", secret="x" * 40, scene=scene)
        client = TestClient(app, base_url=HOME, raise_server_exceptions=False)
        opened.append(client)
        if role is None:
            return Person(client, json=json)
        token = accounts.invite(store, role, name, by="tests", now=datetime.now(UTC))
        assert client.post("/join", data={"token": token}, follow_redirects=False).status_code == 303
        account = next(person.id for person in accounts.people(store) if person.name == name)
        return Person(client, account, json)

    yield enter
    for client in opened:
        client.close()


@pytest.fixture
def queued(store: Store) -> Store:
    """Three tasks wait."""
    tasks.add(store, [task(n) for n in (1, 2, 3)])
    return store
