"""Storage of answered requests: for feedback, and as prompts, for keys that opted in; nothing is stored for any other.

The answer is on disk before the client has the whole of it, so that feedback finds it. When the database refuses, the answer is given all
the same, and the log has the reason. A busy database is waited for a few seconds, by threads of which there are few, so that neither the
answer nor the server's other work waits for long.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from anyio import CapacityLimiter, move_on_after, to_thread

from accord.errors import StoreError
from accord.feedback import app_prompts
from accord.feedback.app_prompts import Draw
from accord.feedback.app_requests import Said, keep
from accord.feedback.moderation import remembered
from accord.records import Message
from accord.serving.apps.desk import Desk, app_of, now
from accord.serving.host import Ask
from accord.serving.keys import Key
from accord.serving.service import Answered, Kept

SECONDS = 5.0
THREADS = 4
"""Answers that are stored at the same time."""
STORED = "X-Accord-Stored"
LONG = 20_000
"""Characters of a request from which on it is screened before the database is written to, whether it is sampled or not."""
FINISHES = {"content_filter": "withheld", "": "stopped"}
"""The chat's terms for ends that OpenAI names otherwise, or not at all."""
log = logging.getLogger("accord.serve")


@dataclass
class Keeper:
    """Stores the answers of keys that opted in."""

    desk: Desk
    draw: Draw
    days: float
    seconds: float = SECONDS
    """Longest wait for the database."""
    room: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """What became of the requests of keys that give prompts."""

    def opened(self, key: Key | None, ask: Ask, user: str, wanted: bool | None) -> Kept:
        """Return the storage of one request's answers.

        Args:
            wanted: the request's own ``store``; false opts out.
        """
        if key is None or not key.store:
            return Kept()
        why = _not_stored(ask, wanted)
        if why:
            return Kept({STORED: f"no; {why}"})

        async def kept(id: str, answers: Sequence[Answered]) -> None:
            await self._keep(key, ask, user, id, answers)

        return Kept({STORED: f"{key.store}; days={self.days:g}"}, kept)

    async def _keep(self, key: Key, ask: Ask, user: str, id: str, answers: Sequence[Answered]) -> None:
        until = time.monotonic() + self.seconds
        try:
            # The time ends the wait for a thread; a thread that runs ends by the same time of its own accord.
            with move_on_after(self.seconds) as waited:
                await to_thread.run_sync(self._attempt, until, key, ask, user, id, answers, limiter=self.room)
            if waited.cancelled_caught:
                log.warning("an answer could not be stored: others were being stored for %g seconds", self.seconds)
        except StoreError as error:
            log.warning("an answer could not be stored: %s", error)

    def _attempt(self, until: float, key: Key, ask: Ask, user: str, id: str, answers: Sequence[Answered]) -> None:
        """Write, and once more if the database refuses before the time is over: another process may have stored the same new user."""
        try:
            self._write(until, key, ask, user, id, answers)
        except StoreError:
            if time.monotonic() >= until:
                raise
            self._write(until, key, ask, user, id, answers)

    def _write(self, until: float, key: Key, ask: Ask, user: str, id: str, answers: Sequence[Answered]) -> None:
        said: list[Said] = []
        for answer in answers:
            name, _, digest = answer.version.partition("@")
            said.append(Said(answer.text, name, digest, FINISHES.get(answer.finish, answer.finish)[:12]))
        sampling = json.dumps(dataclasses.asdict(ask.sampling) | {"seed": ask.seed})
        rules = replace(self.draw, screen=remembered(self.draw.screen))
        if key.store == "prompts" and sum(len(message.content) for message in ask.conversation) > LONG:
            for message in ask.conversation:
                rules.screen(message.content)  # while others may write
        at = now()
        with self.desk.store().write(wait=max(0.1, until - time.monotonic())) as connection:
            turns = keep(
                connection, app_of(key), user, id, ask.conversation, said, kind="answered", sampling=sampling, days=self.days, now=at
            )
            if key.store == "prompts":
                self.outcomes[app_prompts.draw(connection, turns[0], rules, now=at)] += 1


def _not_stored(ask: Ask, wanted: bool | None) -> str:
    """Return why a request is not stored; empty when it is."""
    if wanted is False:
        return "the request opted out"
    if ask.tools or any(type(message) is not Message for message in ask.conversation):
        return "it has tools"
    if ask.media:
        return "it has a picture"
    if not ask.conversation or ask.conversation[-1].role != "user":
        return "it does not end with a user's message"
    return ""
