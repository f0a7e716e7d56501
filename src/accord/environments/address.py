"""An environment of yours behind an address, and how one is asked.

It speaks JSON over HTTP. A token is taken from an environment variable and never written anywhere.
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
