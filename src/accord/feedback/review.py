"""Review of chat users' reactions before models learn from them: only with consent in force, and after a lead has looked.

A record made here is in the same tables as labelers' records. Its labeler has the kind "user" and the group "users", so that you can
distinguish, count, measure separately (``held_out_group = "users"``) or leave out these records. Its id and its prompt's source name the
turns of the chat that it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from accord.feedback import consents, provenance, schema
from accord.feedback.answers import CORRECTION
from accord.feedback.audit import note
from accord.feedback.chats import Turn, messages, told
from accord.feedback.inserts import add_demonstrations, add_rankings, add_responses, add_rows, by_id, insert_rows
from accord.feedback.moderation import Finding, Screen, redacted
from accord.feedback.provenance import Provenance
from accord.feedback.reactions import Reaction, found, withdraw_records
from accord.feedback.refusals import Refused
from accord.feedback.rows import of_prompt
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn, withdrawn_ids
from accord.records import Demonstration, Guideline, Message, Prompt, Ranking, Response, ResponseFlag

GROUP = "users"
GUIDELINE = Guideline("training", "chat")
"""The guideline of chat users' records: they read none."""
RANKS = {"first": (1, 2), "second": (2, 1), "tie": (1, 1), "both_bad": (1, 1)}
FLAGS: dict[str, ResponseFlag] = {"harmful": "gives_harmful_advice", "untrue": "hallucination"}
"""Reasons of a thumb down as flags of the labeling site."""
REPORTED: ResponseFlag = "inappropriate_for_customer_assistant"


@dataclass(frozen=True, slots=True)
class Item:
    """A reaction as a lead reviews it: the training record, with personal data already removed."""

    reaction: Reaction
    messages: tuple[Message, ...]
    answers: tuple[Turn, ...]
    text: str
    """The correction or the note, without personal data."""
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


def accept(store: Store, id: str, *, by: str, screen: Screen, now: datetime, held_out: float = 0.0) -> list[tuple[str, str]]:
    """Create the records of a reaction in one transaction with the review; return the kind and id of each.

    Args:
        by: the lead's account.
        held_out: share of the users, chosen by id, whose prompts are used for evaluation, not for training.

    Raises:
        Refused: it was already reviewed or is no longer valid (409), or its user's consent is not in force (403).
    """
    with store.write() as connection:
        item = _item(connection, _open(connection, id), screen)
        made = _records(connection, item, held_out, now)
        _review(connection, id, "accepted", made, by, "", now)
        return made


def refuse(store: Store, id: str, *, by: str, why: str, now: datetime) -> None:
    """Keep a reaction out of training; its user still sees it. Raises Refused as ``accept`` does."""
    with store.write() as connection:
        _open(connection, id)
        _review(connection, id, "refused", [], by, why, now)


def lapse(store: Store, user: str, *, now: datetime) -> int:
    """Exclude all records of a user's reactions from training after consent was withdrawn. Return their number."""
    with store.write() as connection:
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
    id = f"chat-{user}"
    add_rows(connection, people, [{"id": id, "kind": "user", "group": GROUP}])
    return id


def _reviewable() -> list[Any]:
    r, t, c = schema.reactions, schema.turns, schema.consents
    last = select(c.c.given).where(c.c.user == r.c.user).order_by(c.c.number.desc()).limit(1).scalar_subquery()
    conversation = select(t.c.conversation).where(t.c.id == r.c.turn).scalar_subquery()
    return [~is_withdrawn("reaction", r.c.id), last.is_(True), ~is_withdrawn("conversation", conversation)]


def _open(connection: Connection, id: str) -> Reaction:
    """Return a reaction that may be reviewed."""
    r = schema.reactions
    reaction = next(iter(found(connection, r.c.id == id)), None) if id.isprintable() else None
    if reaction is None or reaction.state not in ("waiting", "lapsed"):
        raise Refused("reviewed", 409, id)
    given = consents.of(connection, reaction.user)
    if given is None or not given.given:
        raise Refused("no_consent", 403, id)
    return reaction


def _item(connection: Connection, reaction: Reaction, screen: Screen) -> Item:
    conversation, said = told(connection, reaction.turn)
    answers = [said[-1], *(told(connection, reaction.other)[1][-1:] if reaction.other else ())]
    asked = messages(conversation, said[:-1])
    text = str(reaction.payload.get("text") or reaction.payload.get("note") or "")
    findings = list[Finding]()
    for part in (*(message.content for message in asked), *(answer.text for answer in answers), text):
        findings += screen(part)

    def clean(part: str) -> str:
        return redacted(part, screen(part))

    return Item(
        reaction,
        tuple(replace(message, content=clean(message.content)) for message in asked),
        tuple(replace(answer, text=clean(answer.text)) for answer in answers),
        clean(text),
        tuple(findings),
    )


def _records(connection: Connection, item: Item, held_out: float, now: datetime) -> list[tuple[str, str]]:
    labeler = voice(connection, item.reaction.user)
    prompt = _prompt(connection, item, labeler, held_out, now)
    suffix = prompt.id.removeprefix(f"chat-{item.answers[0].parent}")
    responses = [Response(f"chat-{a.id}{suffix}", prompt.id, a.text, a.signature, (), a.finish == "stop") for a in item.answers]
    wanted = {response.id for response in responses}
    there = {row["id"] for row in by_id(connection, schema.responses, wanted)}
    add_responses(connection, [response for response in responses if response.id not in there])
    id = f"chat-{item.reaction.id}{_suffix(connection, item.reaction.id)}"
    made = [("prompt", prompt.id), *(("response", response.id) for response in responses)]
    match item.reaction.kind:
        case "choice":
            made.append(_rank(connection, id, prompt, responses, RANKS[item.reaction.payload["choice"]], labeler, now))
        case "correction":
            written = Response(f"r-{id}", prompt.id, item.text, CORRECTION)
            add_responses(connection, [written])
            add_demonstrations(connection, [Demonstration(id, prompt, item.text, labeler)])
            made += [("response", written.id), ("demonstration", id)]
            made.append(_rank(connection, id, prompt, [written, responses[0]], (1, 2), labeler, now))
        case "thumb" | "report":
            up, flags = _thumb(item.reaction)
            row = {"id": id, "prompt_id": prompt.id, "response_id": responses[0].id, "labeler": labeler, "up": up}
            insert_rows(connection, schema.thumbs, [row | {"flags": json.dumps(flags), "at": now.isoformat()}])
            made.append(("thumb", id))
    return made


def _prompt(connection: Connection, item: Item, labeler: str, held_out: float, now: datetime) -> Prompt:
    """Return the prompt of the turn that was answered, reusing a valid existing one."""
    asked = item.answers[0].parent
    p = schema.prompts
    like = (f"chat-{asked}", *(f"chat-{asked}-{n}" for n in range(2, 1000)))
    taken = len(list(withdrawn_ids(connection, "prompt", like)))
    id = like[taken]
    held = int(hashlib.sha256(f"held out {labeler}".encode()).hexdigest()[:8], 16) / 16**8 < held_out
    conversation = item.answers[0].conversation
    prompt = Prompt(id, item.messages, "chat", labeler, "validation" if held else "train", f"chat {conversation} {asked}")
    if connection.scalar(select(p.c.id).where(p.c.id == id)) is None:
        add_rows(connection, p, [of_prompt(prompt)])
        papers = Provenance(id, "chat", consent="given", terms=consents.VERSION, at=now.isoformat())
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
