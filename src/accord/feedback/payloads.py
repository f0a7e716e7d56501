"""Validation of answers for each kind of task. Nothing here reads or writes the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from accord.feedback.queue import Kind, Task
from accord.feedback.refusals import Refused
from accord.records import PROMPT_FLAGS, RESPONSE_FLAGS, flag_named

Payload = dict[str, Any]
LONGEST = 100_000
"""Maximum length in characters of a text written by a labeler."""
CHOICES = ("first", "second", "tie", "both_bad")


def clean(task: Task, payload: Mapping[str, Any]) -> Payload:
    """Return the checked payload in its stored form: ranks from 1 without gaps, no empty fields.

    Raises:
        Refused: a field is missing, unknown or does not fit the task (422).
    """
    if "skip" in payload:
        _only(payload, "skip")
        return {"skip": _text(payload, "skip")}
    return _CLEANERS[task.kind](task, payload)


def dense(ranks: Mapping[str, int]) -> dict[str, int]:
    """Return the same order with ranks 1, 2, 3 ... without gaps."""
    places = {rank: n for n, rank in enumerate(sorted(set(ranks.values())), 1)}
    return {id: places[rank] for id, rank in ranks.items()}


def _rank(task: Task, payload: Mapping[str, Any]) -> Payload:
    _only(payload, "ranks", "ratings", "prompt_flags", "reason", "all_bad")
    ids = [response.id for response in task.responses]
    bad = payload.get("all_bad", False)
    if not isinstance(bad, bool):
        raise Refused("malformed", detail="all_bad")
    ranks = _mapping(payload, "ranks") or (dict.fromkeys(ids, 1) if bad else {})
    if set(ranks) != set(ids) or not all(_whole(rank, 1, 1000) for rank in ranks.values()):
        raise Refused("ranks_incomplete")
    ratings = _mapping(payload, "ratings")
    if not set(ratings) <= set(ids):
        raise Refused("malformed", detail="ratings")
    if set(ratings) != set(ids) and not bad:
        raise Refused("rating_missing", detail=", ".join(sorted(set(ids) - set(ratings))))
    cleaned = {"ranks": dense(ranks), "ratings": {id: _rating(rating, "rating_missing", id) for id, rating in ratings.items()}}
    flags = _flags(payload.get("prompt_flags", []), PROMPT_FLAGS)
    return cleaned | _present(prompt_flags=flags, reason=_text(payload, "reason"), all_bad=bad)


def _compare(_: Task, payload: Mapping[str, Any]) -> Payload:
    _only(payload, "choice", "reason")
    if payload.get("choice") not in CHOICES:
        raise Refused("choice_missing")
    return {"choice": payload["choice"]} | _present(reason=_text(payload, "reason"))


def _demonstrate(_: Task, payload: Mapping[str, Any]) -> Payload:
    _only(payload, "text")
    return {"text": _written(payload)}


def _correct(task: Task, payload: Mapping[str, Any]) -> Payload:
    _only(payload, "response_id", "text", "reason")
    response = task.responses[0]
    if payload.get("response_id", response.id) != response.id:
        raise Refused("malformed", detail="response_id")
    text = _written(payload)
    if text == response.text:
        raise Refused("text_unchanged")
    return {"response_id": response.id, "text": text} | _present(reason=_text(payload, "reason"))


def _conversation(task: Task, payload: Mapping[str, Any]) -> Payload:
    _only(payload, "turns", "prompt_flags", "reason")
    turns = {str(turn): rating for turn, rating in _mapping(payload, "turns").items()}
    wanted = turns_of(task)
    if set(turns) != set(wanted):
        raise Refused("turn_missing", detail=", ".join(sorted(set(wanted) ^ set(turns))))
    cleaned = {"turns": {turn: _rating(turns[turn], "turn_missing", turn) for turn in wanted}}
    flags = _flags(payload.get("prompt_flags", []), PROMPT_FLAGS)
    return cleaned | _present(prompt_flags=flags, reason=_text(payload, "reason"))


def turns_of(task: Task) -> tuple[str, ...]:
    """Return the indices of a conversation's assistant turns as strings; a response after the prompt is one more."""
    turns = [n for n, message in enumerate(task.prompt.messages) if message.role == "assistant"]
    return tuple(map(str, turns + [len(task.prompt.messages)] * len(task.responses)))


_CLEANERS: dict[Kind, Callable[[Task, Mapping[str, Any]], Payload]] = {
    "rank": _rank,
    "evaluate": _rank,
    "compare": _compare,
    "demonstrate": _demonstrate,
    "correct": _correct,
    "conversation": _conversation,
}


def _rating(value: object, key: str, what: str) -> Payload:
    if not isinstance(value, Mapping):
        raise Refused("malformed", detail=what)
    rating = cast("Mapping[str, Any]", value)
    _only(rating, "quality", "flags")
    if not _whole(rating.get("quality"), 1, 7):
        raise Refused(key, detail=what)
    return {"quality": rating["quality"]} | _present(flags=_flags(rating.get("flags", []), RESPONSE_FLAGS))


def _flags(value: object, known: Sequence[str]) -> list[str]:
    """Return the flags without repetition, in the order of their list; a page from before the upgrade sends former names."""
    if not isinstance(value, list | tuple):
        raise Refused("malformed", detail="flags")
    given = {flag_named(flag) if isinstance(flag, str) else flag for flag in cast("list[object]", value)}
    if not given <= set(known):
        raise Refused("malformed", detail="flags")
    return [flag for flag in known if flag in given]


def _only(payload: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(map(str, payload.keys() - set(known))):
        raise Refused("malformed", detail=unknown[0])


def _mapping(payload: Mapping[str, Any], field: str) -> dict[Any, Any]:
    value = payload.get(field, {})
    if not isinstance(value, Mapping):
        raise Refused("malformed", detail=field)
    return dict(cast("Mapping[Any, Any]", value))


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _text(payload: Mapping[str, Any], field: str) -> str:
    value = payload.get(field, "")
    if not isinstance(value, str):
        raise Refused("malformed", detail=field)
    if len(value) > LONGEST:
        raise Refused("too_long", detail=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused("malformed", detail=field) from error
    return value


def _written(payload: Mapping[str, Any]) -> str:
    text = _text(payload, "text")
    if not text.strip():
        raise Refused("text_missing")
    return text


def _present(**fields: Any) -> Payload:
    return {key: value for key, value in fields.items() if value}
