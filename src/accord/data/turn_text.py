"""The text of a turn: parts of a content list, reasoning, calls of tools and their results.

A turn of ours is one text. Reasoning goes before the answer in <think>, a call of a tool is JSON in <tool_call>, and what the tool returned
is a user's turn in <tool_response>, as the templates of Qwen and Hermes write them. Other things, such as pictures, are refused.
``with_calls`` makes turns with calls and results of such texts again, for templates that write them in a form of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from accord.data.rows import Row, empty, plain
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.errors import InputError
from accord.records import Message, Role

RESULTS = ("tool", "function", "ipython", "observation", "function_response", "tool_response", "tool_result")
"""Roles under which a tool's result stands."""
CALLS = ("function_call", "tool_call")
"""Roles of a turn of the assistant that only calls a tool."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a turn of the assistant that hold its reasoning."""
CALL, CALL_END = "<tool_call>", "</tool_call>"
RESULT, RESULT_END = "<tool_response>\n", "\n</tool_response>"
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
    return f"{CALL}\n{json.dumps(given, ensure_ascii=False)}\n{CALL_END}"


def result_text(text: str) -> str:
    """Return what a tool returned as text."""
    return f"{RESULT}{text.strip()}{RESULT_END}"


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


def with_calls(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation in which calls of tools and their results are structure, where its turns hold them as text of ours.

    A turn whose text is not exactly of that form, such as one with words behind a call, stays text.
    """
    turns, waiting, number = list[Message](), list[ToolCall](), 0
    for message in messages:
        results = returned(message.content) if message.role == "user" and waiting else ()
        if 0 < len(results) <= len(waiting):
            for call, text in zip(waiting, results, strict=False):
                turns.append(ToolTurn(cast("Role", "tool"), text, call_id=call.id, name=call.name))
            waiting.clear()
            continue
        waiting = list[ToolCall]()
        words, calls = called(message.content if message.role == "assistant" and not message.media else "")
        for name, arguments in calls:
            waiting.append(ToolCall(f"call{number:05}", name, arguments))  # nine letters, as Mistral's templates ask for
            number += 1
        turns.append(ToolTurn("assistant", words, calls=tuple(waiting)) if waiting else message)
    return tuple(turns)


def called(text: str) -> tuple[str, tuple[tuple[str, Mapping[str, Any]], ...]]:
    """Return the words of a turn before its calls, and each call's name and arguments; the whole text and none where it has none."""
    words, mark, rest = text.partition(CALL)
    calls, rest = list[tuple[str, Mapping[str, Any]]](), (mark + rest).strip()
    while rest:
        try:
            value, end = json.JSONDecoder().raw_decode(rest.removeprefix(CALL).lstrip()) if rest.startswith(CALL) else (None, 0)
        except (ValueError, RecursionError):
            return text, ()
        behind = rest.removeprefix(CALL).lstrip()[end:].lstrip()
        given: dict[str, Any] = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if not (behind.startswith(CALL_END) and isinstance(given.get("name"), str) and isinstance(given.get("arguments"), dict)):
            return text, ()
        calls.append((given["name"], given["arguments"]))
        rest = behind.removeprefix(CALL_END).lstrip()
    return (words.rstrip(), tuple(calls)) if calls else (text, ())


def returned(text: str) -> tuple[str, ...]:
    """Return the results of tools that a turn consists of; nothing where it says anything else."""
    text = text.strip()
    if not (text.startswith(RESULT) and text.endswith(RESULT_END)):
        return ()
    return tuple(f"\n{text}\n".removeprefix(f"\n{RESULT}").removesuffix(f"{RESULT_END}\n").split(f"{RESULT_END}\n{RESULT}"))


def functions_of(extra: Mapping[str, object], where: str = "") -> tuple[Mapping[str, Any], ...]:
    """Return the functions that a row declares in its column ``tools`` or ``functions``, as OpenAI's, Anthropic's and ShareGPT's rows do.

    A column that holds no list of objects is something else, and declares none.

    Raises:
        InputError: one of them has no name.
    """
    given = extra.get("tools") or extra.get("functions")
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return ()
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in cast("list[Any]", given)):
        return ()
    functions = list[Mapping[str, Any]]()
    for each in cast("list[dict[str, Any]]", given):
        inner = each.get("function")
        function = cast("dict[str, Any]", inner) if isinstance(inner, dict) else each
        if not isinstance(function.get("name"), str):
            hint = "fix the column and import the rows again, or leave it out (accord import --drop tools)"
            raise InputError(f"a tool of the row has no name: {each!r}"[:200], where=where, hint=hint)
        asked = function.get("parameters") or function.get("input_schema") or {"type": "object", "properties": {}}
        functions.append({"name": function["name"], "description": function.get("description") or "", "parameters": asked})
    return tuple(functions)
