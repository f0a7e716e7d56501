"""Feedback, comparisons, demonstrations and prompts from apps: stored as reactions, which go the way of the chat's feedback.

Nothing here makes a record to learn from: that takes the end user's consent and a lead's review (``accord.feedback.review``).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, select

from accord.feedback import consents, outbox, review, schema
from accord.feedback.app_requests import Said, answers_of, asked_before, claim, keep, renew
from accord.feedback.apps import App, NotTaken, enter, pseudonym, version_of
from accord.feedback.audit import note
from accord.feedback.chats import Turn
from accord.feedback.payloads import CHOICES
from accord.feedback.reactions import REASONS, Kind, Reaction, found, put, withdraw_reaction
from accord.records import Message

Better = Literal["this", "other", "tie", "both_bad"]
State = Literal["waiting_for_consent", "waiting_for_review", "accepted", "refused", "lapsed", "withdrawn"]
SKEW = timedelta(minutes=5)
"""How far an app's clock may be wrong."""
_CHOICE: Mapping[Better, str] = {"this": "first", "other": "second", "tie": "tie", "both_bad": "both_bad"}


@dataclass(frozen=True, slots=True)
class Over:
    """A choice between the response and another one to the same conversation."""

    other: str
    better: Better
    index: int = 0
    """The index of the other response."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an end user said of a response: one of this server's, named by its id, or one from elsewhere, sent along."""

    response: str = ""
    index: int = 0
    user: str = ""
    consent: bool | None = None
    """The user's answer about learning from it; None when the app says nothing, so that an earlier one holds."""
    thumb: bool | None = None
    score: float | None = None
    correction: str | None = None
    choice: Over | None = None
    comment: str = ""
    tags: Sequence[str] = ()
    at: datetime | None = None
    messages: Sequence[Message] = ()
    """The conversation before a response from elsewhere."""
    said: Said | None = None
    """The response from elsewhere."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A conversation that an app sends of its own accord."""

    messages: Sequence[Message]
    user: str = ""
    consent: bool | None = None
    comment: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A stored reaction."""

    id: str
    kind: str
    state: State
    replaced: tuple[str, ...] = ()
    """The earlier reactions that it takes the place of."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was stored."""

    response: str
    user: str
    """The end user's pseudonym."""
    items: tuple[Item, ...] = field(default=())


def take(connection: Connection, app: App, said: Feedback, *, now: datetime) -> Taken:
    """Store feedback about a response inside a transaction.

    Raises:
        NotTaken: the app has no such response for this user (404), it was deleted (410), or two responses of a choice answer different
            conversations, the time is in the future or before the response, or nothing was said (400).
        Refused: a text or a number does not fit (422).
    """
    if said.said:
        said = replace(said, response=_from_elsewhere(connection, app, said, said.said, now))
    request, owner, answers = answers_of(connection, app, said.response, said.user)
    turn = _at(answers, said.index)
    other = _other(connection, app, said.choice, said.user, turn) if said.choice else None
    if said.at and said.at > now + SKEW:
        raise NotTaken("the time of the feedback is in the future", code="in_the_future", status=400, param="at")
    if said.at and said.at < datetime.fromisoformat(request.at) - SKEW:
        raise NotTaken("the feedback is older than the response", code="before_the_response", status=400, param="at")
    payloads = _payloads(said)
    if not payloads:
        what = "nothing was said: give thumb, score, correction, choice, comment or tags"
        raise NotTaken(what, code="nothing_said", status=400)
    id = claim(connection, app, request, owner, said.user, now=now)
    if said.consent is not None and id == pseudonym(connection, app.name, ""):
        named(said.user)
    _agree(connection, app, id, said.consent, now)
    renew(connection, request, now=now)
    made: list[tuple[Reaction, list[str]]] = []
    for kind, payload in payloads:
        second = other.id if other and kind == "choice" else ""
        made.append(put(connection, id, kind, turn, payload, other=second, now=min(said.at or now, now)))
    outbox.review_needed(connection, id, [reaction.id for reaction, _ in made], now=now)
    return Taken(said.response, id, _items(connection, id, made))


