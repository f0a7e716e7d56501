"""Records as plain JSON values and back: the one place that knows how, for the store and for snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from accord.errors import InputError
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, RankedPrompt, Ranking, Rating, Response


def encode(record: Any) -> dict[str, Any]:
    """A record's fields as JSON values."""
    return dataclasses.asdict(record)


def decode(kind: type[Any], value: Mapping[str, Any], where: str = "") -> Any:
    """The record that ``encode`` made ``value`` of.

    Raises:
        InputError: a field is missing, unknown or of the wrong form.
    """
    try:
        return _DECODERS[kind](dict(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a {kind.__name__}: {error}", where=where) from error


def _prompt(v: dict[str, Any]) -> Prompt:
    return Prompt(**(v | {"messages": tuple(Message(**message) for message in v["messages"])}))


def _response(v: dict[str, Any]) -> Response:
    return Response(**(v | {"tokens": tuple(v.get("tokens", ()))}))


def _demonstration(v: dict[str, Any]) -> Demonstration:
    return Demonstration(**(v | {"prompt": _prompt(v["prompt"])}))


def _rating(v: dict[str, Any]) -> Rating:
    return Rating(**(v | {"flags": tuple(v.get("flags", ()))}))


def _ranking(v: dict[str, Any]) -> Ranking:
    parts: dict[str, Any] = {
        "response_ids": tuple(v["response_ids"]),
        "ranks": tuple(v["ranks"]),
        "guideline": Guideline(**v["guideline"]),
        "ratings": tuple(_rating(rating) for rating in v.get("ratings", ())),
    }
    return Ranking(**(v | parts))


def _ranked_prompt(v: dict[str, Any]) -> RankedPrompt:
    parts: dict[str, Any] = {"prompt": _prompt(v["prompt"]), "responses": tuple(_response(r) for r in v["responses"])}
    return RankedPrompt(**(v | parts | {"ranks": tuple(v["ranks"])}))


_DECODERS: dict[type[Any], Callable[[dict[str, Any]], Any]] = {
    Prompt: _prompt,
    Response: _response,
    Demonstration: _demonstration,
    Labeler: lambda v: Labeler(**v),
    Ranking: _ranking,
    RankedPrompt: _ranked_prompt,
}
