"""What was said before a row's question: its system turn, its history, and the turns in hh-rlhf's marks or those of a template."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from accord.data.rendered import asked_in
from accord.data.rows import Row, empty, listed
from accord.records import Message

SYSTEM = ("system", "system_prompt", "system_message", "sys_prompt", "developer")
HISTORY = ("history",)
Turns = Callable[[Row, str], tuple[Message, ...]]
_MARKS = re.compile(r"\n\n(Human|Assistant|H|A):")


ASSISTANT = frozenset("assistant gpt chatgpt bing bard model bot ai chatbot 助手 助理".split())  # noqa: SIM905
"""Names that other formats give to the assistant."""


def is_turns(value: object) -> bool:
    """Return whether a value is a list of turns, or JSON text of one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = listed(value)
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in cast(list[Any], value))


def is_turn(value: object) -> bool:
    """Return whether a value is one turn, or JSON text of one."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = listed(value)
        return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())
    return isinstance(value, dict) and ("role" in value or "from" in value)


def ends_answered(row: Row, name: str) -> bool:
    """Return whether a column holds a conversation that ends with the assistant: what was learned before, beside the prompt."""
    value = row.peek(name)
    value = listed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    last = cast(list[Any], value)[-1] if isinstance(value, list) and value else None
    if not isinstance(last, dict):
        return False
    turn = cast(dict[str, Any], last)
    return str(turn.get("role", turn.get("from", ""))).lower() in ASSISTANT


def marked(text: str) -> tuple[Message, ...]:
    """Return the turns of a text in marks (hh-rlhf's, or a template's) that ends where the assistant is to speak; none of any other."""
    head, *parts = _MARKS.split(text if text.startswith("\n\n") else f"\n\n{text.lstrip()}")
    if head.strip() or len(parts) < 4 or parts[0] not in ("Human", "H") or parts[-2] not in ("Assistant", "A") or parts[-1].strip():
        return asked_in(text)
    turns = [
        Message("user" if name[0] == "H" else "assistant", said.strip()) for name, said in zip(parts[:-2:2], parts[1:-2:2], strict=True)
    ]
    ordered = all(turn.role == ("user", "assistant")[i % 2] for i, turn in enumerate(turns))
    return tuple(turns) if ordered and turns[-1].role == "user" else ()


def after_context(row: Row, turns: tuple[Message, ...], read_turns: Turns) -> tuple[Message, ...]:
    """Return turns after the row's system turn (``system``) and earlier rounds (``history``), where it has them beside the prompt.

    Raises:
        InputError: they cannot be read, or say another thing than the turns themselves.
    """
    system, earlier = _unread_of(row, SYSTEM), _unread_of(row, HISTORY)
    if not turns or not (system or earlier):
        return turns
    if earlier:
        before = _rounds(row, earlier, read_turns)
        if turns[:1] and turns[0].role == "system":
            turns = (turns[0], *before, *turns[1:])
        else:
            turns = (*before, *turns)
    if system:
        text = _system(row, system)
        if turns[0].role != "system":
            turns = (Message("system", text), *turns)
        elif turns[0].content.strip() != text.strip():
            raise row.error(system, "another system turn than the conversation's own")
    return turns


def _unread_of(row: Row, names: tuple[str, ...]) -> str:
    """Return the column of these names that holds something and that the format does not read as something else."""
    found = next(
        (name for name in names if not empty(row.peek(name)) and (row.inside + name not in row.reads or _mark(name) in row.reads)), ""
    )
    if found:
        row.reads.add(_mark(found))
    return found


def _mark(name: str) -> str:
    """Return what is noted of a row's context, which goes before each of its prompts, among what was read of it."""
    return f"\0{name}"


def _system(row: Row, name: str) -> str:
    value: Any = row.peek(name)
    if isinstance(value, list):
        if all(isinstance(part, str) for part in cast(list[Any], value)):
            return "\n\n".join(row.texts(name))
        parts = row.rows(name)
        return "\n\n".join(part.text("text" if part.has("text") else "content") for part in parts)
    if is_turn(value):
        return row.row(name).text("content")
    return row.text(name)


def _rounds(row: Row, name: str, read_turns: Turns) -> tuple[Message, ...]:
    """Return earlier rounds: pairs of a question and its answer, turns, or texts of both sides in turn."""
    value = row.peek(name)
    value = listed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if is_turns(value):
        return read_turns(row, name)
    given: Any = row.raw(name)
    given = listed(given) if isinstance(given, str) and given.lstrip().startswith("[") else given
    if isinstance(given, list) and all(isinstance(pair, list) and len(cast(list[Any], pair)) == 2 for pair in cast(list[Any], given)):
        said = [text for pair in cast(list[Any], given) for text in pair]
    elif isinstance(given, list) and len(cast(list[Any], given)) % 2 == 0:
        said = cast(list[Any], given)
    else:
        raise row.error(name, "earlier rounds are pairs of a question and its answer, or turns")
    if not all(isinstance(text, str) for text in said):
        raise row.error(name, "a round that is not text")
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(said))
