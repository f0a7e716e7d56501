"""The tasks that could be queued: of prompts alone, or of the stored responses to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from accord.commands.feedback.cut_off import CutOff, rankable_of
from accord.errors import InputError
from accord.feedback import tasks
from accord.feedback.answers import CORRECTION
from accord.feedback.queue import WEIGHED
from accord.feedback.store import Store
from accord.feedback.tasks import Kind, Part, Task
from accord.records import GuidelineSet, Prompt, Response


def of_prompts(prompts: Mapping[str, Prompt], kind: Kind, overlap: int, priority: float) -> Iterator[Task]:
    """Make tasks that need no responses; a conversation is judged only where an assistant has spoken."""
    for id, prompt in prompts.items():
        if kind == "demonstrate" or any(message.role == "assistant" for message in prompt.messages):
            yield Task(tasks.task_id(kind, "training", id, ()), kind, prompt, overlap=overlap, priority=priority)


def of_responses(
    store: Store,
    prompts: Mapping[str, Prompt],
    kind: Kind,
    models: Collection[str],
    *,
    every_pair: bool,
    cut_off: CutOff = "queue",
    k: int,
    overlap: int,
    priority: float,
    without: tuple[Part, ...] = (),
) -> list[Task]:
    """Return tasks on the stored responses to these prompts.

    Args:
        models: whose responses are taken; when empty, everybody's but labelers' corrections.
        cut_off: what becomes of responses that break off, where they would be weighed against each other.
        every_pair: make a task of every two responses to a prompt, so that the most informative can be chosen among them.
    """
    taken = [r for r in store.responses() if r.prompt_id in prompts and (r.model in models if models else r.model != CORRECTION)]
    taken = rankable_of(taken, cut_off) if kind in WEIGHED else taken
    found: list[Task] = []
    for part in _pairs(taken) if every_pair else [taken]:
        guideline = "evaluation" if kind == "evaluate" else "training"
        found += tasks.from_responses(
            prompts, part, kind=kind, k=k, guideline=guideline, overlap=overlap, priority=priority, without=without
        )
    return found


def drafted(store: Store, candidates: Sequence[Task], model: str) -> list[Task]:
    """Return the tasks for which a model has a finished response to their prompt, each with the first of them as its draft.

    Raises:
        InputError: the model has none to any of the prompts.
    """
    drafts = dict[str, Response]()
    for response in store.responses():
        if response.model == model and response.finished:
            drafts.setdefault(response.prompt_id, response)
    found = list[Task]()
    for task in candidates:
        draft = drafts.get(task.prompt.id)
        if draft is not None:
            ids = [*(response.id for response in task.responses), draft.id]
            id = tasks.task_id(task.kind, task.guideline, task.prompt.id, ids, "draft")
            found.append(replace(task, id=id, responses=(*task.responses, draft)))
    if candidates and not found:
        raise InputError(f"{model!r} has answered none of the prompts", where="--draft", hint=f"`accord sample --model {model}` first")
    return found


def unranked_of(store: Store, candidates: Sequence[Task]) -> list[Task]:
    """Return the tasks with a pair of responses that nobody has ranked yet under the task's guideline."""
    sets: set[GuidelineSet] = {task.guideline for task in candidates}
    ranked: dict[GuidelineSet, set[frozenset[str]]] = {}
    for set_of in sets:
        pairs = ranked.setdefault(set_of, set())
        for ranking in store.rankings(set_of):
            pairs.update(map(frozenset, combinations(ranking.response_ids, 2)))
    return [task for task in candidates if not _pairs_of(task) <= ranked[task.guideline]]


def _pairs_of(task: Task) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in combinations([response.id for response in task.responses], 2)}


def _pairs(responses: Iterable[Response]) -> Iterator[list[Response]]:
    """Return every two responses of one prompt."""
    groups: dict[str, list[Response]] = {}
    for response in responses:
        groups.setdefault(response.prompt_id, []).append(response)
    for group in groups.values():
        for one, other in combinations(group, 2):
            yield [one, other]
