"""A program that uses the labeling site as a browser would: comes in by invitation, asks for a task, posts a form.

Plain http.client with a kept connection, so that a hundred of them cost the machine little beside the server.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from accord import Ranking

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as JSON; empty when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


@dataclass
class Visitor:
    """One browser's worth of state: an address, cookies, a connection."""

    address: str
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    timeout: float = 60.0
    csrf: str = ""
    _line: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, fields: Fields | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request on the kept connection. Raises OSError or HTTPException when the line is cut; nothing is tried again here."""
        body = None if fields is None else urlencode(fields)
        sent = {"Accept": "application/json", "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        self._line = self._line or http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=self.timeout)
        try:
            self._line.request(method, path, body, sent | dict(headers or {}))
            with self._line.getresponse() as answer:
                reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        self._remember(answer.msg.get_all("set-cookie") or [])
        return reply

    def close(self) -> None:
        """Drops the connection; the next request makes a new one."""
        if self._line:
            self._line.close()
        self._line = None

    def join(self, token: str) -> Reply:
        """Comes in by an invitation's token."""
        return self.request("POST", "/join", [("token", token)])

    def next(self) -> dict[str, Any] | None:
        """The next task with its key; None when nothing waits. Raises RuntimeError for any other answer than 200."""
        reply = self.request("GET", "/next")
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.body[:200]!r}")
        said = reply.json()
        self.csrf = said.get("csrf", self.csrf)
        return said if said["task"] else None

    def answer(self, given: Mapping[str, Any], fields: Fields) -> Reply:
        """Posts the answer to a task that ``next`` gave."""
        task = given["task"]
        frame = [("csrf", self.csrf), ("key", given["key"]), ("revision", str(task["revision"]))]
        frame += [("version", task["guideline"]["version"]), ("action", "save"), ("seconds", "12.5")]
        return self.request("POST", f"/tasks/{task['id']}/answer", frame + fields)

    def _remember(self, set_cookies: Sequence[str]) -> None:
        for line in set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


def ranking_form(ranking: Ranking) -> Fields:
    """A ranking as the form of a page that shows its responses in its order."""
    ratings = {rating.response_id: rating for rating in ranking.ratings}
    fields: Fields = []
    for place, (id, rank) in enumerate(zip(ranking.response_ids, ranking.ranks, strict=True), 1):
        fields.append((f"rank-{place}", str(rank)))
        if id in ratings:
            fields.append((f"quality-{place}", str(ratings[id].quality)))
            fields += [(f"flags-{place}", flag) for flag in ratings[id].flags]
    return fields
