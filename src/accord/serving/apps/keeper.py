"""Storage of answered requests: for feedback, and as prompts, for keys that opted in; nothing is stored for any other.

The answer is on disk before the client has the whole of it, so that feedback finds it. When the database refuses, the answer is given all
the same, and the log has the reason.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from anyio import to_thread

from accord.errors import StoreError
from accord.feedback import app_prompts
from accord.feedback.app_prompts import Draw
from accord.feedback.app_requests import Said, keep
from accord.records import Message
from accord.serving.apps.desk import Desk, app_of, now
from accord.serving.host import Ask
from accord.serving.keys import Key
from accord.serving.service import Answered, Kept

STORED = "X-Accord-Stored"
FINISHES = {"content_filter": "withheld", "": "stopped"}
"""The chat's terms for ends that OpenAI names otherwise, or not at all."""
log = logging.getLogger("accord.serve")


@dataclass
class Keeper:
    """Stores the answers of keys that opted in."""

    desk: Desk
    draw: Draw
    days: float
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
        try:
            await to_thread.run_sync(self._write, key, ask, user, id, answers)
        except StoreError as error:
            log.warning("an answer could not be stored: %s", error)

    def _write(self, key: Key, ask: Ask, user: str, id: str, answers: Sequence[Answered]) -> None:
        said: list[Said] = []
        for answer in answers:
            name, _, digest = answer.version.partition("@")
            said.append(Said(answer.text, name, digest, FINISHES.get(answer.finish, answer.finish)[:12]))
        sampling = json.dumps(dataclasses.asdict(ask.sampling) | {"seed": ask.seed})
        at = now()
        with self.desk.store().write() as connection:
            turns = keep(
                connection, app_of(key), user, id, ask.conversation, said, kind="answered", sampling=sampling, days=self.days, now=at
            )
            if key.store == "prompts":
                self.outcomes[app_prompts.draw(connection, turns[0], self.draw, now=at)] += 1


def _not_stored(ask: Ask, wanted: bool | None) -> str:
    """Return why a request is not stored; empty when it is."""
    if wanted is False:
        return "the request opted out"
    if ask.tools or any(type(message) is not Message for message in ask.conversation):
        return "it has tools"
    if not ask.conversation or ask.conversation[-1].role != "user":
        return "it does not end with a user's message"
    return ""
