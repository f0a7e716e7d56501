"""A game of three turns behind an OpenEnv server: what the model is shown and earns, and that GRPO learns in it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from openenv.core.env_server import http_server
from openenv.core.env_server.interfaces import Environment as Server
from openenv.core.env_server.types import Action, Observation, State
from played import brief, laid_by_hand, learned, three_turns

from accord.environments.hosted import Environments
from accord.environments.opened import open_environment

pytestmark = pytest.mark.filterwarnings("ignore")  # the package's own dependencies warn


class Word(Action):
    message: str


class Seen(Observation):
    text: str = ""


class Game(Server[Word, Seen, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **others: Any) -> Seen:
        self.turn = 0
        return Seen(text="Turn 0.", done=False, reward=0.0)

    def step(self, action: Word, timeout_s: float | None = None, **others: Any) -> Seen:
        self.turn += 1
        return Seen(text=f"Turn {self.turn}.", done=self.turn == 3, reward=brief(action.message))

    @property
    def state(self) -> State:
        return State(step_count=self.turn)


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    app = http_server.create_fastapi_app(Game, Word, Seen, max_concurrent_envs=64)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    ends = time.monotonic() + 30
    while not server.started and time.monotonic() < ends:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True


def opened(address: str) -> Environments:
    return open_environment(f"openenv:{address}", Path(), seconds=30, at_once=16)


def test_an_episode_is_played_in_the_packages_own_environment(address: str) -> None:
    assert three_turns(opened(address)) == [0.25, 1.0, 0.125]


def test_an_episode_is_recorded_as_a_hand_would_lay_it(address: str) -> None:
    laid_by_hand(opened(address))


def test_grpo_learns_in_it(address: str, tmp_path: Path) -> None:
    first, last = learned(tmp_path / "run", opened(address), steps=14)
    assert last > first + 0.3, (first, last)