def compare(connection: Connection, app: App, sent: Sent, answers: Sequence[Said], choice: str, *, now: datetime) -> Taken:
    """Store which of two answers of the app's own is better, inside a transaction.

    Args:
        choice: first, second, tie or both_bad.
    """
    if len(answers) != 2 or choice not in CHOICES:
        raise NotTaken("a comparison takes two responses and a choice", code="invalid_value", status=400, param="choice")
    return _sent(connection, app, sent, answers, "choice", {"choice": choice}, "cmp", now)


def demonstrate(connection: Connection, app: App, sent: Sent, text: str, *, now: datetime) -> Taken:
    """Store an answer that a person wrote, inside a transaction."""
    return _sent(connection, app, sent, [Said(text)], "written", {}, "dem", now)


def ask(connection: Connection, app: App, sent: Sent, *, now: datetime) -> Taken:
    """Store a prompt without an answer, inside a transaction."""
    return _sent(connection, app, sent, (), "prompt", {}, "pmt", now)


def agree(connection: Connection, app: App, user: str, given: bool, *, now: datetime) -> str:
    """Store whether an end user agrees, inside a transaction; after a no, nothing of theirs is learned from. Return the pseudonym.

    Raises:
        NotTaken: no user is named (400).
    """
    named(user)
    id = enter(connection, app, user, now=now)
    _agree(connection, app, id, given, now)
    return id


def one(connection: Connection, app: App, id: str) -> Taken:
    """Return a reaction of the app's users. Raises NotTaken (404) when there is none."""
    reaction, response = _theirs(connection, app, id)
    return Taken(response, reaction.user, (Item(id, shown(reaction.kind), _state(connection, reaction)),))


def take_back(connection: Connection, app: App, id: str, *, now: datetime) -> Taken:
    """Withdraw a reaction of the app's users inside a transaction, with the records made of it. Raises NotTaken (404)."""
    reaction, response = _theirs(connection, app, id)
    if reaction.state != "withdrawn":
        withdraw_reaction(connection, id, by=reaction.user, why="withdrawn by its author", now=now)
        note(connection, who=reaction.user, what="retract", on=id, why="withdrawn by its author", at=now)
    return Taken(response, reaction.user, (Item(id, shown(reaction.kind), "withdrawn"),))


def known(connection: Connection, app: App, user: str) -> str:
    """Return an end user's pseudonym. Raises NotTaken (404) for one who was never seen."""
    id, people = pseudonym(connection, app.name, user), schema.labelers
    if connection.scalar(select(people.c.id).where(people.c.id == id)) is None:
        raise NotTaken("this app has no such user", code="no_such_user", status=404, param="user")
    return id


def named(user: str) -> None:
    """Raise NotTaken (400) when no user is named: all whom an app does not name are one to the database, and none speaks for the others."""
    if not user:
        what = "name the user: without a name this would hold for everybody whom the app does not name"
        raise NotTaken(what, code="no_user", status=400, param="user")


def shown(kind: str) -> str:
    """Return the kind of a reaction in the API's words."""
    return "demonstration" if kind == "written" else kind


def _from_elsewhere(connection: Connection, app: App, feedback: Feedback, said: Said, now: datetime) -> str:
    """Return the id of a response that is sent along; the same one sent again is the same response, unless it was erased."""
    _ends_with_user(feedback.messages)
    # The id is keyed, as a pseudonym is: a plain digest would tell whether an erased text was a given one.
    content = [said.model, said.text, *(part for message in feedback.messages for part in (message.role, message.content))]
    known = pseudonym(connection, app.name, "\0".join(("sent", feedback.user, *content))).removeprefix("u-")
    for number in range(1000):
        id = f"sent-{known}-{number}"
        try:
            answers_of(connection, app, id, feedback.user)
        except NotTaken as refused:
            if refused.status != 404:
                continue
            keep(connection, app, feedback.user, id, feedback.messages, [said], kind="sent", now=now)
        return id
    raise NotTaken("this was sent and erased too often", code="response_deleted", status=410)


