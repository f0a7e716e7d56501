"""The comparisons that a reward model orders otherwise than labelers do: as rows to read, and back in the labeling queue."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from accord.commands.evaluate.examine_scores import attribution
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.models import TextScorer
from accord.evaluation.verdicts import Mistake
from accord.feedback import tasks
from accord.feedback.queue import Task, task_id
from accord.feedback.store import Store
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.settings import ExamineConfig

PRIORITY = 0.5
"""Of comparisons that go back to the queue: before others, after people's comparisons of systems."""


def mistake_rows(scorer: TextScorer, wrong: Sequence[Mistake], config: ExamineConfig) -> list[dict[str, Any]]:
    """Return the most wrong comparisons, and for the first of them the gain of each token in both scores."""
    rows = [_row(mistake) for mistake in wrong[: config.wrong]]
    for mistake in wrong[: config.attributed]:
        verdict = mistake.verdict
        prompt = verdict.ranked.prompt
        for side, response in (("chosen", verdict.better), ("rejected", verdict.worse)):
            row = {"kind": "attribution", "prompt_id": prompt.id, "response_id": response.id, "side": side}
            rows.append(row | dataclasses.asdict(attribution(scorer, prompt, response)))
    return [jsonable(row) for row in rows]


def _row(mistake: Mistake) -> dict[str, Any]:
    verdict = mistake.verdict
    return {
        "kind": "wrong",
        "prompt_id": verdict.ranked.prompt.id,
        "prompt": shown_prompt(verdict.ranked.prompt),
        "use_case": verdict.ranked.prompt.use_case,
        "chosen": verdict.better.text,
        "rejected": verdict.worse.text,
        "chosen_id": verdict.better.id,
        "rejected_id": verdict.worse.id,
        "margin": verdict.margin,
        "labelers": list(mistake.labelers),
        "against": mistake.against,
    }


def requeue(project: Project, wrong: Sequence[Mistake]) -> int:
    """Send comparisons back to the labeling queue, to be judged once more by anybody; return how many were not there already."""
    made: list[Task] = []
    for mistake in wrong:
        verdict = mistake.verdict
        prompt = verdict.ranked.prompt
        pair = tuple(sorted((verdict.better, verdict.worse), key=lambda response: response.id))
        id = task_id("compare", "training", prompt.id, (response.id for response in pair), "examine")
        made.append(Task(id, "compare", prompt, pair, priority=PRIORITY))
    if not made:
        return 0
    with Store.open(project.store_url) as store:
        return tasks.add(store, made)
