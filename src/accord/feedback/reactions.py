"""Reactions of users to responses: a thumb, a choice of two, a correction, a report of harm; from apps also a score and a comment.

A survey is about the conversation as a whole, and stands at the answer that was its last.

A second reaction of the same kind to the same response replaces the first, which gets a row in ``withdrawn``. Models do not learn from
reactions directly: ``accord.feedback.review`` turns them into records after consent and a lead's review.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select

from accord.feedback import outbox, schema, withdrawals
from accord.feedback.audit import note
from accord.feedback.chats import ARENA, Turn, one, out_of_documents
from accord.feedback.payloads import CHOICES
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn

Kind = Literal["thumb", "choice", "correction", "report", "score", "comment", "written", "prompt", "survey"]
"""Score, comment, written and prompt come from apps alone (``accord.feedback.app_feedback``): a number, a remark, a demonstration, a
prompt. A survey is the mark of a whole conversation."""
State = Literal["waiting", "accepted", "refused", "lapsed", "withdrawn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GOOD = ("helpful", "correct", "well_written", "other")
BAD = ("untrue", "not_followed", "incomplete", "too_long", "hard_to_read", "refused", "harmful", "other")
"""Reasons that fit a thumb up and a thumb down; any thumb may have any of them."""
REASONS = tuple(dict.fromkeys(GOOD + BAD))
LONGEST_NOTE, LONGEST_TEXT = 4_000, 20_000
"""Maximum length in characters of a note, and of a correction."""
MOST_TAGS, LONGEST_TAG = 20, 60
BEST = 5
"""The best mark of a survey; 1 is the worst."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """A user's reaction to a response."""

    id: str
    user: str
    turn: str
    other: str
    """The second response of a choice."""
    kind: Kind
    payload: Mapping[str, Any]
    at: str
    state: State
    """``waiting`` for consent or review; ``lapsed`` if it was accepted and consent was withdrawn later."""


def react(store: Store, user: str, kind: Kind, turn: str, payload: Mapping[str, Any], *, other: str = "", now: datetime) -> Reaction:
    """Store a reaction of the user whose conversation it is; it is on disk when this returns.

    Args:
        turn: the response; of a choice the first one.
        payload: thumb: ``up``, ``reasons``, ``note``; choice: ``choice`` (first, second, tie, both_bad); correction: ``text``; report:
            ``note``.
        other: the second response of a choice.

    Raises:
        Refused: a response is not in this user's conversations, or the two of a choice are one (404); the payload does not fit (422);
            a pair of the arena has its vote (409).
    """
    said, of_arena = _answer(store, user, turn), False
    if kind == "choice":
        second = _answer(store, user, other)
        if other == turn or second.parent != said.parent:
            raise Refused("no_such_turn", 404, other)
        of_arena = said.trial == second.trial == ARENA and said.pair == second.pair
    with store.write() as connection:
        if of_arena:
            _first_vote(connection, said)
        made, _ = put(connection, user, kind, said, payload, other=other, now=now)
        if not connection.scalar(select(out_of_documents(literal(said.id)))):
            outbox.review_needed(connection, user, [made.id], now=now)
        return made


def put(
    connection: Connection, user: str, kind: Kind, said: Turn, payload: Mapping[str, Any], *, other: str = "", now: datetime
) -> tuple[Reaction, list[str]]:
    """Store a reaction inside a transaction, as ``react`` does; return it with the ids of the earlier ones that it replaces.

    Args:
        said: the response, which the caller has found to be this user's; of ``prompt`` the user's own turn.
        payload: as for ``react``. score: ``score`` from 0 to 1. Any kind may have a ``note`` and ``tags``.

    Raises:
        Refused: the payload does not fit (422).
    """
    cleaned = _CLEANERS[kind](said, payload) | _beside(kind, payload)
    made = Reaction(
        f"f-{secrets.token_hex(10)}", user, said.id, other if kind == "choice" else "", kind, cleaned, now.isoformat(), "waiting"
    )
    replaced = _same(connection, made)
    for earlier in replaced:
        withdraw_reaction(connection, earlier, by=user, why="said again", replaced_by=made.id, now=now)
    values = {"id": made.id, "user": user, "turn": said.id, "other": made.other, "kind": kind, "at": made.at}
    connection.execute(insert(schema.reactions).values(values | {"payload": json.dumps(cleaned, ensure_ascii=False)}))
    return made, replaced


