"""The answer that is to be explained, and the other answers to its prompt: a stored response, a chat turn, or a prompt and a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from accord.data import personal
from accord.errors import InputError, UsageError
from accord.feedback import schema
from accord.feedback.chats import Turn, messages, told
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import Message, Prompt, Ranking, Response, conversation_key

GIVEN = "given"
"""Id, and model, of a text that was typed."""


@dataclass(frozen=True)
class Answer:
    """An answer, its prompt, the other answers to the prompt, and the rankings of them."""

    prompt: Prompt
    response: Response
    others: tuple[Response, ...]
    rankings: tuple[Ranking, ...]

    def preferred(self, other: Response) -> tuple[int, int, int]:
        """Return how many labelers ranked this answer above the other, below it, and beside it."""
        above = below = beside = 0
        for ranking in self.rankings:
            place = dict(zip(ranking.response_ids, ranking.ranks, strict=True))
            if self.response.id in place and other.id in place:
                own, their = place[self.response.id], place[other.id]
                above, below, beside = above + (own < their), below + (own > their), beside + (own == their)
        return above, below, beside


def find_answer(store: Store, id: str, prompt: str, text: str, against: Sequence[str]) -> Answer:
    """Return the answer that the command names, with whatever else was answered to its prompt.

    Raises:
        UsageError: neither an id nor a prompt and a text is given, or both are.
        InputError: nothing has this id, or its text is gone.
    """
    if bool(id) == bool(prompt and text) or bool(prompt) != bool(text):
        hint = "accord explain PROJECT RESPONSE, or accord explain PROJECT --prompt QUESTION --text ANSWER"
        raise UsageError("name one answer: by its id, or by its prompt and its text", where="explain", hint=hint)
    found = _stored(store, id) if id else _typed(store, prompt, text)
    typed = tuple(Response(f"{GIVEN} {n}", found.prompt.id, each, GIVEN) for n, each in enumerate(against, 1))
    others, seen = list[Response](), {found.response.text}
    for other in (*typed, *found.others):
        if other.text not in seen:
            seen.add(other.text)
            others.append(other)
    return Answer(found.prompt, found.response, tuple(others), found.rankings)


def _stored(store: Store, id: str) -> Answer:
    response = next(iter(store.responses(ids=[id])), None)
    if response is None:
        return _of_chat(store, id)
    prompt = next(iter(store.prompts(ids=[response.prompt_id])))
    return _with_others(store, prompt, response)


def _with_others(store: Store, prompt: Prompt, response: Response) -> Answer:
    r, k = schema.responses, schema.rankings
    with store.read() as connection:
        ids = list(connection.scalars(select(r.c.id).where(r.c.prompt_id == prompt.id)))
        ranked = list(connection.scalars(select(k.c.id).where(k.c.prompt_id == prompt.id)))
    others = [other for other in store.responses(ids=ids) if other.id != response.id]
    return Answer(prompt, response, tuple(others), tuple(store.rankings(ids=ranked)))


def _typed(store: Store, prompt: str, text: str) -> Answer:
    asked = (Message("user", prompt),)
    key = conversation_key(asked)
    known = next((each for each in store.prompts() if conversation_key(each.messages) == key), None)
    if known is None:
        return Answer(Prompt(GIVEN, asked), Response(GIVEN, GIVEN, text, GIVEN), (), ())
    found = _with_others(store, known, Response(GIVEN, known.id, text, GIVEN))
    same = next((other for other in found.others if other.text == text), None)
    return found if same is None else _with_others(store, known, same)


def _of_chat(store: Store, id: str) -> Answer:
    """Return a turn of the chat as it would be learned from: without the personal data that is found in it."""
    t = schema.turns
    with store.read() as connection:
        role = connection.scalar(select(t.c.role).where(t.c.id == id)) if id.isprintable() else None
        if role != "assistant":
            hint = "`accord export PROJECT responses.jsonl` lists responses; the chat's page names turns"
            raise InputError(f"no response and no answer of the chat is called {id!r}", where="explain", hint=hint)
        conversation, said = told(connection, id)
        if connection.scalar(select(is_withdrawn("conversation", conversation.id))):
            raise InputError(f"the conversation of {id!r} was deleted", where="explain", hint="choose another answer")
        asked = messages(conversation, said[:-1])
        brothers = _brothers(connection, said[-1])
    prompt = Prompt(f"chat-{said[-1].parent}", tuple(replace(each, content=_clean(each.content)) for each in asked), "chat")
    responses = [Response(turn.id, prompt.id, _clean(turn.text), turn.model, (), turn.finish == "stop") for turn in (said[-1], *brothers)]
    return Answer(prompt, responses[0], tuple(responses[1:]), ())


def _brothers(connection: Connection, turn: Turn) -> list[Turn]:
    t = schema.turns
    same = (t.c.conversation == turn.conversation, t.c.parent == turn.parent, t.c.role == "assistant", t.c.id != turn.id)
    ids = list(connection.scalars(select(t.c.id).where(*same).order_by(t.c.place)))
    return [told(connection, id)[1][-1] for id in ids]


def _clean(text: str) -> str:
    return personal.redact(text).text
