"""Argilla's records: of its server (1.x and 2.x), as its Python library writes them, and as columns of a data set of the hub.

Without the data set's settings, an answer is understood by its value and by the record's fields that it names: an order of fields, one
field that was chosen, a thumb, stars for each field, marked spans, a written answer. Any other answer stays with the prompt. Suggestions
are a model's and judge nothing here: they stay with the prompt, with agent and score.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from accord.data.formats_judged import verdict
from accord.data.row_context import is_turns
from accord.data.row_extra import keyed, noted
from accord.data.row_records import MOST, Taken, answered, demonstrated, labeler_of, make_prompt, places, ranked, unusable
from accord.data.row_turns import asked
from accord.data.rows import Row, empty, plain, shown
from accord.data.spans import Span
from accord.records import Prompt, Thumb

ASKED = ("prompt", "messages", "conversation", "chat", "instruction", "question", "query", "input", "text", "history")
"""Fields of a record that may hold the prompt."""
STATUSES = ("submitted", "discarded", "draft")
_ADMINISTRATION = ("id", "external_id", "_server_id", "status", "inserted_at", "updated_at", "dataset_id")
_ANSWER = re.compile(r"answer|response|completion|output|generation|reply|candidate|summary|chosen|rejected|code", re.IGNORECASE)
_WRITTEN = re.compile(r"answer|response|correct|rewrite|demonstration|edit|completion", re.IGNORECASE)
_TIES = ("tie", "equal", "equally good", "same", "draw")
_FLAT = ".responses"


@dataclass(frozen=True)
class _Answer:
    """One annotator's answer to one question."""

    user: str
    status: str
    at: str
    question: str
    value: Any
    row: Row
    """The row and the field that the value is in, for errors."""
    field: str


def of_records(value: dict[str, Any]) -> bool:
    """Return whether a row is a record with its fields and its annotators' answers."""
    return isinstance(value["fields"], dict) and isinstance(value["responses"], dict | list | None)


def of_columns(value: dict[str, Any]) -> bool:
    """Return whether a row is a record whose fields and questions are columns."""
    return any(name.endswith(_FLAT) or _is_question(cell) for name, cell in value.items())


def _is_question(cell: object) -> bool:
    first: Any = cast(list[Any], cell)[0] if isinstance(cell, list) and cell else None
    return isinstance(first, dict) and {"user_id", "value", "status"} <= set(cast(dict[str, Any], first))


def records(row: Row) -> Taken:
    """Read a record whose answers stand in ``responses``: by question (the Python library), or by annotator (the server)."""
    data = row.row("fields")
    if isinstance(row.peek("responses"), dict):
        answers = list(_by_question(row.row("responses")))
    else:
        answers = list(_by_annotator(row)) if row.has("responses") else []
    given = plain(row.raw("suggestions")) if not empty(row.peek("suggestions")) else {}
    return _taken(row, data, answers, cast(dict[str, Any], given) if isinstance(given, dict) else {"suggestions": given})


def columns(row: Row) -> Taken:
    """Read a record whose fields and questions are columns, as in data sets of the hub and in the library's flat form."""
    answers, suggested = list[_Answer](), dict[str, Any]()
    for name in row.value:
        if name.endswith(_FLAT):
            answers += _flat(row, name)
        elif _is_question(row.peek(name)):
            answers += (_answer(each, name, each, "value") for each in row.rows(name))
    questions = list(dict.fromkeys(answer.question for answer in answers))
    for question in questions:
        named = (name for name in row.value if name.startswith((f"{question}-suggestion", f"{question}.suggestion")))
        suggested |= {name: plain(row.raw(name)) for name in named if not empty(row.peek(name))}
    return _taken(row, row, answers, suggested)


def _by_question(responses: Row) -> Iterator[_Answer]:
    for question in responses.value:
        for each in responses.rows(question):
            yield _answer(each, question, each, "value")


def _by_annotator(row: Row) -> Iterator[_Answer]:
    for person in row.rows("responses"):
        person.raw("id")
        if not person.has("values"):  # a discarded record may be left unanswered
            yield _answer(person, "", person, "values")
            continue
        values = person.row("values")
        for question in values.value:
            yield _answer(person, question, values.row(question), "value")


def _answer(person: Row, question: str, row: Row, field: str) -> _Answer:
    status = person.word("status", "submitted")
    if status not in STATUSES:
        raise person.error("status", f"{shown(status)} is none of {', '.join(STATUSES)}")
    at = person.word("inserted_at")
    person.raw("updated_at")
    value = row.raw(field)
    if value is None and status == "submitted":
        raise row.error(field, "missing", "leave the answer out, or give it the status discarded")
    user = person.word("user_id", "imported")
    return _Answer("imported" if user == "None" else user, status, at[:40], question, value, row, field)


