"""Formats of conversations: OpenAI's messages, ShareGPT, and OpenAssistant's trees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from accord.data.row_extra import columns, describe, judged, keyed, noted
from accord.data.row_records import (
    ANSWERS,
    MOST,
    Taken,
    answered,
    conversation,
    demonstrated,
    make_prompt,
    ranked,
    unusable,
)
from accord.data.rows import Fault, Row
from accord.errors import InputError
from accord.records import Message, Prompt

SAID_OF = ("labels", "emojis", "detoxify")
"""What OpenAssistant's reviewers said of a message."""


def messages(row: Row) -> Taken:
    """Read OpenAI's chat format: a conversation ending with the assistant is a demonstration of that turn, any other is a prompt."""
    return _ended(row, conversation(row, "messages"), "messages")


def sharegpt(row: Row) -> Taken:
    """Read turns with ``from`` (human, gpt, system) and ``value``. The last answer is the demonstration; a question after it is left
    out."""
    field = "conversations" if row.has("conversations") else "conversation"
    if any(isinstance(turn, dict) and "content" in turn for turn in row.items(field)):
        turns = conversation(row, field)
    else:
        turns = conversation(row, field, role="from", content="value")
    return _ended(row, turns, field)


LEARNED = ("weight", "loss_weight", "loss", "train", "training")
"""Fields of a turn that say whether it is to be learned: 0 or false, and it is not."""


def _not_to_learn(row: Row, field: str) -> bool:
    """Return whether the last turn says that it is not to be learned; of earlier turns only the last one's weight matters."""
    said = [[turn.raw(name) for name in LEARNED if name in turn.value] for turn in row.rows(field)]
    return bool(said) and any(value is False or value == 0 or value == "0" for value in said[-1])


def _ended(row: Row, turns: tuple[Message, ...], field: str) -> Taken:
    if not turns or turns[-1].role == "system":
        raise row.error(field, "a conversation without a user turn")
    beside = columns(row, "tools", "functions", "parallel_tool_calls")
    if turns[-1].role == "user":
        prompt = make_prompt(row, turns, beside=ANSWERS)
        reason = unusable(prompt)
        return Taken(dropped=reason) if reason else noted(Taken((prompt,)), beside)
    if _not_to_learn(row, field):
        return Taken(dropped="answer of weight 0, which is not to be learned")
    return noted(demonstrated(row, make_prompt(row, turns[:-1]), turns[-1].content), beside)


def openassistant(row: Row) -> Taken:
    """Read a tree of messages (Köpf et al. 2023, arXiv 2304.07327), with its root in ``prompt`` or in the row itself.

    Ranked replies of the assistant become a ranking, a human's only reply becomes a demonstration, other replies become responses to
    rank. Deleted messages and those that review did not accept are left out, with everything below them.
    """
    root = row.row("prompt") if isinstance(row.peek("prompt"), dict) else row
    taken = _replies(root, ())
    return taken if taken.records or taken.dropped else Taken(dropped="no reply of the assistant")


def _replies(message: Row, before: tuple[Message, ...]) -> Taken:
    """Return the records of the part of a tree below a message."""
    if reason := _refused(message):
        message.pass_over()
        return Taken(dropped=reason)
    said = (*before, Message("user" if message.text("role") == "prompter" else "assistant", message.text("text")))
    replies = message.rows("replies") if message.has("replies") else ()
    sound = [reply for reply in replies if not _refused(reply)]
    taken = _answers(message, said, sound) if said[-1].role == "user" else _prompters(sound)
    for reply in replies:
        taken += _replies(reply, said)
    return taken


def _prompters(replies: list[Row]) -> Taken:
    """Count the ranks of users' replies to one answer, which order prompts and no responses."""
    ranks = [reply.raw("rank") for reply in replies if reply.has("rank")]
    return Taken(left_out=("rank of a user's turn",) * len(ranks))


def _refused(message: Row) -> str:
    if message.has("deleted") and message.truth("deleted"):
        return "deleted message"
    accepted = "review_result" not in message.value or (message.has("review_result") and message.truth("review_result"))
    return "" if accepted else "message that review did not accept"


def _answers(message: Row, said: tuple[Message, ...], replies: list[Row]) -> Taken:
    if not replies:
        return Taken()
    prompt = make_prompt(message, said, user=message.word("user_id"))
    best = sorted((reply for reply in replies if reply.has("rank")), key=lambda reply: reply.number("rank"))
    taken = Taken()
    if len(best) >= 2:
        kept, beyond = best[:MOST], best[MOST:]
        ranks = [reply.whole("rank") - kept[0].whole("rank") + 1 for reply in kept]
        taken += judged(
            ranked(message, prompt, [r.text("text") for r in kept], ranks, models=[_writer(r) for r in kept]),
            columns(message, "lang"),
            [columns(reply, *SAID_OF) for reply in kept],
        )
        taken += Taken(left_out=("ranked reply beyond the ninth",) * len(beyond))
    for reply in replies if len(best) < 2 else [reply for reply in replies if not reply.has("rank")]:
        taken += _unranked(reply, prompt, alone=len(replies) == 1)
    return taken


def _unranked(reply: Row, prompt: Prompt, *, alone: bool) -> Taken:
    reply.raw("rank")  # of a reply without another beside it, which says nothing
    response = answered(prompt, reply.text("text"), _writer(reply))
    about = columns(reply, *SAID_OF)
    said = keyed("judgement", {**columns(reply, "lang"), "responses": [describe(response, about)]}) if about else {}
    written = not reply.has("synthetic") or not reply.truth("synthetic")
    if alone and written:
        return noted(demonstrated(reply.like({"labeler": reply.word("user_id")}), prompt, reply.text("text")), said)
    if reason := unusable(prompt, reply.text("text")):
        return Taken(dropped=reason)
    return noted(Taken((prompt, response)), said)


def _writer(reply: Row) -> str:
    """Return the writer of a reply: the model's name, or "people"."""
    synthetic = reply.has("synthetic") and reply.truth("synthetic")
    return reply.word("model_name", "model") if synthetic else "people"


def trees(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    """Turn flat rows, one message each, into trees. A tree's rows are adjacent in the file and share a ``message_tree_id``, parents
    first."""
    for _, group in groupby(rows, key=lambda row: row.peek("message_tree_id")):
        together = list(group)
        try:
            yield from _tree(together)
        except InputError as error:
            yield together[0].fault(error)


def _tree(rows: list[Row]) -> list[Row]:
    by_id: dict[str, dict[str, Any]] = {}
    for row in rows:
        message = {**row.value, "replies": list[Any]()}
        parent = by_id.get(row.word("parent_id")) if row.has("parent_id") else None
        if parent is None and row.has("parent_id"):
            hint = "the messages of a tree must be adjacent, parents first"
            raise row.error("parent_id", "no message before it in its tree has this id", hint)
        by_id[row.word("message_id")] = message
        if parent is not None:
            parent["replies"].append(message)
    roots = [row for row in rows if not row.has("parent_id")]
    return [row.like(by_id[row.word("message_id")]) for row in roots]
