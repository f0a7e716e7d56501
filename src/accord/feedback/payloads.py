"""Validation of answers for each kind of task. Nothing here reads or writes the store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from accord.feedback.queue import Kind, Task
from accord.feedback.refusals import Refused
from accord.records import flag_named
from accord.settings.questions import Question, Questions, usual

Payload = dict[str, Any]
LONGEST = 100_000
"""Maximum length in characters of a text written by a labeler."""
CHOICES = ("first", "second", "tie", "both_bad")
VERDICTS = ("supported", "contradicted", "absent")
"""What a document says of a claim; absent: nothing."""


LONGEST_ANSWER = 4_000
"""Maximum length in characters of an answer in words to a question."""
MOST_SPANS = 500
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]")
"""A Chinese character, a word, or a mark."""


def clean(task: Task, payload: Mapping[str, Any], questions: Questions | None = None) -> Payload:
    """Return the checked payload in its stored form: ranks from 1 without gaps, no empty fields.

    Args:
        questions: in force in the project; answers to them stand in ``answers``, and ``questions`` records the version of each.
            None means those of a project that has none of its own.

    Raises:
        Refused: a field is missing, unknown or does not fit the task (422).
    """
    if "skip" in payload:
        _only(payload, "skip")
        return {"skip": _text(payload, "skip")}
    asked = questions or usual()
    fields = {key: value for key, value in payload.items() if key not in ("answers", "questions")}
    return _CLEANERS[task.kind](task, fields, asked) | _answered(task, payload, asked)


def dense(ranks: Mapping[str, int]) -> dict[str, int]:
    """Return the same order with ranks 1, 2, 3 ... without gaps."""
    places = {rank: n for n, rank in enumerate(sorted(set(ranks.values())), 1)}
    return {id: places[rank] for id, rank in ranks.items()}


def _rank(task: Task, payload: Mapping[str, Any], questions: Questions) -> Payload:
    _only(payload, "ranks", "ratings", "prompt_flags", "reason", "all_bad")
    ids = [response.id for response in task.responses]
    bad = payload.get("all_bad", False)
    if not isinstance(bad, bool):
        raise Refused("malformed", detail="all_bad")
    ranks = _mapping(payload, "ranks") or (dict.fromkeys(ids, 1) if bad else {})
    if set(ranks) != set(ids) or not all(_whole(rank, 1, 1000) for rank in ranks.values()):
        raise Refused("ranks_incomplete")
    ratings = _mapping(payload, "ratings")
    if (ratings and "ratings" in task.without) or (payload.get("prompt_flags") and "flags" in task.without):
        raise Refused("malformed", detail="a part that the task does without")
    if not set(ratings) <= set(ids):
        raise Refused("malformed", detail="ratings")
    if set(ratings) != set(ids) and not bad and "ratings" not in task.without:
        raise Refused("rating_missing", detail=", ".join(sorted(set(ids) - set(ratings))))
    cleaned: Payload = {"ranks": dense(ranks)}
    if "flags" in task.without and any(cast("Payload", rating).get("flags") for rating in ratings.values() if isinstance(rating, Mapping)):
        raise Refused("malformed", detail="flags")
    cleaned["ratings"] = {id: _rating(rating, questions, "rating_missing", id) for id, rating in ratings.items()}
    flags = _flags(payload.get("prompt_flags", []), questions.flags("prompt"))
    return cleaned | _present(prompt_flags=flags, reason=_text(payload, "reason"), all_bad=bad)


def _compare(_: Task, payload: Mapping[str, Any], __: Questions) -> Payload:
    _only(payload, "choice", "reason")
    if payload.get("choice") not in CHOICES:
        raise Refused("choice_missing")
    return {"choice": payload["choice"]} | _present(reason=_text(payload, "reason"))


def _demonstrate(task: Task, payload: Mapping[str, Any], _: Questions) -> Payload:
    _only(payload, "text", "draft")
    return {"text": _written(payload)} | _begun(task, _written(payload))


def _begun(task: Task, text: str) -> Payload:
    """Return which draft a text began with, and the share of its words that are the draft's; empty without one.

    What the page sends of it does not count.
    """
    if task.draft is None:
        return {}
    return {"draft": {"response_id": task.draft.id, "kept": round(kept(task.draft.text, text), 3)}}


def kept(draft: str, text: str) -> float:
    """Return the share of words that a draft and what was made of it have in common, of the longer one's; order does not count."""
    one, other = Counter(_WORD.findall(draft)), Counter(_WORD.findall(text))
    return (one & other).total() / max(one.total(), other.total(), 1)


