"""Review of chat users' reactions before models learn from them: only with consent in force, and after a lead has looked.

A record made here is in the same tables as labelers' records. Its labeler has the kind "user" and the group "users", so that you can
distinguish, count, measure separately (``held_out_group = "users"``) or leave out these records. Its id and its prompt's source name the
turns of the chat, or the app and its response, that it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select

from accord.feedback import consents, provenance, schema
from accord.feedback.answers import CORRECTION
from accord.feedback.apps import GROUP, Request, request_of
from accord.feedback.audit import note
from accord.feedback.chats import Turn, messages, out_of_documents, told
from accord.feedback.inserts import add_demonstrations, add_rankings, add_responses, add_rows, by_id, insert_rows
from accord.feedback.moderation import Finding, Screen, redacted, remembered
from accord.feedback.provenance import Provenance
from accord.feedback.reactions import Reaction, found, withdraw_records
from accord.feedback.refusals import Refused
from accord.feedback.rows import of_prompt
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn, withdrawn_ids
from accord.records import Demonstration, Guideline, Message, Prompt, Ranking, Response, ResponseFlag

GUIDELINE = Guideline("training", "chat")
"""The guideline of chat users' records: they read none."""
RANKS = {"first": (1, 2), "second": (2, 1), "tie": (1, 1), "both_bad": (1, 1)}
FLAGS: dict[str, ResponseFlag] = {"harmful": "gives_harmful_advice", "untrue": "hallucination"}
"""Reasons of a thumb down as flags of the labeling site."""
REPORTED: ResponseFlag = "inappropriate_for_customer_assistant"
LIKED, DISLIKED = 0.6, 0.4
"""A score above the first is a thumb up, one below the second a thumb down; one between them makes no record."""


@dataclass(frozen=True, slots=True)
class Item:
    """A reaction as a lead reviews it: the training record, with personal data already removed."""

    reaction: Reaction
    messages: tuple[Message, ...]
    answers: tuple[Turn, ...]
    """None for a prompt."""
    text: str
    """The correction or the note, without personal data."""
    asked: Turn
    """The user's turn that was answered."""
    request: Request | None
    """The app's request behind the conversation; None in the chat."""
    remark: str
    """The note beside a correction."""
    findings: tuple[Finding, ...]
    """Findings in all its texts, with positions in the respective text."""

    @property
    def clean(self) -> bool:
        """Return whether all findings can be handled by removal."""
        return all(finding.what == "personal" for finding in self.findings)


def waiting(store: Store, screen: Screen, *, limit: int = 50) -> list[Item]:
    """Return the reactions that wait for review, oldest first: valid, from users whose consent is in force."""
    with store.read() as connection:
        reactions = [r for r in found(connection, *_reviewable()) if r.state in ("waiting", "lapsed")]
        return [_item(connection, reaction, screen) for reaction in reactions[::-1][:limit]]


def count_waiting(store: Store) -> int:
    """Return the number of reactions that wait for review."""
    with store.read() as connection:
        return sum(r.state in ("waiting", "lapsed") for r in found(connection, *_reviewable()))


def may_look(store: Store, turn: str) -> bool:
    """Return whether a lead may look into a turn of the chat: its user reacted to it, and agreed to a review."""
    r = schema.reactions
    with store.read() as connection:
        return bool(found(connection, *_reviewable(), or_(r.c.turn == turn, r.c.other == turn)))


def accept(store: Store, id: str, *, by: str, screen: Screen, now: datetime, held_out: float = 0.0) -> list[tuple[str, str]]:
    """Create the records of a reaction in one transaction with the review; return the kind and id of each.

    Args:
        by: the lead's account.
        held_out: share of the users, chosen by id, whose prompts are used for evaluation, not for training.

    Raises:
        Refused: it was already reviewed or is no longer valid (409), or its user's consent is not in force (403).
    """
    known = remembered(screen)
    with store.read() as connection:
        item_of(connection, id, known)  # the texts are screened here, while others may write
    with store.write() as connection:
        return accept_within(connection, item_of(connection, id, known), by=by, now=now, held_out=held_out)


def accept_within(connection: Connection, item: Item, *, by: str, now: datetime, held_out: float = 0.0) -> list[tuple[str, str]]:
    """Create the records of an open reaction inside a transaction."""
    made = _records(connection, item, held_out, now)
    _review(connection, item.reaction.id, "accepted", made, by, "", now)
    return made


def item_of(connection: Connection, id: str, screen: Screen) -> Item:
    """Return a reaction as it is reviewed. Raises Refused as ``accept`` does."""
    return _item(connection, _open(connection, id), screen)


def refuse(store: Store, id: str, *, by: str, why: str, now: datetime) -> None:
    """Keep a reaction out of training; its user still sees it. Raises Refused as ``accept`` does."""
    with store.write() as connection:
        _open(connection, id)
        _review(connection, id, "refused", [], by, why, now)


