"""Putting work before labelers: tasks out of the responses in the store, gold and screening tasks out of a file. No torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Literal, cast

from accord.data.row_reader import read_rows
from accord.data.rows import Row
from accord.errors import InputError, UsageError
from accord.feedback import payloads, tasks
from accord.feedback.acquisition import choose
from accord.feedback.answers import CORRECTION
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import EVERYBODY, Kind, Task
from accord.records import Prompt, Response, Split
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import LabelConfig, WorldConfig
from accord.world import HELD_OUT_GROUP, SimulatedLabeler, World, labelers

Gain = Callable[[Store, Sequence[Task]], Mapping[str, float]]
"""What each task would teach, by its id, in nats or any other unit; see ``accord.stages.choosing``."""
TURNED = {"first": "second", "second": "first"}


def world_of(project: Project) -> World:
    """The built-in world that the project was made with.

    Raises:
        UsageError: it was made without one.
    """
    settings = project.settings.get("world")
    if settings is None:
        hint = "`accord init PROJECT --world` makes one; people's rankings come in with `accord import`"
        raise UsageError("the project has no built-in world, so nobody simulated can label it", where=str(project.path), hint=hint)
    config = WorldConfig(**settings)
    return World.generate(config.seed, config)


def site_seed(project: Project) -> int:
    """The seed of the order in which responses are shown: the world's where there is one, so that its labelers see their own pages."""
    world, own = project.settings.get("world", {}), project.settings.get("project", {})
    return int(world.get("seed", own.get("seed", 0)))


def queue_stage(
    project: Project,
    kind: Kind,
    *,
    k: int = 9,
    overlap: int = 1,
    priority: float = 0.0,
    split: Split | None = None,
    models: Sequence[str] = (),
    gain: Gain | None = None,
    count: int = 0,
) -> dict[str, int]:
    """Makes tasks of what the store holds; what is queued already is not queued again.

    Args:
        kind: demonstrate and conversation take prompts, the others responses.
        k: the most responses in a task.
        overlap: how many labelers do each task.
        split: of prompts of this split alone.
        models: only responses of these; of every model when empty.
        gain: what each task would teach, added to its priority; tasks that wait already are moved. For compare tasks the candidates
            are then all pairs of a prompt's responses.
        count: the most tasks; those of the highest gain, or the first. 0 takes all.

    Raises:
        InputError: there is nothing to make such a task of.
    """
    with Store.open(project.store_url) as store:
        prompts = {prompt.id: prompt for prompt in store.prompts(split)}
        if kind in ("demonstrate", "conversation"):
            made = _of_prompts(prompts, kind, overlap, priority)
        else:
            chosen = (r for r in store.responses() if (r.model in models if models else r.model != CORRECTION))
            set: Literal["training", "evaluation"] = "evaluation" if kind == "evaluate" else "training"
            parts = pairs(chosen) if gain and kind == "compare" else [chosen]
            rest: dict[str, Any] = {"kind": kind, "k": k, "guideline": set, "overlap": overlap, "priority": priority}
            made = chain.from_iterable(tasks.from_responses(prompts, part, **rest) for part in parts)
        candidates = list(made)
        gains: Mapping[str, float] = gain(store, candidates) if gain and candidates else {}
        kept = choose(gains, count or len(gains)) if gain else [task.id for task in candidates[: count or None]]
        by_id = {task.id: task for task in candidates}
        queued = [replace(by_id[id], priority=priority + gains.get(id, 0.0)) for id in kept]
        moved = {"moved": tasks.prioritise(store, {task.id: task.priority for task in queued})} if gain else {}
        return _queue(store, queued, f"nothing to make a {kind} task of", project.store_url) | moved


def pairs(responses: Iterable[Response]) -> Iterator[list[Response]]:
    """Every two responses of one prompt."""
    groups: dict[str, list[Response]] = {}
    for response in responses:
        groups.setdefault(response.prompt_id, []).append(response)
    return (list(pair) for group in groups.values() for pair in combinations(group, 2))


def queue_for_world(project: Project, config: LabelConfig) -> dict[str, int]:
    """Reserves for each simulated labeler the tasks that ``accord label --by world`` would have ranked by it.

    Raises:
        UsageError: the project has no world.
        InputError: no responses wait to be ranked.
    """
    people = labelers(world_of(project))
    with Store.open(project.store_url) as store:
        store.add_labelers(person.record for person in people)
        pairs = who_ranks_what(config, unranked(store), people)
        made = [_reserved(prompt, responses, person.record.id) for prompt, responses, chosen in pairs for person in chosen]
        return _queue(store, made, "the store has no responses that wait to be ranked", project.store_url)


