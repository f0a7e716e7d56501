"""The arena's votes: people chose between two unnamed models on a prompt of theirs. A vote is a choice of the chat (``reactions``).

It counts in the table while it stands: not withdrawn by its author, not erased, not refused by a lead, and not of somebody who is
excluded. What a lead accepts becomes a ranking like every choice of the chat (``review``).
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

from sqlalchemy import func, select

from accord.feedback import rows, schema
from accord.feedback.chats import ARENA, Turn
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn

Choice = Literal["first", "second", "tie", "both_bad"]
HOUR = timedelta(hours=1)
NEARBY = 50
"""Prompts among which one is drawn."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model at one version."""

    name: str
    digest: str
    """The first 12 digits."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How votes on two models ended."""

    first: Contestant
    second: Contestant
    choice: Choice


def outcomes(store: Store) -> Counter[Outcome]:
    """Return the standing votes, counted. The first of two models is the one whose name and version sort first."""
    r, t, v, c = schema.reactions, schema.turns, schema.reviews, schema.conversations
    other = t.alias()
    verdict = select(v.c.verdict).where(v.c.reaction == r.c.id).order_by(v.c.number.desc()).limit(1).scalar_subquery()
    query = (
        select(r.c.payload, t.c.model, t.c.digest, other.c.model, other.c.digest, verdict, func.count())
        .select_from(r.join(t, t.c.id == r.c.turn).join(other, other.c.id == r.c.other).join(c, c.c.id == t.c.conversation))
        .where(t.c.trial == ARENA, other.c.trial == ARENA, other.c.pair == t.c.pair, r.c.kind == "choice")
        .where(~is_withdrawn("reaction", r.c.id), ~is_withdrawn("conversation", t.c.conversation))
        .where(c.c.user.not_in(select(schema.excluded.c.labeler)))
        .group_by(r.c.payload, t.c.model, t.c.digest, other.c.model, other.c.digest, verdict)
    )
    counted = Counter[Outcome]()
    with store.read() as connection:
        for payload, model, digest, model_2, digest_2, reviewed, count in connection.execute(query):
            if reviewed == "refused":
                continue
            choice = cast("Choice", json.loads(payload)["choice"])
            one, two = Contestant(model, digest[:12]), Contestant(model_2, digest_2[:12])
            counted[_in_order(one, two, choice)] += count
    return counted


def _in_order(one: Contestant, two: Contestant, choice: Choice) -> Outcome:
    if (one.name, one.digest) <= (two.name, two.digest):
        return Outcome(one, two, choice)
    flipped: dict[Choice, Choice] = {"first": "second", "second": "first"}
    return Outcome(two, one, flipped.get(choice, choice))


def asked_lately(store: Store, user: str, *, now: datetime) -> int:
    """Return the number of pairs that a user asked for within the last hour. Those of a clock that was ahead are not counted."""
    t, c = schema.turns, schema.conversations
    query = select(func.count(t.c.pair.distinct())).select_from(t.join(c, c.c.id == t.c.conversation))
    query = query.where(c.c.user == user, t.c.trial == ARENA, t.c.at > (now - HOUR).isoformat(), t.c.at <= (now + HOUR).isoformat())
    with store.read() as connection:
        return connection.scalar(query) or 0


def pair_of(turns: Sequence[Turn]) -> tuple[Turn, Turn] | None:
    """Return the pair of the arena in a conversation, in the order of the page; None when it has none."""
    pair = [turn for turn in turns if turn.trial == ARENA]
    return (pair[0], pair[1]) if len(pair) == 2 else None


def drawn_prompt(store: Store, *, longest: int) -> str:
    """Return the words of a prompt at random, one message of a user; empty when the project has none.

    It is a training prompt: votes on it are learned from, and nothing that a model is measured on may be.
    """
    p = schema.prompts
    start = secrets.token_hex(20)  # as the keys are: hashes, so that any place is as likely as another
    fits = (p.c.split == "train", ~is_withdrawn("prompt", p.c.id))
    with store.read() as connection:
        for place in (p.c.key >= start, p.c.key < start):
            found = connection.scalars(select(p.c.messages).where(place, *fits).order_by(p.c.key).limit(NEARBY))
            said = [rows.messages(messages) for messages in found]
            first = [each[0] for each in said if len(each) == 1 and each[0].role == "user" and not each[0].media]
            alone = [message.content for message in first if 0 < len(message.content.strip()) <= longest]
            if alone:
                return secrets.choice(alone)
    return ""