def lapse(store: Store, user: str, *, now: datetime) -> int:
    """Exclude all records of a user's reactions from training after consent was withdrawn. Return their number."""
    with store.write() as connection:
        return lapse_within(connection, user, now=now)


def lapse_within(connection: Connection, user: str, *, now: datetime) -> int:
    """Exclude the records as ``lapse`` does, inside a transaction."""
    r = schema.reactions
    accepted = [one for one in found(connection, r.c.user == user, ~is_withdrawn("reaction", r.c.id)) if one.state == "accepted"]
    for reaction in accepted:
        withdraw_records(connection, reaction.id, by=user, why="consent withdrawn", now=now)
        _review(connection, reaction.id, "lapsed", [], user, "consent withdrawn", now)
    return len(accepted)


def voice(connection: Connection, user: str) -> str:
    """Return the labeler under whom a user's reactions become records: of kind "user", whatever other roles the person has."""
    people = schema.labelers
    if connection.scalar(select(people.c.kind).where(people.c.id == user)) == "user":
        return user
    id = voice_of(user)
    add_rows(connection, people, [{"id": id, "kind": "user", "group": GROUP}])
    return id


def voice_of(user: str) -> str:
    """Return the name under which the chats of somebody with another role than user become records."""
    return f"chat-{user}"


def _reviewable() -> list[Any]:
    r, c = schema.reactions, schema.consents
    last = select(c.c.given).where(c.c.user == r.c.user).order_by(c.c.number.desc()).limit(1).scalar_subquery()
    kept = [~is_withdrawn("conversation", _conversation(turn)) for turn in (r.c.turn, r.c.other)]
    return [~is_withdrawn("reaction", r.c.id), last.is_(True), *kept, ~_is_quoted()]


def _is_quoted() -> Any:
    """Return whether a reaction is about a response out of documents, or after one."""
    r = schema.reactions
    return or_(out_of_documents(r.c.turn), out_of_documents(r.c.other))


def _conversation(turn: Any) -> Any:
    """Return the query for a turn's conversation; a column of the reactions is the outermost query's, however deep this stands."""
    t = schema.turns
    return select(t.c.conversation).where(t.c.id == turn).correlate(schema.reactions).scalar_subquery()


def _open(connection: Connection, id: str) -> Reaction:
    """Return a reaction that may be reviewed."""
    r = schema.reactions
    reaction = next(iter(found(connection, r.c.id == id, ~_is_quoted())), None) if id.isprintable() else None
    if reaction is None or _gone(connection, reaction) or reaction.state not in ("waiting", "lapsed"):
        raise Refused("reviewed", 409, id)
    given = consents.of(connection, reaction.user)
    if given is None or not given.given:
        raise Refused("no_consent", 403, id)
    return reaction


def _gone(connection: Connection, reaction: Reaction) -> bool:
    """Return whether a conversation that a reaction is about was emptied, the second one of a choice included."""
    return any(connection.scalar(select(is_withdrawn("conversation", _conversation(turn)))) for turn in (reaction.turn, reaction.other))


def _item(connection: Connection, reaction: Reaction, screen: Screen) -> Item:
    conversation, said = told(connection, reaction.turn)
    answers = list[Turn]()
    if reaction.kind != "prompt":
        answers = [said[-1], *(told(connection, reaction.other)[1][-1:] if reaction.other else ())]
        said = said[:-1]
    asked = messages(conversation, said)
    noted = str(reaction.payload.get("note") or "")
    text = str(reaction.payload.get("text") or noted)
    remark = noted if text != noted else ""
    screen, findings = remembered(screen), list[Finding]()
    for part in (*(message.content for message in asked), *(answer.text for answer in answers), text, remark):
        findings += screen(part)

    def clean(part: str) -> str:
        return redacted(part, screen(part))

    return Item(
        reaction,
        tuple(replace(message, content=clean(message.content)) for message in asked),
        tuple(replace(answer, text=clean(answer.text)) for answer in answers),
        clean(text),
        said[-1],
        request_of(connection, conversation.id),
        clean(remark),
        tuple(findings),
    )