def own(store: Store, user: str, *, conversation: str = "") -> list[Reaction]:
    """Return a user's valid reactions, newest first; with a conversation id, only those in it."""
    r, t = schema.reactions, schema.turns
    where = [r.c.user == user, ~is_withdrawn("reaction", r.c.id)]
    if conversation:
        where.append(r.c.turn.in_(select(t.c.id).where(t.c.conversation == conversation)))
    with store.read() as connection:
        return found(connection, *where)


def withdraw(store: Store, user: str, id: str, *, now: datetime) -> None:
    """Withdraw a user's own reaction, and exclude its records from training.

    Raises:
        Refused: the user has no such valid reaction (404).
    """
    with store.write() as connection:
        r = schema.reactions
        mine = found(connection, r.c.id == id, r.c.user == user, ~is_withdrawn("reaction", r.c.id)) if id.isprintable() else []
        if not mine:
            raise Refused("no_such_turn", 404, id)
        withdraw_reaction(connection, mine[0].id, by=user, why="withdrawn by its author", now=now)
        note(connection, who=user, what="retract", on=id, why="withdrawn by its author", at=now)


def withdraw_reaction(connection: Connection, id: str, *, by: str, why: str, replaced_by: str = "", now: datetime) -> None:
    """Withdraw a reaction and its records, inside a transaction."""
    withdrawals.withdraw(connection, "reaction", [(id, why)], by=by, now=now, replaced_by=replaced_by)
    withdraw_records(connection, id, by=by, why=why, now=now)


def withdraw_records(connection: Connection, reaction: str, *, by: str, why: str, now: datetime) -> None:
    """Exclude a reaction's records from training, and its prompt if no other valid record uses it."""
    v = schema.reviews
    accepted = select(v.c.records).where(v.c.reaction == reaction, v.c.verdict == "accepted").order_by(v.c.number.desc())
    made: list[list[str]] = []
    for records in connection.scalars(accepted):
        made += json.loads(records)
    for kind, id in made:
        if kind in ("ranking", "demonstration", "thumb"):
            withdrawals.withdraw(connection, kind, [(id, why)], by=by, now=now)
    for kind, id in made:
        if kind == "prompt" and not _still_used(connection, id, reaction):
            withdrawals.withdraw(connection, "prompt", [(id, why)], by=by, now=now)


def found(connection: Connection, *where: ColumnElement[bool]) -> list[Reaction]:
    """Return reactions, newest first, each with the state that follows from its reviews."""
    r, v = schema.reactions, schema.reviews
    verdict = select(v.c.verdict).where(v.c.reaction == r.c.id).order_by(v.c.number.desc()).limit(1).scalar_subquery()
    query = (
        select(r, verdict.label("verdict"), is_withdrawn("reaction", r.c.id).label("withdrawn"))
        .where(*where)
        .order_by(r.c.at.desc(), r.c.id)
    )
    return [
        Reaction(
            row["id"],
            row["user"],
            row["turn"],
            row["other"],
            row["kind"],
            json.loads(row["payload"]),
            row["at"],
            "withdrawn" if row["withdrawn"] else row["verdict"] or "waiting",
        )
        for row in connection.execute(query).mappings()
    ]


def has_voted(store: Store, said: Turn) -> bool:
    """Return whether a pair ever got a vote, withdrawn or not."""
    with store.read() as connection:
        return _voted(connection, said)


def _first_vote(connection: Connection, said: Turn) -> None:
    """Let a pair of the arena have one vote ever: who voted has seen the names. Raises Refused (409)."""
    c = schema.conversations
    connection.execute(select(c.c.id).where(c.c.id == said.conversation).with_for_update())  # two votes sent at once take turns
    if _voted(connection, said):
        raise Refused("voted", 409, said.id)


def _voted(connection: Connection, said: Turn) -> bool:
    r, t = schema.reactions, schema.turns
    pair = select(t.c.id).where(t.c.conversation == said.conversation, t.c.pair == said.pair)
    return connection.scalar(select(r.c.id).where(r.c.kind == "choice", r.c.turn.in_(pair), r.c.other.in_(pair)).limit(1)) is not None


def _same(connection: Connection, made: Reaction) -> list[str]:
    """Return the same user's earlier reactions of the same kind to the same response, or to the same two."""
    r = schema.reactions
    same = (r.c.turn == made.turn) & (r.c.other == made.other)
    if made.kind == "choice":
        same = same | ((r.c.turn == made.other) & (r.c.other == made.turn))
    if made.kind == "survey":  # one mark for a conversation
        t = schema.turns
        here = select(t.c.conversation).where(t.c.id == made.turn).scalar_subquery()
        same = r.c.turn.in_(select(t.c.id).where(t.c.conversation == here))
    query = select(r.c.id).where(r.c.user == made.user, r.c.kind == made.kind, same, ~is_withdrawn("reaction", r.c.id))
    return list(connection.scalars(query))