def _prompt(_: Task, payload: Mapping[str, Any], __: Questions) -> Payload:
    _only(payload, "text")
    if not _text(payload, "text").strip():
        raise Refused("prompt_missing")
    return {"text": _text(payload, "text")}


def _correct(task: Task, payload: Mapping[str, Any], _: Questions) -> Payload:
    _only(payload, "response_id", "text", "reason", "draft")
    response = task.responses[0]
    if payload.get("response_id", response.id) != response.id:
        raise Refused("malformed", detail="response_id")
    text = _written(payload)
    if text == response.text:
        raise Refused("text_unchanged")
    return {"response_id": response.id, "text": text} | _begun(task, text) | _present(reason=_text(payload, "reason"))


def _conversation(task: Task, payload: Mapping[str, Any], questions: Questions) -> Payload:
    _only(payload, "turns", "prompt_flags", "reason")
    turns = {str(turn): rating for turn, rating in _mapping(payload, "turns").items()}
    wanted = turns_of(task)
    if set(turns) != set(wanted):
        raise Refused("turn_missing", detail=", ".join(sorted(set(wanted) ^ set(turns))))
    cleaned = {"turns": {turn: _rating(turns[turn], questions, "turn_missing", turn) for turn in wanted}}
    flags = _flags(payload.get("prompt_flags", []), questions.flags("prompt"))
    return cleaned | _present(prompt_flags=flags, reason=_text(payload, "reason"))


def _mark(task: Task, payload: Mapping[str, Any], questions: Questions) -> Payload:
    """Nothing but the answers: ``_answered`` has the passages, and sees to it that each question for them was answered."""
    _only(payload, "reason")
    if not any(question.kind == "spans" for question in questions.asked(task.kind, "response")):
        raise Refused("malformed", detail="no question marks passages")
    return _present(reason=_text(payload, "reason"))


def _fact(_: Task, payload: Mapping[str, Any], __: Questions) -> Payload:
    _only(payload, "verdict", "reason")
    if payload.get("verdict") not in VERDICTS:
        raise Refused("verdict_missing")
    return {"verdict": payload["verdict"]} | _present(reason=_text(payload, "reason"))


def turns_of(task: Task) -> tuple[str, ...]:
    """Return the indices of a conversation's assistant turns as strings; a response after the prompt is one more."""
    turns = [n for n, message in enumerate(task.prompt.messages) if message.role == "assistant"]
    return tuple(map(str, turns + [len(task.prompt.messages)] * len(task.responses)))


_CLEANERS: dict[Kind, Callable[[Task, Mapping[str, Any], Questions], Payload]] = {
    "rank": _rank,
    "evaluate": _rank,
    "compare": _compare,
    "demonstrate": _demonstrate,
    "correct": _correct,
    "conversation": _conversation,
    "prompt": _prompt,
    "mark": _mark,
    "fact": _fact,
}


def targets_of(task: Task) -> tuple[str, ...]:
    """Return what a task asks its questions about responses of: the responses, or the turns of a conversation."""
    return turns_of(task) if task.kind == "conversation" else tuple(response.id for response in task.shown)


def text_of(task: Task, target: str) -> str:
    """Return the text of a response, or of a turn of a conversation, in whose characters spans are counted."""
    if task.kind != "conversation":
        return next(response.text for response in task.responses if response.id == target)
    turn = int(target)
    return task.prompt.messages[turn].content if turn < len(task.prompt.messages) else task.responses[0].text


