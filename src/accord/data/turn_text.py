"""The text of a turn: parts of a content list, reasoning, calls of tools and their results.

A turn of ours is one text. Reasoning goes before the answer in <think>, a call of a tool is JSON in <tool_call>, and what the tool returned
is a user's turn in <tool_response>, as the templates of Qwen and Hermes write them. Other things, such as pictures, are refused.
"""

from __future__ import annotations

import json
from typing import Any, cast

from accord.data.rows import Row, empty, plain

RESULTS = ("tool", "function", "ipython", "observation", "function_response", "tool_response", "tool_result")
"""Roles under which a tool's result stands."""
CALLS = ("function_call", "tool_call")
"""Roles of a turn of the assistant that only calls a tool."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a turn of the assistant that hold its reasoning."""
_TEXTS = ("text", "input_text", "output_text")
_THOUGHTS = ("thinking", "reasoning")


def content_of(turn: Row, key: str) -> str:
    """Return a turn's text, which may come in parts, as in OpenAI's and Anthropic's messages.

    Raises:
        InputError: a part is not text, reasoning, a call of a tool, or a tool's result.
    """
    if not isinstance(turn.peek(key), list):
        return turn.text(key)
    said, thought = list[str](), list[str]()
    for part in turn.rows(key):
        kind = part.word("type", "text")
        if kind in _TEXTS:
            said.append(part.text("text"))
        elif kind in _THOUGHTS:
            thought.append(part.text(next((name for name in (kind, "text") if part.has(name)), kind)))
            part.raw("signature")
        elif kind == "tool_use":
            part.raw("id")
            said.append(_apart(said, call_text(part, part.text("name"), part.raw("input"))))
        elif kind == "tool_result":
            part.raw("tool_use_id")
            said.append(_apart(said, result_text(content_of(part, "content") if part.has("content") else "")))
        else:
            raise part.error("type", f"only text can be read, not {part.raw('type')!r}")
    return with_thought("".join(thought), "".join(said))


def _apart(before: list[str], text: str) -> str:
    return f"\n{text}" if before and before[-1].strip() else text


def with_thought(thought: str, text: str) -> str:
    """Return a text with the reasoning before it."""
    return f"<think>\n{thought.strip()}\n</think>\n\n{text.lstrip()}" if thought.strip() else text


def call_text(turn: Row, name: str, arguments: object) -> str:
    """Return a call of a tool as text. Raises InputError for arguments that are not an object."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise turn.error("arguments", f"the arguments of {name} are broken JSON: {error}"[:200]) from error
    if not isinstance(arguments, dict):
        raise turn.error("arguments", f"the arguments of {name} are not an object: {arguments!r}"[:200])
    given = {"name": name, "arguments": plain(cast("dict[str, Any]", arguments))}
    return f"<tool_call>\n{json.dumps(given, ensure_ascii=False)}\n</tool_call>"


def result_text(text: str) -> str:
    """Return what a tool returned as text."""
    return f"<tool_response>\n{text.strip()}\n</tool_response>"


def answer_of(turn: Row, key: str) -> str:
    """Return the text of a turn of the assistant, with its reasoning before it and its calls of tools behind it."""
    calls = _calls(turn)
    text = content_of(turn, key) if turn.has(key) or not calls else ""
    for name in REASONING:
        if isinstance(turn.peek(name), str) and turn.text(name).strip() and turn.text(name).strip() not in text:
            if "<think>" in text:
                raise turn.error(name, "another reasoning than the one in the content")
            text = with_thought(turn.text(name), text)
    return "\n".join(part for part in (text, *calls) if part.strip()) if calls else text


def _calls(turn: Row) -> list[str]:
    texts = list[str]()
    for call in turn.rows("tool_calls") if not empty(turn.peek("tool_calls")) else ():
        call.raw("id")
        call.raw("type")
        called = call.row("function") if isinstance(call.peek("function"), dict) else call
        texts.append(call_text(called, called.text("name"), called.raw("arguments")))
    if isinstance(turn.peek("function_call"), dict) and not empty(turn.peek("function_call")):
        called = turn.row("function_call")
        texts.append(call_text(called, called.text("name"), called.raw("arguments")))
    return texts


def call_alone(turn: Row, key: str) -> str:
    """Return the text of a turn that only calls a tool, whose content is the call in JSON, as in ShareGPT files of LLaMA-Factory."""
    given = turn.text(key)
    try:
        value: Any = json.loads(given)
    except (ValueError, RecursionError):
        return f"<tool_call>\n{given.strip()}\n</tool_call>"
    every = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in every):
        return f"<tool_call>\n{given.strip()}\n</tool_call>"
    return "\n".join(call_text(turn, call["name"], call.get("arguments", call.get("parameters", {}))) for call in every)
