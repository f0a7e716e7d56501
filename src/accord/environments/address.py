"""Environments behind an address: one of ours over HTTP, and a user that a chat model plays.

Both speak JSON over HTTP. A token is taken from an environment variable and never written anywhere.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from accord.errors import UsageError
from accord.runtime.bounded import Bounded, TooLarge

TOKEN = "ACCORD_ENVIRONMENT_TOKEN"
"""The environment variable whose value goes with each request, as a bearer token."""
TRIES = 3
LARGEST = 4 << 20
"""Bytes of an answer."""
ENDED = "DONE"
"""What a playing model writes when the user has what it wanted."""


_client: list[httpx.Client] = []
"""The client of this process, once something is asked. It follows no redirect, which would take the token to another host."""


def check_address(url: str, where: str) -> None:
    """Refuse an address with a password in it, which would be written into the run.

    Raises:
        UsageError: it has one, or a key.
    """
    parts = urlsplit(url)
    secret = [name for name, _ in parse_qsl(parts.query) if re.search(r"key|token|secret|password|auth", name, re.IGNORECASE)]
    if parts.username or parts.password or secret:
        what = "a password in an address would be written into the run"
        raise UsageError(what, where=f"{where}, {parts.scheme}://{parts.hostname}", hint=f"set {TOKEN} in the environment")


def ask(url: str, body: Mapping[str, Any], seconds: float, *, once: bool = False) -> Any:
    """Post a JSON object and return what comes back. A server that is busy or gone is asked again, ``TRIES`` times in all.

    Args:
        seconds: of each try, from its beginning to the last byte of its answer.
        once: whether the server must not do it twice. It is asked again only where it has certainly done nothing: it refused the
            connection, or said that it is busy (429, 503).

    Raises:
        OSError: it does not answer, or answers with an error.
        ValueError: the answer is no JSON, or longer than ``LARGEST``.
    """
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    if not _client:
        _client.append(httpx.Client(transport=Bounded(seconds, LARGEST)))
    content = json.dumps(body).encode()
    for left in reversed(range(TRIES)):
        try:
            answer = _client[0].post(url, content=content, headers=headers, extensions={"seconds": seconds})
        except TooLarge as error:
            raise ValueError(f"{url} answered more than {LARGEST:,} bytes") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if not left or (once and not isinstance(error, httpx.ConnectError)):
                raise OSError(f"{url} does not answer: {error}") from error
        else:
            if answer.is_success:
                return _parsed(answer.content, url)
            if answer.status_code not in ((429, 503) if once else (429, 502, 503, 504)) or not left:
                raise OSError(f"{url} answered {answer.status_code}")
        time.sleep(0.2 * (TRIES - left))
    raise OSError(url)  # never reached: the last try returns or raises


def _parsed(content: bytes, url: str) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{url} answered what is nested too deeply") from error


class HttpEnvironment:
    """An environment of ours behind an address: ``POST /reset``, ``POST /step`` and ``POST /close``.

    ``/reset`` gets ``{"row": ...}`` and answers ``{"episode": ..., "messages": [...]}``. ``/step`` gets ``{"episode": ..., "messages":
    [...]}`` and answers ``{"messages": [...], "reward": ..., "done": ..., "info": {...}}``. ``/close`` gets ``{"episode": ...}``.
    """

    def __init__(self, address: str, seconds: float = 60.0) -> None:
        self.address, self.seconds = address.rstrip("/"), seconds
        self.episode: Any = None

    def reset(self, row: Mapping[str, Any]) -> Any:
        """Begin an episode on the server."""
        told = ask(f"{self.address}/reset", {"row": row}, self.seconds)
        self.episode = told["episode"]
        return told["messages"]

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[Any, Any, bool, Any]:
        """Let the server answer."""
        told = ask(f"{self.address}/step", {"episode": self.episode, "messages": list(messages)}, self.seconds, once=True)
        return told["messages"], told["reward"], told["done"], told.get("info", {})

    def close(self) -> None:
        """End the episode on the server, if one began."""
        if self.episode is not None:
            ask(f"{self.address}/close", {"episode": self.episode}, self.seconds)


PLAY = (
    "You play a user who talks with an assistant. What you want: {goal}\n"
    "Say it in your own words, a little at a time, and answer what the assistant asks. Write the user's next message and nothing else. "
    f"When the assistant has given you what you want, write {ENDED} alone."
)


class PlayedUser:
    """A user played by a chat model behind an OpenAI-compatible address. Its wish is the row's ``goal``, in ``extra``.

    The reward is 1 when the playing model says that the user has what it wanted, less a twentieth for each turn before.
    """

    def __init__(self, address: str, model: str, seconds: float = 60.0) -> None:
        self.address, self.model, self.seconds = address.rstrip("/"), model, seconds

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the prompt. Raises KeyError where the row has no goal."""
        self.goal, self.turns = str(row["extra"]["goal"]), 0
        return list(row["messages"])

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Ask the model what the user says next."""
        turned = {"user": "assistant", "assistant": "user"}  # the playing model is the assistant of its own conversation
        said = [{"role": turned[m["role"]], "content": m["content"]} for m in messages if m["role"] in turned]
        asked = [{"role": "system", "content": PLAY.format(goal=self.goal)}, *said]
        body = {"model": self.model, "messages": asked, "max_tokens": 200, "temperature": 0}
        told = ask(f"{self.address}/chat/completions", body, self.seconds)
        words = str(told["choices"][0]["message"]["content"]).strip()
        self.turns += 1
        if words.strip(" .!\"'") == ENDED:
            return [], max(1.0 - 0.05 * (self.turns - 1), 0.0), True, {"content": 1}
        return [{"role": "user", "content": words}], 0.0, False, {}