def _answered(task: Task, payload: Mapping[str, Any], questions: Questions) -> Payload:
    """Return the answers to a project's own questions with the version of each; empty when none was answered."""
    given = _mapping(payload, "answers")
    _only(given, "prompt", "responses")
    about, targets = _mapping(given, "responses"), targets_of(task)
    if unknown := sorted(map(str, about.keys() - set(targets))):
        raise Refused("malformed", detail=unknown[0])
    optional = bool(payload.get("all_bad"))  # then the responses need no ratings, and no answers either
    prompt = _answers(_mapping(given, "prompt"), questions.asked(task.kind, "prompt"), "", optional=False)
    asked, found = questions.asked(task.kind, "response"), dict[str, Payload]()
    if task.kind == "mark":  # nothing marked is an answer, and nothing answered is none
        asked = [replace(question, required=True) if question.kind == "spans" else question for question in asked]
    for target in targets:
        said = _answers(_mapping(about, target), asked, text_of(task, target), optional=optional)
        if said:
            found[target] = said
    named = {*prompt, *(name for said in found.values() for name in said)}
    versions = {name: questions.by_name[name].version for name in sorted(named)}
    return _present(answers=_present(prompt=prompt, responses=found), questions=versions)


def _answers(given: Mapping[str, Any], asked: Sequence[Question], text: str, *, optional: bool) -> Payload:
    known = {question.name: question for question in asked}
    _only(given, *known)
    found: Payload = {}
    for name, question in known.items():
        value = _answer(question, given.get(name), text)
        if value is None and question.required and not optional:
            raise Refused("question_missing", detail=name)
        if value is not None:
            found[name] = value
    return found


def _answer(question: Question, value: object, text: str) -> object:
    """Return a checked answer to a question; None when it was left open."""
    if value is None or value == "":
        return None
    if question.kind == "text":
        written = _text({question.name: value}, question.name)
        if len(written) > LONGEST_ANSWER:
            raise Refused("too_long", detail=question.name)
        return written if written.strip() else None
    if question.kind == "spans":
        return _spans(question, value, text)
    if not any(value == possible and type(value) is type(possible) for possible in question.values):
        raise Refused("malformed", detail=question.name)
    return value


def _spans(question: Question, value: object, text: str) -> list[Payload]:
    """Return marked parts of a text, in its order: start and end in characters, and the kind. An empty list says that nothing is wrong."""
    if isinstance(value, str):
        raise Refused("span_misplaced", detail=question.name)
    if not isinstance(value, list | tuple) or len(cast("list[object]", value)) > MOST_SPANS:
        raise Refused("malformed", detail=question.name)
    kinds, found = {option.value for option in question.options}, set[tuple[int, int, str]]()
    for span in cast("list[object]", value):
        if not isinstance(span, Mapping):
            raise Refused("malformed", detail=question.name)
        fields = cast("Mapping[str, Any]", span)
        _only(fields, "start", "end", "kind")
        start, end, kind = fields.get("start"), fields.get("end"), fields.get("kind")
        inside = _whole(start, 0, len(text)) and _whole(end, 0, len(text)) and cast("int", start) < cast("int", end)
        if kind not in kinds or not inside:
            raise Refused("span_misplaced", detail=question.name)
        found.add((cast("int", start), cast("int", end), str(kind)))
    return [{"start": start, "end": end, "kind": kind} for start, end, kind in sorted(found)]


def _rating(value: object, questions: Questions, key: str, what: str) -> Payload:
    if not isinstance(value, Mapping):
        raise Refused("malformed", detail=what)
    rating = cast("Mapping[str, Any]", value)
    _only(rating, "quality", "flags")
    if not _whole(rating.get("quality"), 1, 7):
        raise Refused(key, detail=what)
    return {"quality": rating["quality"]} | _present(flags=_flags(rating.get("flags", []), questions.flags("response")))


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
