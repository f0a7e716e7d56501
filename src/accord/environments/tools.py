"""Tools that a model calls in its turns, and the environment that answers the calls.

A call is a JSON object of a ``name`` and ``arguments``, in the forms that chat templates teach: between ``<tool_call>`` and
``</tool_call>`` (Hermes, Qwen), as a turn of its own (Llama 3.1, which says ``parameters``), or in a list behind ``[TOOL_CALLS]``
(Mistral). A turn without a call is the answer, and ends the episode.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Protocol, cast

from accord.data.retrieval import rank
from accord.environments.hosted import NOTHING
from accord.errors import InputError
from accord.records import final_answer
from accord.runtime import sandbox
from accord.runtime.sandbox import Limits

MARKED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
LISTED = "[TOOL_CALLS]"
MOST_CALLS = 8
"""Calls of one turn that are answered."""
LONGEST_RESULT = 2000
"""Characters of a tool's answer."""
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class ToolError(Exception):
    """What a tool says of arguments that it does not take; the model reads it."""


class Tool(Protocol):
    """Something that a model may call by its name."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, str]:
        """Each parameter with what it means; all are texts."""
        ...

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return the answer. Raises ToolError."""
        ...


@dataclass(frozen=True)
class Call:
    """A call as it was written: a tool's name with arguments, or the reason why it is none."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: str = ""


def calls_in(text: str) -> list[Call]:
    """Return the calls in a turn, in order; a call that cannot be read comes with its fault."""
    marked = MARKED.findall(text)
    if marked:
        return [_read(each) for each in marked]
    said = text.strip()
    if said.startswith(LISTED):
        listed = said.removeprefix(LISTED).strip()
        try:
            found: Any = json.loads(listed)
        except ValueError:
            return [_read(listed)]
        return [_call(each) for each in cast("list[Any]", found)] if isinstance(found, list) else [_call(found)]
    if said.startswith("{") and said.endswith("}") and '"name"' in said:
        return [_read(said)]
    return []


def _read(text: str) -> Call:
    try:
        return _call(json.loads(text))
    except (ValueError, RecursionError):
        return Call(fault="the call is no JSON")


def _call(found: Any) -> Call:
    if not isinstance(found, Mapping):
        return Call(fault="the call is no JSON object")
    told = cast("Mapping[str, Any]", found)
    name, arguments = told.get("name"), told.get("arguments", told.get("parameters", {}))
    if not isinstance(name, str) or not name:
        return Call(fault="the call names no tool")
    if isinstance(arguments, str):  # some models write the arguments as a text of JSON
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return Call(name, fault="the arguments are no JSON")
    if not isinstance(arguments, Mapping):
        return Call(name, fault="the arguments are no JSON object")
    return Call(name, cast("Mapping[str, Any]", arguments))


class ToolUse:
    """An environment: answers a model's calls; a turn without a call is its answer.

    The answer earns 1 where it is the row's ``answer`` (in ``extra``): the same number, or the same words. A row without one earns
    nothing here, and other rewards see the whole conversation.
    """

    deterministic = True

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = {tool.name: tool for tool in tools}

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the prompt, with the tools before it."""
        self.answer = row["extra"].get("answer")
        messages = [dict(message) for message in row["messages"]]
        if messages[0]["role"] == "system":
            return [{"role": "system", "content": f"{messages[0]['content']}\n\n{self.description()}"}, *messages[1:]]
        return [{"role": "system", "content": self.description()}, *messages]

    def description(self) -> str:
        """Return what a model is told of the tools."""
        lines = [json.dumps(_schema(tool)) for tool in self.tools.values()]
        form = '<tool_call>{"name": NAME, "arguments": {...}}</tool_call>'
        return "\n".join(["You may call these tools:", *lines, f"Write a call as {form} and wait for its result."])

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Answer the calls of the last turn, or take the turn as the answer."""
        said = messages[-1]["content"]
        calls = calls_in(said)
        if not calls:
            right = self.answer is not None and answers(said, self.answer)
            return [], float(right), True, {"right": float(right)}
        counts = {"calls": float(len(calls))}
        results = list[dict[str, str]]()
        for call in calls[:MOST_CALLS]:
            kind, result = self._result(call)
            if kind:
                counts[kind] = counts.get(kind, 0.0) + 1
            results.append({"role": "tool", "content": result[:LONGEST_RESULT]})
        return results, 0.0, False, counts

    def _result(self, call: Call) -> tuple[str, str]:
        """Return how a call went wrong, if it did, and what the model reads."""
        if call.fault and not call.name:
            return "calls_unreadable", f"error: {call.fault}"
        if call.name not in self.tools:
            return "calls_unknown", f"error: there is no tool {call.name[:40]!r}; there are {', '.join(self.tools)}"
        if call.fault:
            return "calls_unreadable", f"error: {call.fault}"
        try:
            return "", self.tools[call.name].call(call.arguments) or NOTHING
        except ToolError as error:
            return "calls_refused", f"error: {error}"


def _schema(tool: Tool) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": about} for name, about in tool.parameters.items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def answers(said: str, answer: object) -> bool:
    """Return whether a text gives this answer: the number behind its last ``####``, or else its last number; or the very words."""
    wanted = _number(str(answer))
    wanted = final_answer(str(answer)) if wanted is None else wanted
    if wanted is not None:
        found = final_answer(said)
        numbers = _NUMBER.findall(said)
        last = found if found is not None else _number(numbers[-1]) if numbers else None
        return last == wanted
    return " ".join(said.split()).strip(" .").lower() == " ".join(str(answer).split()).strip(" .").lower()


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(arguments: Mapping[str, Any], name: str, longest: int) -> str:
    """Return a text among the arguments. Raises ToolError where it is missing or too long."""
    value = arguments.get(name)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ToolError(f"the argument {name} is missing")
    if len(str(value)) > longest:
        raise ToolError(f"the argument {name} has more than {longest} characters")
    return str(value)


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
LARGEST = 10**60
"""A result beyond this is refused, so that no number fills the memory."""