def known_stage(project: Project, file: Path, purpose: Literal["gold", "qualification"]) -> dict[str, int]:
    """Queues tasks whose answer is known, from JSON lines: ``task`` (an id in the queue) and ``expected`` (the payload of an answer).

    Lines that ``accord export --what answers`` wrote will do as well. An expected ``choice`` names the task's first or second response.

    Every labeler gets each once. The task itself is closed, so that nobody sees it twice, unless somebody has had it already.

    Raises:
        InputError: a row names no task, or expects what would not be an answer to it.
    """
    with Store.open(project.store_url) as store:
        rows = list(read_rows(file))
        figures = _queue(store, [_known(store, row, purpose) for row in rows], "there is nothing in it", str(file))
        return figures | {"closed": tasks.close(store, [_named(row) for row in rows])}


def unranked(store: Store) -> list[tuple[Prompt, list[Response]]]:
    """Prompts with two responses or more that nobody has ranked, in the order of their ids."""
    asked = {prompt.id: prompt for prompt in store.prompts()}
    ranked = {response for ranking in store.rankings() for response in ranking.response_ids}
    groups: dict[str, list[Response]] = {}
    for response in store.responses():
        if response.id not in ranked:
            groups.setdefault(response.prompt_id, []).append(response)
    return [(asked[key], group) for key, group in groups.items() if len(group) >= 2]


def who_ranks_what(
    config: LabelConfig, waiting: Iterable[tuple[Prompt, list[Response]]], people: Sequence[SimulatedLabeler]
) -> Iterator[tuple[Prompt, list[Response], list[SimulatedLabeler]]]:
    """One labeler a prompt, a second for some; prompts of held-out users are also shown to the held-out group."""
    rng = random.Random(derive(config.seed, "label"))
    insiders = [person for person in people if person.record.group != HELD_OUT_GROUP]
    outsiders = [person for person in people if person.record.group == HELD_OUT_GROUP]
    for prompt, responses in waiting:
        chosen = rng.sample(insiders, 2 if rng.random() < config.overlap else 1)
        if prompt.split != "train":
            chosen.append(rng.choice(outsiders))
        yield prompt, responses, chosen


def _queue(store: Store, made: list[Task], nothing: str, where: str) -> dict[str, int]:
    if not made:
        raise InputError(nothing, where=where, hint="`accord sample` or `accord import` comes first")
    return {"tasks": len(made), "new": tasks.add(store, made)}


def _of_prompts(prompts: Mapping[str, Prompt], kind: Kind, overlap: int, priority: float) -> Iterator[Task]:
    for id, prompt in prompts.items():
        if kind == "demonstrate" or any(message.role == "assistant" for message in prompt.messages):
            yield Task(tasks.task_id(kind, "training", id, ()), kind, prompt, overlap=overlap, priority=priority)


def _reserved(prompt: Prompt, responses: Sequence[Response], labeler: str) -> Task:
    id = tasks.task_id("rank", "training", prompt.id, (r.id for r in responses), labeler)
    return Task(id, "rank", prompt, tuple(responses), reserved_for=labeler)


def _named(row: Row) -> str:
    return row.text("task_id" if "task_id" in row.value else "task")


def _known(store: Store, row: Row, purpose: Literal["gold", "qualification"]) -> Task:
    with store.read() as connection:
        found = next(tasks.load_all(connection, {_named(row)}), None)
    if found is None:
        raise row.error("task", f"the queue has no task {_named(row)}")
    expected: Any = row.value.get("expected", row.value.get("payload"))
    if not isinstance(expected, dict):
        raise row.error("expected", "not an object")
    try:
        payload = payloads.clean(found, cast("dict[str, Any]", expected))
    except Refused as error:
        raise row.error("expected", str(error)) from error
    if row.value.get("shown") == [response.id for response in reversed(found.responses)]:  # an answer to the page, not to the task
        payload |= {"choice": TURNED[payload["choice"]]} if payload.get("choice") in TURNED else {}
    id = tasks.task_id(found.kind, found.guideline, found.prompt.id, (r.id for r in found.responses), purpose)
    return replace(found, id=id, purpose=purpose, overlap=EVERYBODY, expected=payload, reserved_for="", repeats="")
