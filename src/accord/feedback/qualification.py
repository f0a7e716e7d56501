"""A labeler's qualification run: answers beside expected ones, and a lead's scores.

Answers are turned into the records that ``accord.feedback.quality`` judges. A score is a row of the audit log; the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from accord.errors import InputError
from accord.feedback import schema
from accord.feedback.answers import Answer, every
from accord.feedback.audit import note
from accord.feedback.flags import HARMFUL
from accord.feedback.quality import Checked, Qualification, qualify
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import Task, load_all
from accord.records import Prompt, PromptFlag, Ranking
from accord.settings import ScreeningConfig

SENSITIVE: PromptFlag = "sensitive"
"""The flag of a sensitive prompt."""
SCORE = "score"
"""Audit operation of a lead's score of a demonstration; the row's reason holds the score."""


@dataclass(frozen=True, slots=True)
class Written:
    """A demonstration of the qualification run."""

    answer_id: str
    prompt: Prompt
    text: str
    expected: str
    """The researchers' text."""
    score: int | None
    """The lead's score, 1 to 7; None when it was not yet read."""


@dataclass(frozen=True, slots=True)
class Screening:
    """A labeler's progress in the qualification run, and its result."""

    done: int
    of: int
    written: tuple[Written, ...]
    result: Qualification | None
    """None while a part of the run is missing."""
    missing: str
    """Names the missing part for the operator; empty when none is."""


def screening(store: Store, labeler: str, cutoffs: ScreeningConfig) -> Screening:
    """Return a labeler's qualification run. Skipped tasks count as done, and for nothing else."""
    said = list(every(store, purposes=("qualification",), labeler=labeler))
    known = tasks_of(store, said)
    scores = _scores(store, [answer.id for answer in said])
    held = [(answer, known[answer.task_id]) for answer in said if "skip" not in answer.payload]
    written = tuple(_written(answer, task, scores.get(answer.id)) for answer, task in held if answer.kind == "demonstrate")
    pairs: list[tuple[bool, bool]] = []
    for answer, task in held:
        pairs += sensitivity(answer.payload, task.expected or {})
    given = [each.score for each in written if each.score]
    # A mean over some of the demonstrations would be another measure, so they count only once all have a score.
    demonstrations = given if len(given) == len(written) else []
    try:
        result = qualify(sensitivity=pairs, rankings=checked(held), demonstrations=demonstrations, cutoffs=cutoffs)
        missing = ""
    except InputError as error:
        result, missing = None, error.what
    return Screening(len(said), _of(store, labeler), written, result, missing)


def score(store: Store, answer_id: str, value: int, *, by: str, now: datetime) -> None:
    """Record a lead's score of a demonstration of the qualification run, from 1 to 7.

    Raises:
        Refused: there is no such answer (404), or no such score (422).
    """
    if not 1 <= value <= 7:
        raise Refused("malformed", detail=f"score {value}")
    a, t = schema.answers, schema.tasks
    asked = select(a.c.id).join(t, t.c.id == a.c.task_id).where(a.c.id == answer_id, t.c.purpose == "qualification")
    with store.write() as connection:
        if connection.scalar(asked.where(t.c.kind == "demonstrate")) is None:
            raise Refused("not_yours", 404, answer_id)
        note(connection, who=by, what=SCORE, on=answer_id, why=str(value), at=now)


def sensitivity(given: Mapping[str, Any], expected: Mapping[str, Any]) -> list[tuple[bool, bool]]:
    """Return (labeler says sensitive, researchers say sensitive) for the prompt and for each response or turn that both rated."""
    pairs: list[tuple[bool, bool]] = []
    if "prompt_flags" in expected or "ratings" in expected or "turns" in expected:
        pairs.append((SENSITIVE in given.get("prompt_flags", ()), SENSITIVE in expected.get("prompt_flags", ())))
    for part in ("ratings", "turns"):
        said, wanted = given.get(part, {}), expected.get(part, {})
        pairs += [(_harmful(said[id]), _harmful(wanted[id])) for id in sorted(said.keys() & wanted.keys())]
    return pairs


def checked(held: Sequence[tuple[Answer, Task]]) -> list[Checked]:
    """Return the rankings among answers beside the expected ones; kinds without an order are left out."""
    found: list[Checked] = []
    for answer, task in held:
        given, wanted = as_ranking(answer, answer.payload, answer.shown), as_ranking(answer, task.expected or {}, ids_of(task))
        found += [Checked(given, wanted)] if given and wanted else []
    return found


def ids_of(task: Task) -> tuple[str, ...]:
    """Return a task's response ids; an expected choice refers to the first or the second of them."""
    return tuple(response.id for response in task.responses)


def as_ranking(answer: Answer, payload: Mapping[str, Any], places: Sequence[str]) -> Ranking | None:
    """Return the ranking that a payload of this answer's task expresses; None for kinds without an order.

    Args:
        places: the responses that "first" and "second" refer to.
    """
    if len(answer.shown) < 2:
        return None
    ranks: dict[str, int] = payload.get("ranks") or {}
    if "choice" in payload:
        ranks = dict(zip(places, {"first": (1, 2), "second": (2, 1)}.get(payload["choice"], (1, 1)), strict=True))
    if set(ranks) != set(answer.shown):
        return None
    order = tuple(ranks[id] for id in answer.shown)
    return Ranking(answer.id, answer.prompt_id, answer.labeler, answer.shown, order, answer.guideline, answer.at)


def tasks_of(store: Store, said: Sequence[Answer]) -> dict[str, Task]:
    """Return the tasks of answers by id."""
    with store.read() as connection:
        return {task.id: task for task in load_all(connection, {answer.task_id for answer in said})}


def _harmful(rating: Mapping[str, Any]) -> bool:
    return any(flag in HARMFUL for flag in rating.get("flags", ()))


def _written(answer: Answer, task: Task, score: int | None) -> Written:
    return Written(answer.id, task.prompt, str(answer.payload.get("text", "")), str((task.expected or {}).get("text", "")), score)


def _scores(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """Return the last score of each answer that has one."""
    log = schema.audit
    query = select(log.c.on, log.c.why).where(log.c.what == SCORE, log.c.on.in_(ids)).order_by(log.c.number)
    with store.read() as connection:
        return {row.on: int(row.why) for row in connection.execute(query)} if ids else {}


def _of(store: Store, labeler: str) -> int:
    t = schema.tasks
    mine = (t.c.purpose == "qualification", t.c.reserved_for.in_(("", labeler)))
    with store.read() as connection:
        return connection.scalar(select(func.count()).where(*mine)) or 0