@dataclass(frozen=True)
class Calculator:
    """Computes + - * / // % ** of numbers, with brackets."""

    name: str = "calculator"
    description: str = "Compute an arithmetic expression of numbers, + - * / // % ** and brackets."
    parameters: Mapping[str, str] = field(default_factory=lambda: {"expression": "for example (2 + 3) * 4"})

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return the value of the expression. Raises ToolError."""
        text = _text(arguments, "expression", 200)
        try:
            value = self._value(ast.parse(text.strip(), mode="eval").body)
        except ZeroDivisionError:
            raise ToolError("division by zero") from None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ToolError(f"{text[:40]!r} is no arithmetic expression") from None
        except OverflowError:
            raise ToolError("the result is too large") from None
        return f"{value:.12g}" if isinstance(value, float) else str(value)

    def _value(self, node: ast.AST) -> int | float:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                result: Any = value
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                result = OPERATORS[type(op)](self._value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                one, other = self._value(left), self._value(right)
                if isinstance(op, ast.Pow) and abs(other) * math.log10(max(abs(one), 10)) > 60:
                    raise OverflowError
                result = OPERATORS[type(op)](one, other)
            case _:
                raise ValueError
        if isinstance(result, complex) or not math.isfinite(result) or abs(result) > LARGEST:
            raise OverflowError
        return result


LONGEST_PROGRAM = 10_000
"""Characters of a program that a model may have run."""


class PythonTool:
    """Runs a model's Python program in the sandbox of ``runtime.sandbox``; the model reads what it prints.

    Args:
        seconds: longest time of a program, processor time and clock alike. memory_mb: its address space.

    Raises:
        UsageError: this machine cannot confine a program.
    """

    name = "python"
    description = "Run a Python program without network or files, and read what it prints."
    parameters: Mapping[str, str] = {"code": "the program; print what you want to read"}

    def __init__(self, seconds: float = 5.0, memory_mb: int = 256) -> None:
        sandbox.require()
        self.limits = Limits(seconds=seconds, memory_mb=memory_mb)

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return what the program printed. Raises ToolError where it failed, with the last line of what it said."""
        ran = sandbox.run(_text(arguments, "code", LONGEST_PROGRAM), limits=self.limits)
        said = ran.output.strip()
        if ran.outcome in ("done", "left"):
            return said
        why = {"time": "took too long", "memory": "took too much memory", "output": "wrote too much", "killed": "was ended"}
        told = f"the program {why.get(ran.outcome, 'failed')}"
        if last := ran.errors.rpartition("\n")[2][:300]:
            told += f": {last}"
        raise ToolError(f"{told}; it printed {said[:1000]}" if said else told)


PASSAGES = 5000
"""Paragraphs that the search reads; a project with more shows it these first ones."""


class Search:
    """Finds paragraphs in a folder's text files, by BM25."""

    name = "search"
    description = "Find passages in the documents."
    parameters: Mapping[str, str] = {"query": "words to look for"}

    def __init__(self, folder: Path, most: int = 3) -> None:
        self.most = most
        self.passages = list[str]()
        for path in sorted(folder.rglob("*.txt")) + sorted(folder.rglob("*.md")):
            text = path.read_text("utf-8", errors="replace")
            self.passages += [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
            if len(self.passages) >= PASSAGES:
                del self.passages[PASSAGES:]
                break
        if not self.passages:
            raise InputError("there are no documents (.txt, .md) to search", where=str(folder), hint="put text files there")

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return the passages that match best. Raises ToolError."""
        query = _text(arguments, "query", 500)
        found = rank(query, self.passages, self.most)
        return "\n\n".join(self.passages[number][:600] for number in found) or "no passage matches"
