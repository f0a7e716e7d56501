"""Fact checks: what labelers found of a response's claims in a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import select

from accord.feedback import answers, schema
from accord.feedback.inserts import batches
from accord.feedback.queue import load_all
from accord.feedback.store import Store
from accord.records import GuidelineSet

Verdict = Literal["supported", "contradicted", "absent"]
"""What a document says of a claim; absent: nothing."""


@dataclass(frozen=True, slots=True)
class FactCheck:
    """One labeler's verdict on one claim of a response."""

    response_id: str
    prompt_id: str
    claim: str
    start: int
    """Where the claim stands in the response's text: characters ``start`` to ``end``, excluding ``end``."""
    end: int
    title: str
    document: str
    """What the claim was checked against."""
    verdict: Verdict
    reason: str
    labeler: str
    answer_id: str
    task_id: str
    guideline: GuidelineSet
    at: str


def checks(store: Store) -> Iterator[FactCheck]:
    """Yield every valid fact check, in order of time, without those of labelers who are excluded."""
    with store.read() as connection:
        out = set(connection.scalars(select(schema.excluded.c.labeler)))
    given = (each for each in answers.every(store) if each.kind == "fact" and each.labeler not in out and "verdict" in each.payload)
    for batch in batches(given):
        with store.read() as connection:
            tasks = {task.id: task for task in load_all(connection, {answer.task_id for answer in batch})}
        for answer in batch:
            task = tasks[answer.task_id]
            if task.fact is None:  # its prompt was erased meanwhile
                continue
            yield FactCheck(
                task.responses[0].id,
                task.prompt.id,
                task.fact.claim,
                task.fact.start,
                task.fact.start + len(task.fact.claim),
                task.fact.title,
                task.fact.document,
                cast("Verdict", answer.payload["verdict"]),
                str(answer.payload.get("reason", "")),
                answer.labeler,
                answer.id,
                answer.task_id,
                answer.guideline.set,
                answer.at,
            )
