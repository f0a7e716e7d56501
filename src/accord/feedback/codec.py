"""Conversion of records to plain JSON values and back, for snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from accord.errors import InputError
from accord.records import (
    Demonstration,
    Guideline,
    Labeler,
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
    """Return a record's fields as JSON values. A prompt without ``extra`` is written without it, as before there was such a field."""
    value = dataclasses.asdict(record)
    for part in (value, value.get("prompt")):
        if isinstance(part, dict) and part.get("extra") == {}:
            del part["extra"]
    return value


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
    v["messages"] = tuple(Message(**message) for message in v["messages"])
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