def _flat(row: Row, name: str) -> Iterator[_Answer]:
    """Yield the answers of the library's flat form: values, annotators and statuses in columns of their own."""
    if row.peek(name) is None:
        return
    values, users, statuses = row.items(name), row.texts(f"{name}.users"), row.items(f"{name}.status")
    if not len(values) == len(users) == len(statuses):
        raise row.error(name, f"{len(values)} answers of {len(users)} annotators with {len(statuses)} statuses")
    for i, (value, user, status) in enumerate(zip(values, users, statuses, strict=True)):
        if status not in (*STATUSES, None):
            raise row.error(f"{name}.status", f"{shown(status)} is none of {', '.join(STATUSES)}")
        yield _Answer(user, status or "submitted", "", name.removesuffix(_FLAT), value, row, f"{name}[{i}]")


def _taken(row: Row, data: Row, answers: Sequence[_Answer], suggested: dict[str, Any]) -> Taken:
    for name in _ADMINISTRATION:
        row.raw(name)
    taken, submitted = Taken(), dict[str, list[_Answer]]()
    left = dict[tuple[str, str], None]()
    for answer in answers:
        if answer.status == "submitted":
            submitted.setdefault(answer.user, []).append(answer)
        else:
            left[answer.user, f"{answer.status} by the annotator"] = None
    left_out = tuple(reason for _, reason in left)
    if not submitted:
        return Taken(dropped="record without a submitted answer")
    name = next((name for name in ASKED if data.has(name)), "")
    if not name:
        raise data.error("prompt", "no field holds the prompt", f"the record has {', '.join(data.value)[:150]}; one of {', '.join(ASKED)}")
    prompt = make_prompt(data, asked(data, name))
    for user, theirs in submitted.items():
        person = row.like({"labeler": _name_of(row, user), "at": theirs[0].at}, "annotator.")
        taken += _annotated(person, data, prompt, name, theirs)
    if suggested:
        taken = noted(taken, keyed("suggestions", suggested))
    return taken + Taken(left_out=left_out) if taken.records else taken


def _name_of(row: Row, user: str) -> str:
    """Return an annotator's name: the one that our own export wrote beside the id that Argilla asks for, or else the id."""
    metadata = row.peek("metadata")
    name = str(cast(dict[str, Any], metadata).get("labeler") or "") if isinstance(metadata, dict) else ""
    if not name or user_id(name) != user:
        return user
    return row.row("metadata").word("labeler")


def user_id(labeler: str) -> str:
    """Return the id of a labeler for Argilla, which names annotators by UUIDs; a name that is one stays as it is."""
    try:
        return str(uuid.UUID(labeler))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"accord:{labeler}"))


def _annotated(person: Row, data: Row, prompt: Prompt, asking: str, answers: Sequence[_Answer]) -> Taken:
    """Return the records of one annotator's answers to a record."""
    texts = [name for name in data.value if name != asking and isinstance(data.peek(name), str) and _ANSWER.search(name)]
    taken, stars, note = Taken(), dict[str, float](), dict[str, Any]()
    for answer in answers:
        value, about = answer.value, _named_in(answer.question, texts)
        order = _order(answer, data, asking)
        if order is not None:
            taken += _in_order(person, data, prompt, answer, order)
        elif isinstance(value, int | float) and not isinstance(value, bool) and about and len(texts) > 1:
            stars[about] = float(value)
        elif isinstance(value, str) and (choice := _choice(value, texts)) is not None:
            ranks = [1 if name == choice or not choice else 2 for name in texts[:MOST]]
            taken += ranked(person, prompt, [data.text(name) for name in texts[:MOST]], ranks)
        elif isinstance(value, str | bool) and verdict(value) is not None and about:
            taken += _thumb(person, prompt, data.text(about), bool(verdict(value)))
        elif about and (marks := _marks(answer)):
            taken += _marked(person, prompt, data.text(about), marks, answer)
        elif isinstance(value, str) and _WRITTEN.search(answer.question) and len(value.split()) > 1:
            taken += demonstrated(person, prompt, value)
        else:
            note[answer.question] = plain(value)
    if len(stars) > 1:
        names = list(stars)[:MOST]
        taken += ranked(person, prompt, [data.text(name) for name in names], places([stars[name] for name in names]))
    elif stars:
        note |= {f"rating of {name}": value for name, value in stars.items()}
    if not note:
        return taken
    if len(texts) == 1 and not taken.records and not taken.dropped:
        text = data.text(texts[0])
        reason = unusable(prompt, text)
        taken = Taken(dropped=reason) if reason else Taken((prompt, answered(prompt, text, prompt.source)))
    elif not taken.records and not taken.dropped:
        taken = Taken((prompt,))
    said = {"labeler": person.word("labeler"), **note}
    return noted(taken, keyed("judgement", said)) if taken.records else taken


