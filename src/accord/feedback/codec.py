"""Records to JSON and back: the one place that knows how a record is written down.

``encode`` and ``decode`` are inverse to each other; ``decode`` refuses unknown, missing and wrongly typed fields, so a file that was
written by something else never passes for one of ours.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar, cast, get_args

from accord.errors import InputError
from accord.records import Demonstration, Message, Prompt, RankedPrompt, Response, Role, Split

Recorded = Prompt | Response | Demonstration | RankedPrompt
_T = TypeVar("_T")
R = TypeVar("R", Prompt, Response, Demonstration, RankedPrompt)


def dumps(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, no escapes that UTF-8 does not need. Equal values give equal text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode(record: Recorded) -> dict[str, object]:
    """The record as plain dicts, lists, strings, numbers and booleans."""
    return asdict(record)


def decode(kind: type[R], value: object, where: str = "") -> R:
    """The record that ``encode`` wrote.

    Raises:
        InputError: naming ``where`` and the field that is missing, unknown or of another type.
    """
    return _inner(cast("Callable[[_Fields], R]", _DECODERS[kind]), _Fields(value, where))


def messages_text(messages: tuple[Message, ...]) -> str:
    """A conversation as canonical JSON: ``[{"content": ..., "role": ...}, ...]``."""
    return dumps([{"role": message.role, "content": message.content} for message in messages])


def messages_from(text: str) -> tuple[Message, ...]:
    """The conversation that ``messages_text`` wrote."""
    return tuple(Message(turn["role"], turn["content"]) for turn in json.loads(text))


def tokens_blob(tokens: tuple[int, ...]) -> bytes:
    """Token ids as little-endian int32, four bytes each. Raises OverflowError for an id that does not fit."""
    return _little_endian(array("i", tokens)).tobytes()


def tokens_from(blob: bytes) -> tuple[int, ...]:
    """The token ids that ``tokens_blob`` wrote."""
    numbers = array("i")
    numbers.frombytes(blob)
    return tuple(_little_endian(numbers))


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class _Fields:
    """A JSON object that hands out typed fields and remembers which were asked for."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"expected an object, found {type(value).__name__}", where=where)
        self.where = where
        self._left = dict(cast("dict[str, object]", value))

    def text(self, name: str) -> str:
        return self._typed(name, str)

    def flag(self, name: str) -> bool:
        return self._typed(name, bool)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise InputError(f"field {name!r} is {value!r}, not one of {', '.join(allowed)}", where=self.where)
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        values = cast("list[object]", self._typed(name, list))
        if any(type(value) is not int for value in values):
            raise InputError(f"field {name!r} holds something that is no whole number", where=self.where)
        return tuple(cast("list[int]", values))

    def nested(self, name: str) -> _Fields:
        return _Fields(self._typed(name, dict), self._path(name))

    def items(self, name: str) -> list[_Fields]:
        values = cast("list[object]", self._typed(name, list))
        return [_Fields(value, self._path(f"{name}[{i}]")) for i, value in enumerate(values)]

    def finish(self) -> None:
        if self._left:
            raise InputError(f"unknown field {sorted(self._left)[0]!r}", where=self.where)

    def _typed(self, name: str, kind: type[_T]) -> _T:
        if name not in self._left:
            raise InputError(f"field {name!r} is missing", where=self.where)
        value = self._left.pop(name)
        if type(value) not in (kind, tuple if kind is list else kind):
            raise InputError(f"field {name!r} is {type(value).__name__}, expected {kind.__name__}", where=self.where)
        return cast("_T", value)

    def _path(self, name: str) -> str:
        return f"{self.where}, field {name}" if self.where else name


def _message(fields: _Fields) -> Message:
    return Message(cast("Role", fields.one_of("role", get_args(Role))), fields.text("content"))


def _prompt(fields: _Fields) -> Prompt:
    return Prompt(
        id=fields.text("id"),
        messages=tuple(_inner(_message, item) for item in fields.items("messages")),
        use_case=fields.text("use_case"),
        user=fields.text("user"),
        split=cast("Split", fields.one_of("split", get_args(Split))),
        source=fields.text("source"),
    )


def _response(fields: _Fields) -> Response:
    return Response(
        id=fields.text("id"),
        prompt_id=fields.text("prompt_id"),
        text=fields.text("text"),
        model=fields.text("model"),
        tokens=fields.integers("tokens"),
        finished=fields.flag("finished"),
    )


def _demonstration(fields: _Fields) -> Demonstration:
    return Demonstration(fields.text("id"), _inner(_prompt, fields.nested("prompt")), fields.text("text"), fields.text("labeler"))


def _ranked_prompt(fields: _Fields) -> RankedPrompt:
    return RankedPrompt(
        prompt=_inner(_prompt, fields.nested("prompt")),
        responses=tuple(_inner(_response, item) for item in fields.items("responses")),
        ranks=fields.integers("ranks"),
        labeler=fields.text("labeler"),
        group=fields.text("group"),
    )


def _inner(decoder: Callable[[_Fields], _T], fields: _Fields) -> _T:
    record = decoder(fields)
    fields.finish()
    return record


_DECODERS: dict[type, Callable[[_Fields], Recorded]] = {
    Prompt: _prompt,
    Response: _response,
    Demonstration: _demonstration,
    RankedPrompt: _ranked_prompt,
}