def _still_used(connection: Connection, prompt: str, reaction: str) -> bool:
    """Return whether a prompt is in a valid record, or was taken for its own sake, by another reaction than this one."""
    for kind, table in (("ranking", schema.rankings), ("demonstration", schema.demonstrations), ("thumb", schema.thumbs)):
        standing = select(table.c.id).where(table.c.prompt_id == prompt, ~is_withdrawn(kind, table.c.id))
        if connection.scalar(standing.limit(1)) is not None:
            return True
    r, v = schema.reactions, schema.reviews
    newest = v.alias()
    last = select(func.max(newest.c.number)).where(newest.c.reaction == r.c.id).correlate(r).scalar_subquery()
    taken = select(r.c.id).select_from(r.join(v, v.c.reaction == r.c.id))
    taken = taken.where(v.c.number == last, v.c.verdict == "accepted", r.c.id != reaction)
    marked = taken.where(r.c.kind == "survey", v.c.records.contains(json.dumps(prompt), autoescape=True), ~is_withdrawn("reaction", r.c.id))
    if connection.scalar(marked.limit(1)) is not None:
        return True
    mine = taken.where(r.c.kind == "prompt", v.c.records.contains(json.dumps(prompt), autoescape=True), ~is_withdrawn("reaction", r.c.id))
    # The prompt's id names its turn, so that the turn's index finds the reaction.
    turn = prompt.removeprefix("api-")
    return connection.scalar(mine.where(r.c.turn.in_((turn, turn.rpartition("-")[0]))).limit(1)) is not None


def _answer(store: Store, user: str, id: str) -> Turn:
    turn = one(store, user, id)
    if turn.role != "assistant":
        raise Refused("no_such_turn", 404, id)
    return turn


def _thumb(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    up, reasons = payload.get("up"), list(payload.get("reasons", ()))
    if not isinstance(up, bool) or not all(reason in REASONS for reason in reasons):
        raise Refused("malformed", detail="thumb")
    return {"up": up, "reasons": sorted(set(reasons)), "note": _text(payload, "note", LONGEST_NOTE)}


def _choice(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    if payload.get("choice") not in CHOICES:
        raise Refused("choice_missing")
    return {"choice": payload["choice"]}


def _correction(said: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    text = _text(payload, "text", LONGEST_TEXT).strip()
    if not text:
        raise Refused("text_missing")
    if text == said.text.strip():
        raise Refused("same_text")
    return {"text": text}


def _report(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"note": _text(payload, "note", LONGEST_NOTE)}


def _score(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    score = payload.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise Refused("malformed", detail="score")
    return {"score": float(score)}


def _survey(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    mark = payload.get("mark")
    if isinstance(mark, bool) or not isinstance(mark, int) or not 1 <= mark <= BEST:
        raise Refused("choice_missing")
    return {"mark": mark}


def _comment(_: Turn, payload: Mapping[str, Any]) -> dict[str, Any]:
    if not _text(payload, "note", LONGEST_NOTE).strip() and not payload.get("tags"):
        raise Refused("nothing_said")
    return {}


def _nothing(_: Turn, __: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _beside(kind: Kind, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the note and the tags that any kind may have; a thumb and a report hold their note already."""
    found: dict[str, Any] = {}
    if kind not in ("thumb", "report") and (said := _text(payload, "note", LONGEST_NOTE).strip()):
        found["note"] = said
    tags: object = payload.get("tags", ())
    if not isinstance(tags, list | tuple):
        raise Refused("malformed", detail="tags")
    given = cast("Sequence[object]", tags)
    words = [tag for tag in given if isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG]
    if len(words) != len(given) or len(words) > MOST_TAGS:
        raise Refused("malformed", detail="tags")
    return found | ({"tags": list(dict.fromkeys(words))} if words else {})


def _text(payload: Mapping[str, Any], name: str, longest: int) -> str:
    text = payload.get(name, "")
    if not isinstance(text, str):
        raise Refused("malformed", detail=name)
    if len(text) > longest:
        raise Refused("too_long")
    return text


_CLEANERS: dict[Kind, Callable[[Turn, Mapping[str, Any]], dict[str, Any]]] = {
    "thumb": _thumb,
    "choice": _choice,
    "correction": _correction,
    "report": _report,
    "score": _score,
    "comment": _comment,
    "written": _nothing,
    "prompt": _nothing,
    "survey": _survey,
}
