"""People as judges of systems: blind rankings on the labeling site, under the evaluation guideline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from accord.commands.evaluate.answers import Answered
from accord.commands.evaluate.compare_judges import Judged
from accord.errors import UsageError
from accord.evaluation.duels import distinct_texts
from accord.evaluation.statistics import Floats
from accord.feedback import tasks
from accord.feedback.queue import RESPONSES, Task, digest, task_id
from accord.feedback.store import Store
from accord.records import Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import CompareConfig

SHOWN_AS = "compare"
"""The model that such a response names, so that nobody learns who wrote it before it is judged."""
PRIORITY = 1.0
"""Before the ranking tasks of training."""
Group = Mapping[str, Sequence[int]]
"""The different answers to a prompt by id, each with the systems that gave it."""


def by_people(project: Project, answered: Answered, config: CompareConfig) -> Judged:
    """Queue a blind ranking of each prompt's different answers, and read the rankings that were given.

    Answers that read alike are shown once and tie. Several people's judgements of a pair are averaged. A prompt on which all systems
    say the same is a tie as soon as anything else was judged.

    Raises:
        UsageError: more systems than a page can show.
    """
    most = RESPONSES["evaluate"][1]
    if len(answered.systems) > most:
        raise UsageError(f"{len(answered.systems)} systems; people rank {most} at most", where="compare")
    groups = [_different_answers(answered, row) for row in range(len(answered.prompts))]
    queued = [_task(answered, row, group, config.overlap) for row, group in enumerate(groups) if len(group) > 1]
    with Store.open(project.store_url) as store:
        new = tasks.add(store, queued)
        by_prompt: dict[str, list[Ranking]] = {}
        for ranking in store.rankings("evaluation"):
            by_prompt.setdefault(ranking.prompt_id, []).append(ranking)
    given: list[list[Ranking]] = []
    for prompt, group in zip(answered.prompts, groups, strict=True):
        about = [ranking for ranking in by_prompt.get(prompt.id, ()) if len(set(group) & set(ranking.response_ids)) > 1]
        given.append(about)
    values = np.stack([_values(group, rankings, len(answered.systems)) for group, rankings in zip(groups, given, strict=True)])
    if not any(given):
        values[:] = np.nan
    waiting = sum(len(group) > 1 and not rankings for group, rankings in zip(groups, given, strict=True))
    people = {"tasks": len(queued), "new_tasks": new, "answers": sum(map(len, given)), "waiting": waiting}
    return Judged(values, metrics={"people": people})


def _different_answers(answered: Answered, row: int) -> dict[str, list[int]]:
    """Return the ids of a prompt's different answers, which follow from the text alone, each with the systems that gave it."""
    prompt = answered.prompts[row]
    return {f"{prompt.id}-c{digest(prompt.id, text)[:12]}": systems for text, systems in distinct_texts(answered.texts, row)}


def _task(answered: Answered, row: int, group: Group, overlap: int) -> Task:
    prompt: Prompt = answered.prompts[row]
    responses = tuple(Response(id, prompt.id, answered.texts[systems[0]][row].strip(), SHOWN_AS) for id, systems in sorted(group.items()))
    id = task_id("evaluate", "evaluation", prompt.id, group, str(overlap))
    return Task(id, "evaluate", prompt, responses, "evaluation", overlap, PRIORITY)


def _values(group: Group, rankings: Iterable[Ranking], systems: int) -> Floats:
    """Return the share of rankings that each system won against each other, [systems, systems]; NaN where nobody ranked both."""
    sums, counts = np.zeros((systems, systems)), np.zeros((systems, systems))
    for ranking in rankings:
        ranks = dict(zip(ranking.response_ids, ranking.ranks, strict=True))
        for one, other in product(group.keys() & ranks.keys(), repeat=2):
            worth = 0.5 * (1 + np.sign(ranks[other] - ranks[one]))
            for i, j in product(group[one], group[other]):
                sums[i, j] += worth
                counts[i, j] += 1
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    for alike in group.values():
        for i, j in product(alike, repeat=2):
            values[i, j] = 0.5
    return values