def _named_in(question: str, texts: Sequence[str]) -> str:
    """Return the answer that a question is about: the one that it names, or the only one."""
    if len(texts) == 1:
        return texts[0]
    folded = re.sub(r"[\W_]+", "", question).lower()
    named = [name for name in texts if re.sub(r"[\W_]+", "", name).lower() in folded]
    if not named and (number := re.search(r"(?:^|[\W_])(\d|[a-z])$|(\d)$", question, re.IGNORECASE)):
        named = [name for name in texts if name.lower().endswith(str(number[1] or number[2]).lower())]
    return max(named, key=len) if named else ""


def _order(answer: _Answer, data: Row, asking: str) -> list[tuple[str, int]] | None:
    """Return the fields that an answer puts in order, each with its rank; None when it orders nothing.

    Raises:
        InputError: it ranks something that is no field of the record.
    """
    value: Any = answer.value
    if isinstance(value, dict) and {"rank", "value"} <= set(cast(dict[str, Any], value)):
        table = cast(dict[str, Any], value)
        names, given = [cast(list[Any], table[name]) if isinstance(table[name], list) else [] for name in ("value", "rank")]
        if not names or len(names) != len(given):
            raise answer.row.error(answer.field, f"as many values as ranks are needed: {shown(table)}")
        value = [{"value": name, "rank": rank} for name, rank in zip(names, given, strict=True)]
    items = cast(list[Any], value) if isinstance(value, list) else []
    if len(items) > 1 and all(isinstance(item, str) and item in data.value and item != asking for item in items):
        return [(item, rank) for rank, item in enumerate(items, 1)]
    if not items or not all(isinstance(item, dict) and "rank" in item and "value" in item for item in items):
        return None
    order = list[tuple[str, int]]()
    for item in cast(list[dict[str, Any]], items):
        name, rank = item["value"], item["rank"]
        if not isinstance(name, str) or name not in data.value or name == asking:
            hint = f"name the question's options after the fields: {', '.join(data.value)[:150]}"
            raise answer.row.error(answer.field, f"the ranked {shown(name)} is no answer of the record", hint)
        if type(rank) is not int or rank < 1:
            raise answer.row.error(answer.field, f"ranks are whole numbers from 1 (best), not {shown(rank)}")
        order.append((name, rank))
    if len({name for name, _ in order}) < len(order):
        raise answer.row.error(answer.field, f"an answer is ranked twice: {', '.join(name for name, _ in order)}")
    return order


def _in_order(person: Row, data: Row, prompt: Prompt, answer: _Answer, order: list[tuple[str, int]]) -> Taken:
    kept = sorted(order, key=lambda pair: pair[1])[:MOST]
    if len(kept) < 2:
        return Taken(left_out=("ranking of fewer than two",))
    if is_turns(data.peek(kept[0][0])):
        raise answer.row.error(answer.field, f"the ranked {kept[0][0]!r} is a conversation, not an answer")
    ranks = places([-float(rank) for _, rank in kept])
    taken = ranked(person, prompt, [data.text(name) for name, _ in kept], ranks)
    return taken + Taken(left_out=("ranked answer beyond the ninth",) * (len(order) - len(kept)) if taken.records else ())


def _choice(value: str, texts: Sequence[str]) -> str | None:
    """Return the answer that a label chooses, empty for a tie; None when it chooses none."""
    if len(texts) < 2:
        return None
    word = re.sub(r"[\W_]+", "", value).lower()
    if value.strip().lower() in _TIES:
        return ""
    chosen = [name for name in texts if re.sub(r"[\W_]+", "", name).lower() == word]
    if not chosen and re.fullmatch(r"\d|[a-z]", word):
        chosen = [name for name in texts if re.search(rf"(?:[\W_]|[a-z])({word})$", name, re.IGNORECASE)]
    return chosen[0] if len(chosen) == 1 else None


def _thumb(person: Row, prompt: Prompt, text: str, up: bool) -> Taken:
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    who, response = labeler_of(person), answered(prompt, text, prompt.source)
    return Taken((who, prompt, response, Thumb(prompt, response, up, who.id, who.group)))


def _marks(answer: _Answer) -> list[dict[str, Any]]:
    """Return the spans of an answer; none when it is something else."""
    items: list[Any] = cast(list[Any], answer.value) if isinstance(answer.value, list) else []
    found = [cast(dict[str, Any], item) for item in items if isinstance(item, dict)]
    return found if len(found) == len(items) and all({"start", "end", "label"} <= set(item) for item in found) else []


def _marked(person: Row, prompt: Prompt, text: str, marks: list[dict[str, Any]], answer: _Answer) -> Taken:
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    who, response = labeler_of(person), answered(prompt, text, prompt.source)
    spans = list[Span]()
    for mark in marks:
        start, end, kind = mark["start"], mark["end"], mark["label"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text) or not isinstance(kind, str):
            raise answer.row.error(answer.field, f"the span {shown(mark)} is not within the {len(text)} characters of the answer")
        spans.append(Span(response.id, start, end, kind, who.id))
    return Taken((who, prompt, response, *spans))
