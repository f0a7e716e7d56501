"""How models write calls of functions: read from a chat template, parsed from an answer, and as a grammar that forces a call.

Known are the formats of most open models:

- Hermes, Qwen and others: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, once for each call.
- Llama 3: ``{"name": ..., "parameters": {...}}``, an answer of its own.
- Mistral: ``[TOOL_CALLS][{"name": ..., "arguments": {...}}]``, or ``[TOOL_CALLS]name[ARGS]{...}`` in later ones.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from accord.data.tool_turns import ToolCall

Kind = Literal["hermes", "llama", "mistral", "mistral-args"]
MISTRAL_ID = 9
"""Characters of a call's id, as Mistral's templates ask for."""
LETTERS = string.ascii_letters + string.digits
_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def kind_of(template: str) -> Kind | None:
    """Return the format in which a template writes earlier calls; None for a template that has none of the known ones."""
    if "<tool_call>" in template:
        return "hermes"
    if "[TOOL_CALLS]" in template:
        return "mistral-args" if "[ARGS]" in template else "mistral"
    if "tools" in template and ("<|python_tag|>" in template or '"parameters": ' in template):
        return "llama"
    return None


@dataclass(frozen=True)
class Written:
    """An answer's words, and the calls in it."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def parse(kind: Kind, text: str, names: Sequence[str], *, most: int) -> Written:
    """Return the calls of known functions in an answer, and what it says before them. What is no call stays text."""
    if kind == "hermes":
        found = [call for match in _HERMES.finditer(text) for call in _calls(kind, _values(match[1]), names)]
        before = text.partition("<tool_call>")[0]
    elif kind == "llama":
        body = text.strip().removeprefix("<|python_tag|>")
        found, before = _calls(kind, _values(body), names) if body.startswith("{") else [], ""
    else:
        before, mark, body = text.partition("[TOOL_CALLS]")
        if not mark:  # control tokens are left out of a text
            before, body = "", text
        named = [_named(part) for part in body.split("[TOOL_CALLS]")] if kind == "mistral-args" else []
        values = [value for value in named if value] or _values(body)
        found = _calls(kind, values, names)
    return Written(before.strip(), tuple(found[:most])) if found else Written(text)


def _named(text: str) -> dict[str, Any] | None:
    """Return a call that is written as a name and its arguments."""
    name, brace, rest = text.replace("[ARGS]", "").partition("{")
    values = _values(brace + rest)
    return {"name": name.strip(), "arguments": values[0]} if name.strip() and values else None


def _values(text: str) -> list[Any]:
    """Return the JSON values of a text, one behind the other; the members of a list each."""
    decoder, values, rest = json.JSONDecoder(), list[Any](), text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        values += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip("; \n\r\t,")
    return values


def _calls(kind: Kind, values: Sequence[Any], names: Sequence[str]) -> list[ToolCall]:
    found = list[ToolCall]()
    for value in values:
        if not isinstance(value, dict):
            continue
        said = cast("dict[str, Any]", value)
        given: Any = said.get("parameters" if kind == "llama" else "arguments", {})
        if isinstance(given, str):
            given = next(iter(_values(given)), None)
        if said.get("name") in names and isinstance(given, dict):
            found.append(ToolCall(new_id(kind), said["name"], cast("dict[str, Any]", given)))
    return found


def new_id(kind: Kind) -> str:
    """Return an id for a call."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(MISTRAL_ID if kind.startswith("mistral") else 24))
    return letters if kind.startswith("mistral") else f"call_{letters}"


def forced(kind: Kind, functions: Sequence[Mapping[str, Any]], marks: Mapping[str, str], *, many: bool) -> tuple[str, str]:
    """Return the rules of a grammar for calls of these functions, in Lark's notation, and the name of its first rule.

    Args:
        marks: for the format's marks, such as ``<tool_call>``, how the grammar writes them.
        many: whether there may be more than one call.
    """
    key = "parameters" if kind == "llama" else "arguments"
    lines = list[str]()
    for number, function in enumerate(functions):
        arguments: Any = function.get("parameters") or {"type": "object"}
        name = json.dumps(f'{{"name": {json.dumps(function["name"])}, "{key}": ')
        head = f'{name} args_{number} "}}"' if kind != "mistral-args" else f"{json.dumps(function['name'])} {marks['[ARGS]']} args_{number}"
        lines += [f"call_{number}: {head}", f"args_{number}: {schema_rule(arguments)}"]
    lines.append("one: " + " | ".join(f"call_{number}" for number in range(len(functions))))
    if kind == "hermes":
        lines.append(f'marked: {marks["<tool_call>"]} "\\n" one "\\n" {marks["</tool_call>"]}')
        lines.append("calls: marked" + (' ("\\n" marked)*' if many else ""))
    elif kind == "llama":
        lines.append("calls: one" + (' ("; " one)*' if many else ""))
    elif kind == "mistral":
        lines.append(f'calls: {marks["[TOOL_CALLS]"]} "[" one' + (' (", " one)*' if many else "") + ' "]"')
    else:
        lines += [f"marked: {marks['[TOOL_CALLS]']} one", "calls: marked" + (" marked*" if many else "")]
    return "\n".join(lines), "calls"


def schema_rule(schema: Any) -> str:
    """Return the rule for JSON that fits a schema, written without needless spaces."""
    return "%json " + json.dumps({**schema, "x-guidance": _COMPACT})


MARKS: Mapping[Kind, tuple[str, ...]] = {
    "hermes": ("<tool_call>", "</tool_call>"),
    "llama": (),
    "mistral": ("[TOOL_CALLS]",),
    "mistral-args": ("[TOOL_CALLS]", "[ARGS]"),
}
"""The marks that a format's grammar needs."""
