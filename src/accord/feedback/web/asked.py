"""Questions and flags as a task's page shows them, in the reader's language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accord.feedback.queue import Kind
from accord.feedback.web.forms import field_of, spans_in
from accord.settings.questions import About, Language, Question, QuestionKind, Questions, said

FLAG_KEYS = "asdfghjklqwetyuopcm"
"""The keyboard key of each flag, along the home row and then the others; further flags have none."""


@dataclass(frozen=True, slots=True)
class ShownFlag:
    """A flag, with its key."""

    name: str
    text: str
    definition: str
    key: str


@dataclass(frozen=True, slots=True)
class ShownOption:
    """An answer that can be chosen."""

    value: str
    text: str
    definition: str


@dataclass(frozen=True, slots=True)
class ShownQuestion:
    """A question with the answer so far."""

    field: str
    kind: QuestionKind
    text: str
    definition: str
    required: bool
    lowest: str
    highest: str
    options: tuple[ShownOption, ...]
    answer: str
    """As the form has it: a text or the value of an option; spans as lines (``forms.spans_in``)."""
    marks: str = ""
    """Spans as JSON."""


def flags(questions: Questions, task: Kind, about: About, language: Language) -> list[ShownFlag]:
    """Return the flags of a response or of the prompt."""
    asked = questions.asked(task, about, flags=True)
    keys = FLAG_KEYS.ljust(len(asked))
    return [
        ShownFlag(each.name, said(each.text, language), said(each.definition, language), key.strip())
        for each, key in zip(asked, keys, strict=False)
    ]


def shown(
    questions: Questions, task: Kind, about: About, language: Language, given: Mapping[str, Any], place: str = "", text: str = ""
) -> list[ShownQuestion]:
    """Return the questions about the prompt, or about the response at a place, with the answers given so far."""
    return [_shown(each, language, given.get(each.name), place, text) for each in questions.asked(task, about)]


def _shown(question: Question, language: Language, value: Any, place: str, text: str) -> ShownQuestion:
    options = [ShownOption(each.value, said(each.text, language), said(each.definition, language)) for each in question.options]
    if question.kind == "scale":
        options = [ShownOption(str(step), str(step), "") for step in question.values]
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return ShownQuestion(
        field_of(question.name, place),
        question.kind,
        said(question.text, language),
        said(question.definition, language),
        question.required,
        said(question.lowest, language),
        said(question.highest, language),
        tuple(options),
        lines_of(value or [], text) if question.kind == "spans" else "" if value is None else str(value),
        as_json(value or []) if question.kind == "spans" else "",
    )


def lines_of(spans: list[dict[str, Any]] | str, text: str) -> str:
    """Return spans as people write them; as JSON where their words stand earlier in the text too, so that no span moves."""
    if isinstance(spans, str):  # as somebody wrote them, and they are not in the text
        return spans
    lines = "".join(f"{span['kind']} | {text[span['start'] : span['end']]}\n" for span in spans)
    return lines if spans_in(lines, text) == spans else as_json(spans)


def as_json(spans: list[dict[str, Any]] | str) -> str:
    """Return spans as the scripts have them: start, end, kind."""
    return "[]" if isinstance(spans, str) else json.dumps([[span["start"], span["end"], span["kind"]] for span in spans])
