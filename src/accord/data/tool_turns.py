"""Turns that call functions and bring their results, in the form in which chat templates take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accord.records import Message


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function that a model wrote.

    Args:
        arguments: a JSON object.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ToolTurn(Message):
    """A turn of the assistant with calls, or a turn of the role ``tool`` with the result of one."""

    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    """The call whose result it is."""
    name: str = ""
    """The function whose result it is."""


def template_turn(message: Message) -> dict[str, Any]:
    """Return a turn as chat templates take it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if not isinstance(message, ToolTurn):
        return turn
    calls = list[dict[str, Any]]()
    for call in message.calls:
        calls.append({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}})
    result = {"tool_call_id": message.call_id, "name": message.name} if message.call_id else {}
    return turn | ({"tool_calls": calls} if calls else {}) | result
