"""What a row asks: a prompt under any of its usual names, turns in any of their usual forms."""

from __future__ import annotations

import re
from typing import Any, cast

from accord.data.row_context import ASSISTANT, ends_answered, is_turn, is_turns, marked
from accord.data.row_records import conversation, instruction_turns
from accord.data.rows import Row, listed
from accord.records import Message

ASKED = ("prompt", "messages", "conversations", "conversation", "instruction", "question", "query", "input", "context", "problem")
"""Names of the column that asks, the surest first."""


def turns_of(row: Row, field: str, *, first: bool = True) -> tuple[Message, ...]:
    """Return the turns of a field, with ``role`` and ``content`` or ``from`` and ``value``.

    Args:
        first: whether they begin a conversation; answers begin with the assistant.

    Raises:
        InputError: an unknown role, content that is not text, or roles out of order.
    """
    value: Any = row.peek(field)
    if is_turn(value):
        turn = listed(value) if isinstance(value, str) else value
        found = turns_of(row.like({**row.value, field: [turn]}), field, first=first)
        row.reads.update(path.replace(f"{field}[0].", f"{field}.", 1) for path in tuple(row.reads))
        return found
    value = listed(value) if isinstance(value, str) else value
    given = cast(list[Any], value) if isinstance(value, list) else []
    named = {"role": "from", "content": "value"} if any(isinstance(turn, dict) and "from" in turn for turn in given) else {}
    if first or not given:
        return conversation(row, field, **named)
    asked = {named.get("role", "role"): "user", named.get("content", "content"): "?"}
    answers = given if _begins_with_a_question(given, named) else [asked, *given]
    found = conversation(row.like({**row.value, field: answers}), field, **named)
    row.reads.update(_moved(path, row.inside + field) for path in tuple(row.reads) if len(answers) != len(given))
    return found if len(answers) == len(given) else found[1:]


def _begins_with_a_question(given: list[Any], named: dict[str, str]) -> bool:
    first = cast(dict[str, Any], given[0]) if isinstance(given[0], dict) else {}
    word = str(first.get(named.get("role", "role"), "")).strip().lower()
    return word not in ASSISTANT


def _moved(path: str, field: str) -> str:
    """Return a path of what was read in a list that had one turn more before it."""
    match = re.match(rf"{re.escape(field)}\[(\d+)\](.*)", path)
    return f"{field}[{int(match[1]) - 1}]{match[2]}" if match and int(match[1]) else path


def asked(row: Row, *names: str) -> tuple[Message, ...]:
    """Return the conversation that a row asks to be answered, ending with the user.

    Args:
        names: columns that may hold it, ``ASKED`` when not given.

    Raises:
        InputError: no such column, or it does not end with the user's turn.
    """
    name = next((name for name in names or ASKED if row.has(name) and not ends_answered(row, name)), "")
    name = name or next((name for name in names or ASKED if row.has(name)), "prompt")
    if name == "input" and isinstance(row.peek(name), dict) and "messages" in row.peek(name):
        turns = turns_of(row.row("input"), "messages")
    elif is_turns(row.peek(name)) or is_turn(row.peek(name)):
        turns = turns_of(row, name)
    elif name == "instruction":
        turns = instruction_turns(row.text("instruction"), row.text("input", ""))
    else:
        text = row.text(name)
        turns = marked(text) or (Message("user", text),)
    if not turns or turns[-1].role != "user":
        raise row.error(name, "a prompt must end with the user's turn")
    return turns
