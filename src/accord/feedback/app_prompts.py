"""Prompts out of the traffic of apps: with consent, sampled, capped per user, without doubles, without personal data.

InstructGPT's prompts came from its API's customers in this way (Ouyang et al. 2022, section 3.2): at most 200 per user, without doubles,
filtered for personal data. A prompt in which nothing but personal data was found becomes a record at once; any other waits for a lead's
review. `accord prompts` looks for doubles among all prompts, whatever their origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, func, select

from accord.feedback import consents, outbox, review, schema
from accord.feedback.app_requests import TRAFFIC
from accord.feedback.chats import Turn
from accord.feedback.moderation import Screen
from accord.feedback.queue import digest
from accord.feedback.reactions import put
from accord.feedback.withdrawals import is_withdrawn

Outcome = Literal["taken", "for review", "no consent", "not sampled", "over the cap", "double"]


@dataclass(frozen=True, slots=True)
class Draw:
    """The rules by which traffic becomes prompts."""

    screen: Screen
    share: float = 0.1
    """Share of the requests that are sampled."""
    per_user: int = 200
    held_out: float = 0.0
    """Share of the users, chosen by id, whose prompts are used for evaluation, not for training."""


def draw(connection: Connection, asked: Turn, rules: Draw, *, now: datetime) -> Outcome:
    """Decide about a stored request inside a transaction, and take its prompt.

    Args:
        asked: the user's last turn of a request that was stored in this transaction.
    """
    c, q, r, t = schema.conversations, schema.app_requests, schema.reactions, schema.turns
    user: str = connection.execute(select(c.c.user).where(c.c.id == asked.conversation)).scalar_one()
    given = consents.of(connection, user)
    if given is None or not given.given:
        return "no consent"
    # The id is random, so the draw is too; the same request asked again is decided in the same way.
    if int(digest("draw", asked.id)[:8], 16) / 16**8 >= rules.share:
        return "not sampled"
    taken = (r.c.kind == "prompt", ~is_withdrawn("reaction", r.c.id))
    if (connection.scalar(select(func.count()).where(r.c.user == user, *taken)) or 0) >= rules.per_user:
        return "over the cap"
    mine = connection.execute(select(q.c.app, q.c.fingerprint).where(q.c.conversation == asked.conversation)).one()
    double = select(r.c.id).join(t, t.c.id == r.c.turn).join(q, q.c.conversation == t.c.conversation)
    double = double.where(q.c.app == mine.app, q.c.fingerprint == mine.fingerprint, *taken).limit(1)
    if connection.scalar(double) is not None:
        return "double"
    made, _ = put(connection, user, "prompt", asked, {}, now=now)
    item = review.item_of(connection, made.id, rules.screen)
    if not item.clean:
        outbox.review_needed(connection, user, [made.id], now=now)
        return "for review"
    review.accept_within(connection, item, by=TRAFFIC, now=now, held_out=rules.held_out)
    return "taken"
