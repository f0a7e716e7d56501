"""Potato's output: one instance of one annotator per row, as JSON lines or as a table with columns ``SCHEMA:::LABEL``.

The output shows what the annotator saw, not the prompt: join your data file's columns to it by the instance's id before the import.
"""

from __future__ import annotations

import re
from typing import Any, cast

from accord.data.row_extra import keyed, noted
from accord.data.row_records import LABELER, Taken, make_prompt, ranked
from accord.data.row_turns import asked
from accord.data.rows import Row, empty, listed, plain, shown

ASKED = ("prompt", "messages", "conversation", "instruction", "question", "query", "input", "history")
_LISTS = ("responses", "answers", "completions", "outputs", "items", "options", "text")
_SEPARATOR = ":::"
_SHOWN = re.compile(r"\s*A\. (.*?)(?:<br\s*/?>|\n)\s*B\. (.*?)(?:<br\s*/?>)?\s*", re.DOTALL)
_THIRD = re.compile(r"(?:<br\s{0,20}/?>|\n)\s{0,20}C\. ")
_PLAIN_FOLDERS = ("", "full", "annotation_output")


def of_instances(value: dict[str, Any]) -> bool:
    """Return whether a row is an annotated instance."""
    return isinstance(value.get("label_annotations"), dict) or any(_SEPARATOR in name for name in value)


def instances(row: Row) -> Taken:
    """Read an annotator's choice between two answers as a ranking; the other annotations stay with the prompt."""
    said = _labels(row)
    pairs = {schema: labels for schema, labels in said.items() if "selection" in labels or "scale_value" in labels}
    spans = plain(row.raw("span_annotations")) if not empty(row.peek("span_annotations")) else None
    for name in ("id", "instance_id"):
        row.raw(name)
    if not said and spans is None:
        return Taken(dropped="instance without an annotation")
    if not any(row.has(name) for name in ASKED):
        hint = "join your data file's column by instance_id, or name the column by --map prompt=COLUMN"
        raise row.error("prompt", f"Potato's output does not hold the prompt: none of {', '.join(ASKED)}", hint)
    who = row.word("user", row.word("user_id", _folder(row)))
    person = row.like({"labeler": who}, "user.")
    # The column user names the annotator, who did not ask the prompt.
    asking = row.like({name: cell for name, cell in row.value.items() if name != "user"})
    prompt, note = make_prompt(asking, asked(asking, *ASKED)), {**said, **({"spans": spans} if spans is not None else {})}
    if not pairs:
        return noted(Taken((prompt,)), keyed("judgement", {"labeler": who, **note}))
    chosen = _overall(row, pairs)
    taken = ranked(person, prompt, _answers(row), _ranks(row, chosen, pairs[chosen]))
    rest = {schema: labels for schema, labels in note.items() if schema != chosen or "scale_value" in labels}
    return noted(taken, keyed("judgement", {"labeler": who, **rest})) if rest and taken.records else taken


def _labels(row: Row) -> dict[str, dict[str, Any]]:
    """Return what was annotated, by schema and label; empty values are left out."""
    said = dict[str, dict[str, Any]]()
    if row.has("label_annotations"):
        schemas = row.row("label_annotations")
        for schema in schemas.value:
            labels = schemas.row(schema)
            said[schema] = {label: plain(labels.raw(label)) for label in labels.value if not empty(labels.peek(label))}
    for name in row.value:
        schema, separator, label = name.partition(_SEPARATOR)
        if separator and not empty(row.peek(name)):
            said.setdefault(schema, {})[label] = plain(row.raw(name))
    return {schema: labels for schema, labels in said.items() if labels}


def _field(row: Row, schema: str, label: str) -> str:
    return f"label_annotations.{schema}.{label}" if row.has("label_annotations") else f"{schema}{_SEPARATOR}{label}"


def _overall(row: Row, pairs: dict[str, dict[str, Any]]) -> str:
    """Return the schema that says which answer is better on the whole."""
    named = [schema for schema in pairs if re.search(r"overall|prefer|better|best", schema, re.IGNORECASE)]
    found = [*pairs] if len(pairs) == 1 else named
    if len(found) != 1:
        schema = next(iter(pairs))
        label = next(iter(pairs[schema]))
        field = _field(row, schema, label)
        what = f"{len(pairs)} comparisons ({', '.join(pairs)[:100]}), and it is not known which one ranks the answers"
        raise row.error(field, what, f"leave the others out: --drop {field.removesuffix(f'.{label}')!r}")
    return found[0]


def _ranks(row: Row, schema: str, labels: dict[str, Any]) -> tuple[int, int]:
    if "selection" in labels:
        word = str(labels["selection"]).strip().lower()
        if word not in ("a", "b", "tie"):
            raise row.error(_field(row, schema, "selection"), f"{shown(labels['selection'])} is none of A, B, tie")
        return {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}[word]
    value = row.like({"scale": labels["scale_value"]}, "scale.")
    try:
        number = value.number("scale")
    except ValueError as error:
        raise row.error(_field(row, schema, "scale_value"), f"not a number: {shown(labels['scale_value'])}") from error
    return (1, 2) if number < 0 else (2, 1) if number > 0 else (1, 1)


def _answers(row: Row) -> tuple[str, ...]:
    """Return the two answers: a list, ``left`` and ``right``, or as they were shown."""
    for name in _LISTS:
        value: Any = row.peek(name)
        value = listed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
        if isinstance(value, list):
            texts = row.texts(name)
            if len(texts) != 2:
                raise row.error(name, f"a comparison is between two answers, not {len(cast(list[Any], value))}")
            row.raw("displayed_text")
            return texts
    if row.has("left", "right"):
        row.raw("displayed_text")
        return row.text("left"), row.text("right")
    text = row.text("displayed_text", "")
    match = _SHOWN.fullmatch(text)
    if not match or _THIRD.search(text):
        hint = f"join your data file's column with the list of both ({', '.join(_LISTS[:3])}, ...), or left and right"
        raise row.error("displayed_text", "the two answers are not known: they are not shown as A. and B.", hint)
    return match[1], match[2]


def _folder(row: Row) -> str:
    """Return the annotator's name: Potato writes one folder for each."""
    name = row.file.parent.name
    return name if row.file.name.startswith("annotated_instances") and name not in _PLAIN_FOLDERS else LABELER
