"""Questions to labelers in force in a project, the versions kept of them, and the answers that were given to them.

``accord.settings.questions`` says what a question is. Each answer records the version of every question that it answers, and the store
keeps the wording of each version.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from accord.errors import InputError, UsageError
from accord.feedback import answers, schema
from accord.feedback.inserts import insert_rows
from accord.feedback.store import Store
from accord.records import GuidelineSet
from accord.settings.questions import (
    STANDARD,
    Option,
    Question,
    QuestionError,
    Questions,
    joined,
    located,
    parse,
    selection,
    standard,
)

LARGEST_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """One labeler's answer to one question."""

    question: str
    version: str
    prompt_id: str
    target: str
    """The response's id, the number of the assistant's turn, or empty for a question about the prompt."""
    value: Any
    """A number, an option, true or false, a text, or a list of spans."""
    labeler: str
    answer_id: str
    task_id: str
    guideline: GuidelineSet
    at: str


def load(section: Mapping[str, Any] | None = None, folder: Path | None = None) -> Questions:
    """Return the questions of a project.

    Args:
        section: [label.questions] of accord.toml.
        folder: the project's folder, to which the paths of files are relative.

    Raises:
        UsageError: a question cannot be asked; the error names the file, the line and the key.
        InputError: a file of questions cannot be read.
    """
    try:
        chosen = selection(section or {})
        return joined(chosen, [_set(name, folder or Path()) for name in chosen.sets])
    except QuestionError as error:
        toml = (folder or Path()) / "accord.toml"
        raise located(error, str(toml), toml.read_text("utf-8") if toml.is_file() else "") from error


def _set(name: str, folder: Path) -> Mapping[str, Question]:
    """Return a set that comes with Accord, or that of a file."""
    if name == STANDARD:
        return parse(standard(name))
    file = folder / name
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError("is too large for a file of questions", where=str(file), hint=f"at most {LARGEST_FILE} bytes")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        hint = f"`sets` names files relative to {folder}, and {STANDARD!r} for the standard set"
        raise InputError("is no file of questions", where=str(file), hint=hint) from error
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=str(file), hint="save it as UTF-8") from error
    try:
        return parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(str(error), where=str(file), hint="fix the TOML there") from error
    except QuestionError as error:
        raise located(error, str(file), text) from error


def keep(store: Store, questions: Questions, *, now: datetime) -> None:
    """Store each question's wording, once per version, so that an answer can be read when the question has changed."""
    q = schema.questions
    with store.write() as connection:
        known = {(row.name, row.version) for row in connection.execute(select(q.c.name, q.c.version))}
        rows = [
            {"name": each.name, "version": each.version, "definition": json.dumps(asdict(each), ensure_ascii=False), "at": now.isoformat()}
            for each in questions.by_name.values()
            if (each.name, each.version) not in known
        ]
        insert_rows(connection, q, rows)


def kept(store: Store) -> dict[tuple[str, str], Question]:
    """Return every question that was ever in force, by name and version, oldest first."""
    q = schema.questions
    with store.read() as connection:
        rows = connection.execute(select(q.c.name, q.c.version, q.c.definition).order_by(q.c.at, q.c.name)).all()
    return {(row.name, row.version): _read(json.loads(row.definition)) for row in rows}


def said(store: Store) -> Iterator[Said]:
    """Yield every valid answer to a question, in order of time, without those of labelers who are excluded."""
    with store.read() as connection:
        out = set(connection.scalars(select(schema.excluded.c.labeler)))
    for answer in answers.every(store):
        if answer.labeler not in out:
            yield from of_answer(answer)


def of_answer(answer: answers.Answer) -> Iterator[Said]:
    """Yield what one answer says to each question."""
    given: Mapping[str, Any] = answer.payload.get("answers", {})
    versions: Mapping[str, str] = answer.payload.get("questions", {})
    targets: dict[str, Mapping[str, Any]] = {"": given.get("prompt", {}), **given.get("responses", {})}
    for target, values in targets.items():
        for name, value in values.items():
            yield Said(
                name,
                versions.get(name, ""),
                answer.prompt_id,
                target,
                value,
                answer.labeler,
                answer.id,
                answer.task_id,
                answer.guideline.set,
                answer.at,
            )


def _read(written: dict[str, Any]) -> Question:
    options = tuple(Option(**cast("dict[str, Any]", option)) for option in written.pop("options"))
    fields: dict[str, Any] = {**written, "tasks": tuple(written["tasks"]), "options": options}
    return Question(**fields)
