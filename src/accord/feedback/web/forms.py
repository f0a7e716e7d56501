"""Forms as browsers post them, and the answer payloads in them. Responses are named by their position on the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qs

from accord.feedback.payloads import text_of, turns_of
from accord.feedback.queue import Task
from accord.feedback.refusals import Refused
from accord.settings.questions import Question, Questions

MOST_FIELDS = 2000
Payload = dict[str, Any]


class Form:
    """The fields of a posted form; line breaks are \\n whatever the browser sent."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    @classmethod
    def parse(cls, body: bytes, content_type: str) -> Form:
        """Parse application/x-www-form-urlencoded. Raises Refused (400) for anything else: there are no uploads."""
        if content_type.split(";")[0].strip().lower() not in ("application/x-www-form-urlencoded", ""):
            raise Refused("malformed", 415, content_type)
        try:
            return cls(parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
        except ValueError as error:
            raise Refused("malformed", 400, str(error)) from error

    def get(self, name: str) -> str:
        """Return the first value of a field, empty when it is missing."""
        return self._fields.get(name, ("",))[0].replace("\r\n", "\n")

    def has(self, name: str) -> bool:
        """Return whether a field was sent, even an empty one."""
        return name in self._fields

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return list(self._fields.get(name, ()))

    def whole(self, name: str) -> int | None:
        """Return a field's whole number. Raises Refused when it is something else."""
        text = self.get(name)
        if not text:
            return None
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10):
            raise Refused("malformed", detail=name)
        return int(text)

    def number(self, name: str) -> float:
        """Return a field's number; 0 when it is missing or invalid."""
        try:
            return float(self.get(name) or 0)
        except ValueError:
            return 0.0


def payload_of(task: Task, order: Sequence[str], form: Form, questions: Questions) -> Payload:
    """Return the payload in a form, complete or not: ``answers.submit`` validates it, and a draft may be incomplete."""
    return _task_payload(task, order, form) | _given(answers=_answers(task, order, form, questions))


def places_of(task: Task, order: Sequence[str]) -> dict[str, str]:
    """Return what stands for each response or turn in the names of the fields: its place on the page, or the turn's number."""
    return {turn: turn for turn in turns_of(task)} if task.kind == "conversation" else {id: str(n) for n, id in enumerate(order, 1)}


def field_of(name: str, place: str = "") -> str:
    """Return the name of the field for a question about the prompt, or about the response at a place."""
    return f"answer.{place or 'prompt'}.{name}"


def _answers(task: Task, order: Sequence[str], form: Form, questions: Questions) -> Payload:
    """Return the answers to a project's own questions; those left open are missing."""
    prompt = _asked(form, questions.asked(task.kind, "prompt"), "", "")
    about, responses = questions.asked(task.kind, "response"), dict[str, Payload]()
    for target, place in places_of(task, order).items():
        if said := _asked(form, about, place, text_of(task, target)):
            responses[target] = said
    return _given(prompt=prompt, responses=responses)


def _asked(form: Form, asked: Sequence[Question], place: str, text: str) -> Payload:
    found: Payload = {}
    for question in asked:
        value = _value(question, form, field_of(question.name, place), text)
        if value is not None:
            found[question.name] = value
    return found


def _value(question: Question, form: Form, field: str, text: str) -> object:
    """Return the answer in a field, None when it was left open. Raises Refused for what no page of ours sends."""
    if question.kind == "spans":
        return spans_in(form.get(field), text) if form.has(field) else None
    if question.kind == "scale":
        return form.whole(field)
    given = form.get(field)
    if question.kind == "yes-no" and given:
        if given not in ("yes", "no"):
            raise Refused("malformed", detail=field)
        return given == "yes"
    return given or None


def spans_in(given: str, text: str) -> list[Payload] | str:
    """Return the spans in a field, as scripts write them (JSON) or as people do: a line with a kind, ``|``, and the words of the text.

    Lines whose words are not in the text are returned as they are: ``payloads`` refuses them, and the page shows them again.

    Raises:
        Refused: the JSON is no list of spans.
    """
    if given.lstrip().startswith("["):
        try:
            listed = json.loads(given)
        except ValueError as error:
            raise Refused("malformed", detail="spans") from error
        if not all(isinstance(each, list) and len(cast("list[object]", each)) == 3 for each in listed):
            raise Refused("malformed", detail="spans")
        return [{"start": start, "end": end, "kind": kind} for start, end, kind in listed]
    found, after = list[Payload](), dict[str, int]()
    for line in filter(str.strip, given.split("\n")):
        kind, bar, words = (part.strip() for part in line.partition("|"))
        start = text.find(words, after.get(words, 0)) if bar and words else -1
        if start < 0:
            return given
        after[words] = start + len(words)  # the same line again means the next occurrence
        found.append({"start": start, "end": start + len(words), "kind": kind})
    return found


def _task_payload(task: Task, order: Sequence[str], form: Form) -> Payload:
    match task.kind:
        case "rank" | "evaluate":
            return _ranked(order, form)
        case "compare":
            return _given(choice=form.get("choice"), reason=form.get("reason"))
        case "demonstrate" | "prompt":
            return {"text": form.get("text")}
        case "correct":
            return {"response_id": order[0], "text": form.get("text")} | _given(reason=form.get("reason"))
        case "conversation":
            return {"turns": _ratings(form, {turn: turn for turn in turns_of(task)})}
        case "mark":
            return _given(reason=form.get("reason"))
        case "fact":
            return _given(verdict=form.get("verdict"), reason=form.get("reason"))


def _ranked(order: Sequence[str], form: Form) -> Payload:
    places = {str(place): id for place, id in enumerate(order, 1)}
    ranks = {id: rank for place, id in places.items() if (rank := form.whole(f"rank-{place}")) is not None}
    rest = _given(prompt_flags=form.all("prompt_flags"), reason=form.get("reason"), all_bad=form.get("all_bad") == "yes")
    return {"ranks": ranks, "ratings": _ratings(form, places)} | rest


def _ratings(form: Form, names: Mapping[str, str]) -> dict[str, Payload]:
    """Return ratings by number of the rated item; items left alone are missing."""
    found = {name: _given(quality=form.whole(f"quality-{place}"), flags=form.all(f"flags-{place}")) for place, name in names.items()}
    return {name: rating for name, rating in found.items() if rating}


def _given(**fields: Any) -> Payload:
    return {name: value for name, value in fields.items() if value}