def _records(connection: Connection, item: Item, held_out: float, now: datetime) -> list[tuple[str, str]]:
    if item.reaction.kind == "comment":
        return []
    kind, payload = item.reaction.kind, item.reaction.payload
    if kind == "score" and DISLIKED <= payload["score"] <= LIKED:
        return []
    labeler, prefix = voice(connection, item.reaction.user), "api" if item.request else "chat"
    prompt = _prompt(connection, item, labeler, prefix, held_out, now)
    made = [("prompt", prompt.id)]
    id = f"{prefix}-{item.reaction.id}{_suffix(connection, item.reaction.id)}"
    if kind == "prompt":
        return made
    if kind == "written":
        add_demonstrations(connection, [Demonstration(id, prompt, item.answers[0].text, labeler)])
        return [*made, ("demonstration", id)]
    suffix = prompt.id.removeprefix(f"{prefix}-{item.asked.id}")
    responses = list[Response]()
    for answer in item.answers:
        # The second answer of a choice may be of another request with the same messages, which is a prompt of its own.
        of_other = "" if answer.parent == item.asked.id else f"-to-{item.asked.id}"
        id_of = f"{prefix}-{answer.id}{of_other}{suffix}"
        responses.append(Response(id_of, prompt.id, answer.text, answer.signature, (), answer.finish == "stop"))
    wanted = {response.id for response in responses}
    there = {row["id"] for row in by_id(connection, schema.responses, wanted)}
    add_responses(connection, [response for response in responses if response.id not in there])
    made += [("response", response.id) for response in responses]
    match kind:
        case "survey":  # the mark is read from the reaction: ``accord.feedback.returns``
            pass
        case "choice":
            made.append(_rank(connection, id, prompt, responses, RANKS[payload["choice"]], labeler, now))
        case "correction":
            written = Response(f"r-{id}", prompt.id, item.text, CORRECTION)
            add_responses(connection, [written])
            add_demonstrations(connection, [Demonstration(id, prompt, item.text, labeler)])
            made += [("response", written.id), ("demonstration", id)]
            made.append(_rank(connection, id, prompt, [written, responses[0]], (1, 2), labeler, now))
        case "thumb" | "report" | "score":
            up, flags = _thumb(item.reaction)
            row = {"id": id, "prompt_id": prompt.id, "response_id": responses[0].id, "labeler": labeler, "up": up}
            insert_rows(connection, schema.thumbs, [row | {"flags": json.dumps(flags), "at": now.isoformat()}])
            made.append(("thumb", id))
    return made


def _prompt(connection: Connection, item: Item, labeler: str, prefix: str, held_out: float, now: datetime) -> Prompt:
    """Return the prompt of the turn that was answered, reusing a valid existing one."""
    asked, p = item.asked.id, schema.prompts
    like = (f"{prefix}-{asked}", *(f"{prefix}-{asked}-{n}" for n in range(2, 1000)))
    taken = len(list(withdrawn_ids(connection, "prompt", like)))
    id = like[taken]
    held = int(hashlib.sha256(f"held out {labeler}".encode()).hexdigest()[:8], 16) / 16**8 < held_out
    origin, terms = f"chat {item.asked.conversation} {asked}", consents.VERSION
    if item.request:
        origin, terms = f"api {item.request.response} {item.request.app}", item.request.terms
    prompt = Prompt(id, item.messages, "chat", labeler, "validation" if held else "train", origin)
    if connection.scalar(select(p.c.id).where(p.c.id == id)) is None:
        add_rows(connection, p, [of_prompt(prompt)])
        papers = Provenance(id, prefix, consent="given", terms=terms, at=now.isoformat())
        provenance.write(connection, [papers])
    return prompt


def _rank(
    connection: Connection, id: str, prompt: Prompt, shown: Sequence[Response], ranks: tuple[int, int], labeler: str, now: datetime
) -> tuple[str, str]:
    ids = tuple(response.id for response in shown)
    add_rankings(connection, [Ranking(id, prompt.id, labeler, ids, ranks, GUIDELINE, now.isoformat())])
    return ("ranking", id)


def _thumb(reaction: Reaction) -> tuple[bool, list[ResponseFlag]]:
    """Return a thumb; a report is a thumb down with a flag."""
    if reaction.kind == "report":
        return False, [REPORTED]
    if reaction.kind == "score":
        return reaction.payload["score"] > LIKED, []
    up = bool(reaction.payload["up"])
    return up, [] if up else [FLAGS[reason] for reason in reaction.payload["reasons"] if reason in FLAGS]


def _suffix(connection: Connection, reaction: str) -> str:
    """Return a suffix that gives the records of a re-accepted reaction other ids than the withdrawn ones."""
    v = schema.reviews
    before = connection.scalar(select(func.count()).where(v.c.reaction == reaction, v.c.verdict == "accepted")) or 0
    return f"-{before + 1}" if before else ""


def _review(connection: Connection, reaction: str, verdict: str, made: Sequence[tuple[str, str]], by: str, why: str, now: datetime) -> None:
    values = {"reaction": reaction, "verdict": verdict, "records": json.dumps(made), "by": by, "why": why, "at": now.isoformat()}
    connection.execute(insert(schema.reviews).values(values))
    note(connection, who=by, what=f"review {verdict}", on=reaction, why=why, at=now)