def _ends_with_user(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role != "user":
        raise NotTaken("the conversation must end with a user's message", code="invalid_value", status=400, param="messages")


def _sent(
    connection: Connection,
    app: App,
    sent: Sent,
    answers: Sequence[Said],
    kind: Kind,
    payload: Mapping[str, Any],
    prefix: str,
    now: datetime,
) -> Taken:
    _ends_with_user(sent.messages)
    if sent.consent is not None:
        named(sent.user)
    response = f"{prefix}-{secrets.token_hex(12)}"
    turns = keep(connection, app, sent.user, response, sent.messages, answers, kind="sent", now=now)
    id = enter(connection, app, sent.user, now=now)
    _agree(connection, app, id, sent.consent, now)
    said = turns[1] if answers else turns[0]
    beside = {"note": sent.comment, "tags": list(sent.tags)}
    made = put(connection, id, kind, said, {**payload, **beside}, other=turns[2].id if len(answers) == 2 else "", now=now)
    outbox.review_needed(connection, id, [made[0].id], now=now)
    return Taken(response, id, _items(connection, id, [made]))


def _payloads(said: Feedback) -> list[tuple[Kind, dict[str, Any]]]:
    """Return a reaction for each thing that was said; the comment and the tags stand beside the first."""
    found: list[tuple[Kind, dict[str, Any]]] = []
    if said.thumb is not None:
        found.append(("thumb", {"up": said.thumb, "reasons": [tag for tag in said.tags if tag in REASONS]}))
    if said.score is not None:
        found.append(("score", {"score": said.score}))
    if said.correction is not None:
        found.append(("correction", {"text": said.correction}))
    if said.choice is not None:
        found.append(("choice", {"choice": _CHOICE[said.choice.better]}))
    if not found and (said.comment.strip() or said.tags):
        found.append(("comment", {}))
    if found:
        found[0][1].update({"note": said.comment, "tags": list(said.tags)})
    return found


def _at(answers: Sequence[Turn], index: int) -> Turn:
    if not 0 <= index < len(answers):
        raise NotTaken("the response has no answer of this index", code="no_such_response", status=404, param="index")
    return answers[index]


def _other(connection: Connection, app: App, choice: Over, user: str, turn: Turn) -> Turn:
    _, _, answers = answers_of(connection, app, choice.other, user)
    other = _at(answers, choice.index)
    if other.id == turn.id:
        raise NotTaken("a response is compared with itself", code="invalid_value", status=400, param="choice")
    if other.parent != turn.parent and asked_before(connection, other.id) != asked_before(connection, turn.id):
        what = "the two responses answer different conversations"
        raise NotTaken(what, code="different_conversations", status=400, param="choice")
    return other


def _agree(connection: Connection, app: App, id: str, given: bool | None, now: datetime) -> None:
    if given is None:
        return
    before = consents.of(connection, id)
    if before is None or before.given != given:
        consents.write(connection, id, given, version=version_of(app.terms), now=now)
    if not given:
        review.lapse_within(connection, id, now=now)


def _items(connection: Connection, user: str, made: Sequence[tuple[Reaction, list[str]]]) -> tuple[Item, ...]:
    given = consents.of(connection, user)
    state: State = "waiting_for_review" if given and given.given else "waiting_for_consent"
    return tuple(Item(reaction.id, shown(reaction.kind), state, tuple(replaced)) for reaction, replaced in made)


def _theirs(connection: Connection, app: App, id: str) -> tuple[Reaction, str]:
    r, t, q = schema.reactions, schema.turns, schema.app_requests
    reaction = next(iter(found(connection, r.c.id == id)), None) if id.isprintable() and id.isascii() else None
    response = None
    if reaction:
        query = select(q.c.response).join(t, t.c.conversation == q.c.conversation).where(t.c.id == reaction.turn, q.c.app == app.name)
        response = connection.scalar(query)
    if reaction is None or response is None:
        raise NotTaken("there is no such feedback", code="no_such_feedback", status=404)
    return reaction, response


def _state(connection: Connection, reaction: Reaction) -> State:
    if reaction.state != "waiting":
        return reaction.state
    given = consents.of(connection, reaction.user)
    return "waiting_for_review" if given and given.given else "waiting_for_consent"
