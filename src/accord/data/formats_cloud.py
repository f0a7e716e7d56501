"""Rows of the clouds' tuning services: Amazon Bedrock's converse and Nova forms, Vertex AI's Gemini and PaLM forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accord.data.row_extra import judged
from accord.data.row_records import (
    MOST,
    NAMES,
    Taken,
    demonstrated,
    make_prompt,
    places,
    ranked,
    unusable,
)
from accord.data.rows import Row, first_object
from accord.records import Message, Prompt

_PREFERRED = {"preferred": 1.0, "non-preferred": 0.0, "non_preferred": 0.0}


def converse(row: Row) -> Taken:
    """Read Bedrock's conversations: ``schemaVersion``, ``system`` and ``messages`` whose content is a list of {"text": ...}.

    A last turn with ``candidates``, each with a ``preferenceLabel``, is a ranking, as Nova's preference tuning has it.
    """
    row.raw("schemaVersion")
    turns = row.rows("messages")
    if turns and turns[-1].has("candidates"):
        return _candidates(row, turns)
    return _ended(row, (*_system(row, "system"), *(_message(turn, "content") for turn in turns)), "messages")


def _candidates(row: Row, turns: Sequence[Row]) -> Taken:
    last = turns[-1]
    prompt = make_prompt(row, _ordered(row, (*_system(row, "system"), *(_message(turn, "content") for turn in turns[:-1])), "messages"))
    texts, scores = list[str](), list[float]()
    last.raw("role")
    for candidate in last.rows("candidates"):
        label = candidate.word("preferenceLabel").lower()
        if label not in _PREFERRED:
            raise candidate.error("preferenceLabel", f"{label!r} is neither preferred nor non-preferred")
        texts.append(_text(candidate, "content"))
        scores.append(_PREFERRED[label])
    return _ranked(row, prompt, texts, scores)


def gemini(row: Row) -> Taken:
    """Read Vertex AI's rows: ``systemInstruction`` and ``contents`` of role and ``parts``, as Gemini's supervised tuning has them.

    With ``completions``, each with a ``score``, the row is a ranking of them, as in preference tuning.
    """
    contents = tuple(_message(turn, "parts") for turn in row.rows("contents"))
    system = next((name for name in ("systemInstruction", "system_instruction") if row.has(name)), "systemInstruction")
    messages = (*_system(row, system), *contents)
    if not row.has("completions"):
        return _ended(row, messages, "contents")
    prompt = make_prompt(row, _ordered(row, messages, "contents"))
    given = row.rows("completions")
    texts = [_text(completion.row("completion"), "parts") for completion in given]
    for completion in given:
        completion.row("completion").raw("role")
    return _ranked(row, prompt, texts, [completion.number("score") for completion in given])


def text_pairs(row: Row) -> Taken:
    """Read PaLM's tuning rows: ``input_text`` and ``output_text``, a demonstration; or ``candidate_0``, ``candidate_1`` and ``choice``."""
    prompt = make_prompt(row, (Message("user", row.text("input_text")),))
    if not row.has("candidate_0"):
        return demonstrated(row, prompt, row.text("output_text"))
    choice = row.whole("choice")
    if choice not in (0, 1):
        raise row.error("choice", f"{choice} is neither 0 nor 1")
    return ranked(row, prompt, (row.text("candidate_0"), row.text("candidate_1")), (1, 2) if choice == 0 else (2, 1))


def of_contents(value: dict[str, Any]) -> bool:
    """Return whether the turns of a row have Gemini's parts."""
    return "parts" in first_object(value, "contents")


def of_parts(value: dict[str, Any]) -> bool:
    """Return whether the turns of a row have content in Bedrock's parts, which name no type."""
    part = first_object(first_object(value, "messages"), "content")
    return "schemaVersion" in value or ("text" in part and "type" not in part)


def _ranked(row: Row, prompt: Prompt, texts: Sequence[str], scores: Sequence[float]) -> Taken:
    if len(texts) < 2:
        return Taken(dropped="fewer than two completions")
    if len(texts) > MOST:
        raise row.error("completions", f"a ranking takes 2 to {MOST} responses, not {len(texts)}")
    return judged(ranked(row, prompt, texts, places(scores)), {}, [{"score": score} for score in scores])


def _system(row: Row, field: str) -> tuple[Message, ...]:
    """Return the system turn of a row: a text, a list of parts, or an object with parts; none if there is no such field."""
    if not row.has(field):
        return ()
    if isinstance(row.peek(field), str):
        said = row.text(field)
    elif isinstance(row.peek(field), list):
        said = _text(row, field)
    else:
        row.row(field).raw("role")
        said = _text(row.row(field), "parts")
    return (Message("system", said),) if said.strip() else ()


def _message(turn: Row, field: str) -> Message:
    name = turn.word("role", "user").lower()
    if name not in NAMES:
        raise turn.error("role", f"{name!r} is none of system, user, assistant, model")
    return Message(NAMES[name], _text(turn, field))


def _text(row: Row, field: str) -> str:
    """Return the text of a turn's parts. Raises InputError for a part that is not text, such as a picture or a function call."""
    if isinstance(row.peek(field), str):
        return row.text(field)
    parts = row.rows(field)
    for part in parts:
        other = sorted(name for name in part.value if name not in ("text", "thought") and part.has(name))
        if other:
            raise part.error(other[0], f"only text can be read, not {other[0]}")
    thought = "".join(part.text("text") for part in parts if part.has("thought") and part.truth("thought"))
    said = "".join(part.text("text") for part in parts if not part.has("thought") or not part.truth("thought"))
    return f"<think>\n{thought}\n</think>\n\n{said}" if thought.strip() else said


def _ordered(row: Row, messages: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """Return the turns of a prompt. Raises InputError unless user and assistant alternate and the user's turn is last."""
    roles = [message.role for message in messages if message.role != "system"]
    alternate = all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))
    system = any(message.role == "system" for message in messages[1:])
    if not roles or not alternate or system:
        raise row.error(field, f"roles out of order: {', '.join(message.role for message in messages)}"[:200])
    if roles[-1] != "user":
        raise row.error(field, "a prompt must end with the user's turn")
    return messages


def _ended(row: Row, messages: tuple[Message, ...], field: str) -> Taken:
    if messages and messages[-1].role == "assistant":
        return demonstrated(row, make_prompt(row, _ordered(row, messages[:-1], field)), messages[-1].content)
    prompt = make_prompt(row, _ordered(row, messages, field))
    reason = unusable(prompt)
    return Taken(dropped=reason) if reason else Taken((prompt,))
