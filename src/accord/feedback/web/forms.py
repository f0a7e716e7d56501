"""Forms as browsers post them, and the answer payloads in them. Responses are named by their position on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from accord.feedback.payloads import turns_of
from accord.feedback.queue import Task
from accord.feedback.refusals import Refused

MOST_FIELDS = 400
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


def payload_of(task: Task, order: Sequence[str], form: Form) -> Payload:
    """Return the payload in a form, complete or not: ``answers.submit`` validates it, and a draft may be incomplete."""
    match task.kind:
        case "rank" | "evaluate":
            return _ranked(order, form)
        case "compare":
            return _given(choice=form.get("choice"), reason=form.get("reason"))
        case "demonstrate":
            return {"text": form.get("text")}
        case "correct":
            return {"response_id": order[0], "text": form.get("text")} | _given(reason=form.get("reason"))
        case "conversation":
            return {"turns": _ratings(form, {turn: turn for turn in turns_of(task)})}


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
