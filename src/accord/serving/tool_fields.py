"""The request fields of tools and of answers in JSON: descriptions of functions, calls and results in turns, ``response_format``.

They are the same for chat completions and for responses, which differ in where the names stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints

from accord.data.tool_turns import ToolCall, ToolTurn
from accord.records import Message
from accord.serving.fields import Open
from accord.serving.host import NotUnderstood, Tools

MOST_TOOLS = 128
MOST_CALLS = 128
LONGEST_SCHEMA = 100_000
"""Characters of all schemas of a request, as JSON."""
LONGEST_DESCRIPTIONS = 100_000
"""Characters of the descriptions of all functions of a request."""
DEEPEST = 64
"""Levels of a schema."""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}

Name = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_.-]{1,64}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Function(Open):
    """A function that the model may call."""

    name: Name
    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema of an object.")
    strict: bool = Field(False, description="Arguments always fit where a call is forced; where the model decides, no promise is made.")

    def described(self) -> dict[str, Any]:
        """Return the function as chat templates take it."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters or {"type": "object", "properties": {}}}


class Tool(Open):
    """A tool. Only functions are supported."""

    type: Literal["function"] = "function"
    function: Function


class Called(Open):
    """Name and arguments of a call."""

    name: Name
    arguments: Annotated[str, StringConstraints(max_length=1_000_000)] = Field(description="A JSON object, as text.")

    def call(self, id: str, where: str) -> ToolCall:
        """Return the call. Raises NotUnderstood when its arguments are no JSON object."""
        try:
            given: Any = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise NotUnderstood(f"{where}.arguments is no JSON object", param=f"{where}.arguments")
        return ToolCall(id, self.name, cast("dict[str, Any]", given))


class Call(Open):
    """A call in an earlier turn of the assistant."""

    id: Id
    type: Literal["function"] = "function"
    function: Called


class OneFunction(Open):
    """The name in a choice."""

    name: Name


class Choose(Open):
    """The choice of one function."""

    type: Literal["function"] = "function"
    function: OneFunction


class Schema(Open):
    """The schema of an answer."""

    name: Annotated[str, StringConstraints(max_length=64)] = "answer"
    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    strict: bool = Field(False, description="Taken; answers always fit.")
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class Format(Open):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    def schema_of_answer(self) -> Mapping[str, Any] | None:
        """Return the schema that the answer must fit; None for text. Raises NotUnderstood without a schema where one is needed."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return ANY_OBJECT
        if self.json_schema is None or self.json_schema.schema_ is None:
            raise NotUnderstood("response_format needs a schema", param="response_format.json_schema.schema")
        return bounded(self.json_schema.schema_, "response_format.json_schema.schema")


def bounded(schema: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a schema. Raises NotUnderstood for one that is too large or too deep."""
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        size = LONGEST_SCHEMA + 1
    if size > LONGEST_SCHEMA or _depth(schema) > DEEPEST:
        raise NotUnderstood(f"{where} is too large: {LONGEST_SCHEMA} characters and {DEEPEST} levels at most", param=where)
    return schema


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        inner = list[Any]()
        for each in level:
            if isinstance(each, dict):
                inner += cast("dict[str, Any]", each).values()
            elif isinstance(each, list):
                inner += cast("list[Any]", each)
        level, depth = inner, depth + 1
    return depth


def tools_of(functions: Sequence[Function], choice: str, only: str, *, parallel: bool) -> Tools | None:
    """Return the tools of a request; None without any, or where none may be called.

    Raises:
        NotUnderstood: two functions have one name, the chosen one is not among them, a call is required and there is no function, or
            schemas or descriptions are too large.
    """
    names = [function.name for function in functions]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise NotUnderstood(f"two tools have the name {double!r}", param="tools")
    if (only and only not in names) or (choice == "required" and not names):
        raise NotUnderstood(f"tool_choice asks for {only or 'a call'}, which is not among the tools", param="tool_choice")
    bounded({"all": [function.parameters for function in functions]}, "tools")
    if sum(len(function.description) for function in functions) > LONGEST_DESCRIPTIONS:
        raise NotUnderstood(f"the descriptions of the tools are too long: {LONGEST_DESCRIPTIONS} characters at most", param="tools")
    if not names or choice == "none":
        return None
    described = tuple(function.described() for function in functions)
    return Tools(described, "required" if only or choice == "required" else "auto", only, parallel)


def one_form(tools: Tools | None, schema: Mapping[str, Any] | None, field: str) -> None:
    """Make sure that an answer has either tools or a schema. Raises NotUnderstood."""
    if tools and schema is not None:
        what = f"tools and {field} exclude each other here: an answer is a call, or fits the schema"
        raise NotUnderstood(what, hint=f'give tool_choice: "none" with {field}', param=field)


def answerable(turns: Sequence[Message], places: Sequence[str], *, result: str) -> None:
    """Make sure that a conversation does not end with the assistant, and that every result in it belongs to an earlier call.

    Args:
        places: the path of each turn in the request, with braces where a field's name goes.
        result: the field that names a result's call.

    Raises:
        NotUnderstood: it is otherwise.
    """
    if turns[-1].role == "assistant":
        what = "the conversation ends with the assistant's own turn, and an answer does not continue one"
        raise NotUnderstood(what, hint="end with the user's turn", param=places[-1].format("role"))
    known = set[str]()
    for turn, place in zip(turns, places, strict=True):
        if isinstance(turn, ToolTurn):
            known |= {call.id for call in turn.calls}
            if turn.call_id and turn.call_id not in known:
                hint = "give the assistant's call before it"
                raise NotUnderstood(f"no call has the id {turn.call_id!r}", hint=hint, param=place.format(result))


def named(turns: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation in which every result has its function's name, which some templates write."""
    names = dict[str, str]()
    filled = list[Message]()
    for turn in turns:
        if isinstance(turn, ToolTurn):
            names |= {call.id: call.name for call in turn.calls}
            turn = ToolTurn(turn.role, turn.content, turn.calls, turn.call_id, turn.name or names.get(turn.call_id, ""))
        filled.append(turn)
    return tuple(filled)
