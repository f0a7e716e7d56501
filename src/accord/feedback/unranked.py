"""Responses that wait for labelers: unranked ones, and those not even queued."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from sqlalchemy import select

from accord.feedback import rows, schema, tasks
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.feedback.withdrawals import is_withdrawn
from accord.records import Prompt, Response


def unranked(store: Store) -> list[tuple[Prompt, list[Response]]]:
    """Return the prompts with two or more unranked responses, ordered by id."""
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    ranked = set(chain.from_iterable(ranking.response_ids for ranking in store.rankings()))
    groups: dict[str, list[Response]] = {}
    for response in store.responses():
        if response.id not in ranked:
            groups.setdefault(response.prompt_id, []).append(response)
    return [(prompts[id], group) for id, group in groups.items() if len(group) >= 2]


def unqueued(store: Store) -> Iterator[Response]:
    """Return the responses that are neither ranked nor part of a task, ordered by id.

    Every condition is looked up in an index, so that a site with a million tasks opens as fast as one with a thousand.
    """
    r, item, t, shown = schema.responses, schema.ranking_items, schema.tasks, schema.task_responses
    ranked = select(item.c.ranking_id).where(item.c.response_id == r.c.id)
    queued = select(t.c.id).join(shown, shown.c.task_id == t.c.id).where(t.c.prompt_id == r.c.prompt_id, shown.c.response_id == r.c.id)
    query = (
        select(r)
        .where(~ranked.exists(), ~queued.exists(), ~is_withdrawn("prompt", r.c.prompt_id), ~is_withdrawn("response", r.c.id))
        .order_by(r.c.id)
    )
    return map(rows.response, store.database.rows(query))


def waiting_tasks(store: Store, *, seed: int, overlap: float, responses: Sequence[Response] | None = None) -> Iterator[Task]:
    """Make ranking tasks of the responses that are neither ranked nor queued.

    Args:
        overlap: the share of the prompts that goes to two labelers, drawn by the seed.
        responses: those to queue; by default all that wait.
    """
    responses = list(unqueued(store)) if responses is None else responses
    prompts = {prompt.id: prompt for prompt in store.prompts()} if responses else {}
    for task in tasks.from_responses(prompts, responses):
        twice = random.Random(f"overlap {seed} {task.id}").random() < overlap
        yield replace(task, overlap=2 if twice else 1)
