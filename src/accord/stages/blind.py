"""People as judges of systems: blind rankings in the labeling site, under the evaluation guideline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from accord.errors import UsageError
from accord.evaluation.duels import distinct_texts
from accord.evaluation.statistics import Floats
from accord.feedback import tasks
from accord.feedback.queue import RESPONSES, Task, digest, task_id
from accord.feedback.store import Store
from accord.records import Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import CompareConfig
from accord.stages.answering import Answered
from accord.stages.judging import Judged

SHOWN_AS = "compare"
"""The model that such a response names: who gave it is nobody's business until it is judged."""
PRIORITY = 1.0
"""Before the ranking tasks of training."""


def by_people(project: Project, said: Answered, config: CompareConfig) -> Judged:
    """Queues a blind ranking of each prompt's different answers, and reads those that were given.

    Answers that read alike are shown once and tie. Several people's words on a pair are averaged. A prompt on which all systems
    say the same is a tie as soon as anything else was judged.

    Raises:
        UsageError: more systems than a page can show.
    """
    if len(said.systems) > RESPONSES["evaluate"][1]:
        raise UsageError(f"{len(said.systems)} systems; people rank {RESPONSES['evaluate'][1]} at most", where="compare")
    groups = [_blind(said, row) for row in range(len(said.prompts))]
    made = [_task(prompt, group, said, config.overlap) for prompt, group in zip(said.prompts, groups, strict=True) if len(group) > 1]
    with Store.open(project.store_url) as store:
        new = tasks.add(store, made)
        given: dict[str, list[Ranking]] = {}
        for ranking in store.rankings("evaluation"):
            given.setdefault(ranking.prompt_id, []).append(ranking)
    heard = [[r for r in given.get(p.id, ()) if len(set(g) & set(r.response_ids)) > 1] for p, g in zip(said.prompts, groups, strict=True)]
    values = np.stack([_values(group, own, len(said.systems)) for group, own in zip(groups, heard, strict=True)])
    if not any(heard):
        values[:] = np.nan
    waiting = sum(len(group) > 1 and not own for group, own in zip(groups, heard, strict=True))
    people = {"tasks": len(made), "new_tasks": new, "answers": sum(map(len, heard)), "waiting": waiting}
    return Judged(values, figures={"people": people})


def _blind(said: Answered, row: int) -> dict[str, list[int]]:
    """Ids of the different answers to a prompt, which follow from the text alone, each with the systems that gave it."""
    prompt = said.prompts[row]
    return {f"{prompt.id}-c{digest(prompt.id, text)[:12]}": who for text, who in distinct_texts(said.texts, row)}


def _task(prompt: Prompt, group: Mapping[str, Sequence[int]], said: Answered, overlap: int) -> Task:
    row = said.prompts.index(prompt)
    responses = tuple(Response(id, prompt.id, said.texts[who[0]][row].strip(), SHOWN_AS) for id, who in sorted(group.items()))
    id = task_id("evaluate", "evaluation", prompt.id, group, str(overlap))
    return Task(id, "evaluate", prompt, responses, "evaluation", overlap, PRIORITY)


def _values(group: Mapping[str, Sequence[int]], rankings: Iterable[Ranking], systems: int) -> Floats:
    """What a prompt was worth to each system against each, [systems, systems]; NaN where nobody ranked both."""
    sums, counts = np.zeros((systems, systems)), np.zeros((systems, systems))
    for ranking in rankings:
        ranks = dict(zip(ranking.response_ids, ranking.ranks, strict=True))
        for one, other in product(group.keys() & ranks.keys(), repeat=2):
            worth = 0.5 * (1 + np.sign(ranks[other] - ranks[one]))
            for i, j in product(group[one], group[other]):
                sums[i, j] += worth
                counts[i, j] += 1
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    for who in group.values():
        for i, j in product(who, repeat=2):
            values[i, j] = 0.5
    return values
