"""Tasks whose answer is known, out of a file: gold items for `accord queue --gold`, a screening for `--qualification`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from accord.data.row_reader import read_rows
from accord.data.rows import Row
from accord.errors import InputError
from accord.feedback import payloads, questions, tasks
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import EVERYBODY, Task
from accord.runtime.project import Project
from accord.settings.questions import Questions

OTHER_CHOICE = {"first": "second", "second": "first"}


def queue_known(project: Project, file: Path, purpose: Literal["gold", "qualification"]) -> dict[str, int]:
    """Queue tasks whose answer is known, from JSON lines: ``task`` (an id in the queue) and ``expected`` (the payload of an answer).

    Lines that ``accord export --what answers`` wrote will do as well. An expected ``choice`` names the task's first or second response.

    Every labeler gets each once. The original task is closed, so that nobody sees it twice, unless somebody has had it already.

    Raises:
        InputError: the file is empty, or a row names no task or expects something that is no answer to it.
    """
    with Store.open(project.store_url) as store:
        rows = list(read_rows(file))
        if not rows:
            raise InputError("there is nothing in it", where=str(file), hint='a line is {"task": ID, "expected": {...}}')
        asked = questions.load(project.settings.get("label.questions"), project.path).optional()
        known = [_known(store, row, purpose, asked) for row in rows]
        metrics = {"tasks": len(known), "new": tasks.add(store, known)}
        return metrics | {"closed": tasks.close(store, [_task_id(row) for row in rows])}


def _task_id(row: Row) -> str:
    return row.text("task_id" if "task_id" in row.value else "task")


def _known(store: Store, row: Row, purpose: Literal["gold", "qualification"], asked: Questions) -> Task:
    with store.read() as connection:
        original = next(tasks.load_all(connection, {_task_id(row)}), None)
    if original is None:
        raise row.error("task", f"the queue has no task {_task_id(row)}")
    expected: Any = row.value.get("expected", row.value.get("payload"))
    if not isinstance(expected, dict):
        raise row.error("expected", "not an object")
    try:
        payload = payloads.clean(original, cast("dict[str, Any]", expected), asked)
    except Refused as error:
        raise row.error("expected", str(error)) from error
    # An exported answer speaks of the page as it was shown; turn its choice where the page showed the other response first.
    shown_reversed = row.value.get("shown") == [response.id for response in reversed(original.responses)]
    if shown_reversed and payload.get("choice") in OTHER_CHOICE:
        payload |= {"choice": OTHER_CHOICE[payload["choice"]]}
    response_ids = [response.id for response in original.responses]
    id = tasks.task_id(
        original.kind, original.guideline, original.prompt.id, response_ids, purpose, *([original.fact.key] if original.fact else [])
    )
    return replace(original, id=id, purpose=purpose, overlap=EVERYBODY, expected=payload, reserved_for="", repeats="")
