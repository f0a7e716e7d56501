"""Conversion of records to plain JSON values and back, for snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

from accord.errors import InputError
from accord.records import (
    Demonstration,
    Guideline,
    Labeler,
    Media,
    Message,
    Prompt,
    RankedPrompt,
    Ranking,
    Rating,
    Response,
    Thumb,
    Worth,
    flag_named,
)

Value = dict[str, Any]
"""A record's fields, owned by the caller."""


def encode(record: Any) -> dict[str, Any]:
    """Return a record's fields as JSON values. What is empty of ``extra`` and ``media`` is left out, as before there were such fields."""
    value = dataclasses.asdict(record)
    for given in (value, value.get("prompt")):
        if not isinstance(given, dict):
            continue
        part = cast("Value", given)
        if part.get("extra") == {}:
            del part["extra"]
        if "messages" in part:
            part["messages"] = [_written(message) for message in part["messages"]]
    return value


def _written(message: Value) -> Value:
    """A message's fields without what is empty of its media."""
    media = [{name: field for name, field in each.items() if field} for each in message.pop("media", ())]
    return message | ({"media": media} if media else {})


def message_value(message: Message) -> dict[str, Any]:
    """Return a message as JSON values: role, content, and its media if it has some."""
    return _written({"role": message.role, "content": message.content, "media": map(dataclasses.asdict, message.media)})


def message_of(value: Mapping[str, Any]) -> Message:
    """Return the message that ``message_value`` wrote. Raises TypeError or ValueError for what is none."""
    fields = dict(value)
    media = tuple(Media(**each) for each in fields.pop("media", ()))
    return Message(**fields, media=media)


def decode(kind: type[Any], value: Mapping[str, Any], where: str = "") -> Any:
    """Return the record that ``encode`` turned into ``value``.

    Raises:
        InputError: a field is missing, unknown or malformed.
    """
    try:
        return _DECODERS[kind](dict(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a {kind.__name__}: {error}", where=where) from error


def _prompt(v: Value) -> Prompt:
    v["messages"] = tuple(message_of(message) for message in v["messages"])
    return Prompt(**v)


def _response(v: Value) -> Response:
    v["tokens"] = tuple(v.get("tokens", ()))
    return Response(**v)


def _demonstration(v: Value) -> Demonstration:
    v["prompt"] = _prompt(dict(v["prompt"]))
    return Demonstration(**v)


def _rating(v: Value) -> Rating:
    v["flags"] = tuple(map(flag_named, v.get("flags", ())))
    return Rating(**v)


def _ranking(v: Value) -> Ranking:
    v["response_ids"], v["ranks"] = tuple(v["response_ids"]), tuple(v["ranks"])
    v["guideline"] = Guideline(**v["guideline"])
    v["ratings"] = tuple(_rating(dict(rating)) for rating in v.get("ratings", ()))
    return Ranking(**v)


def _ranked_prompt(v: Value) -> RankedPrompt:
    v["prompt"] = _prompt(dict(v["prompt"]))
    v["responses"] = tuple(_response(dict(response)) for response in v["responses"])
    v["ranks"] = tuple(v["ranks"])
    return RankedPrompt(**v)


def _thumb(v: Value) -> Thumb:
    v["prompt"], v["response"] = _prompt(dict(v["prompt"])), _response(dict(v["response"]))
    return Thumb(**v)


def _worth(v: Value) -> Worth:
    v["prompt"], v["response"] = _prompt(dict(v["prompt"])), _response(dict(v["response"]))
    return Worth(**v)


_DECODERS: dict[type[Any], Callable[[Value], Any]] = {
    Prompt: _prompt,
    Response: _response,
    Demonstration: _demonstration,
    Labeler: lambda v: Labeler(**v),
    Ranking: _ranking,
    RankedPrompt: _ranked_prompt,
    Thumb: _thumb,
    Worth: _worth,
}
