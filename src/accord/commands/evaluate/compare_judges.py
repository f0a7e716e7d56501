"""The built-in judges of a comparison: the gold judge, a reward model, and an LLM at an address. People are in compare_people."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch

from accord.commands.evaluate.answers import CACHE, Answered
from accord.commands.evaluate.compare_check import Labeled, check
from accord.commands.models import TextScorer, locate
from accord.commands.world import has_world, world_of
from accord.errors import InputError, UsageError
from accord.evaluation import judge_check, llm_judge
from accord.evaluation.duels import from_pairs, from_scores
from accord.evaluation.judge_check import Accuracy
from accord.evaluation.statistics import Floats
from accord.evaluation.win_rate import CRITERIA, judge_all
from accord.feedback.moderation import INJECTION
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Sampling
from accord.runtime.language_models import reward_models
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.settings import CompareConfig
from accord.world import GoldJudge


@dataclass(frozen=True)
class Judged:
    """The table of duels, and the judge's own scores and metrics."""

    values: Floats
    """[prompts, systems, systems], see evaluation.duels."""
    criteria: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    """Such a table by criterion."""
    scores: Floats | None = None
    """[prompts, systems] utilities or rewards, of a judge that scores each response alone."""
    metrics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    accuracy: Accuracy | None = None
    """How often an LLM judge is right by people's labels, which corrects its win rates."""
    unfit: tuple[str, ...] = ()
    """Why nothing can be concluded from this judge's verdicts."""


WAYS = "--by reward (`accord reward` trains one from rankings), --by people, or --by llm --judge ADDRESS --judge-model NAME"


def judge_at_hand(project: Project, by: str, reward: str) -> tuple[str, str]:
    """Return the judge and the reward model to compare by, before anything is generated.

    ``auto`` takes the gold judge where the project has a world, else a reward model, else people, as long as there are some.

    Args:
        reward: a reward model's name; empty takes the newest.

    Raises:
        UsageError: the project has no such judge.
        ModelError: there is no such reward model.
    """
    newest = reward or next(iter(reward_models(project)), "")
    if by == "auto":
        if has_world(project):
            return "gold", ""
        by = "reward" if newest else "people" if _has_people(project) else ""
        if not by:
            what = "nobody can judge: the project has no built-in world, no reward model and no labelers"
            raise UsageError(what, where="compare", hint=WAYS)
        say(f"compare: judged by {f'the reward model {newest}' if by == 'reward' else 'people, on the labeling site'} (--by)")
    if by == "gold" and not has_world(project):
        raise UsageError("the project has no built-in world, so there is no gold judge", where=str(project.path), hint=WAYS)
    if by != "reward":
        return by, ""
    if not newest:
        raise UsageError("the project has no reward model", where="compare", hint=WAYS)
    locate(project, newest)
    return by, newest


def _has_people(project: Project) -> bool:
    with Store.open(project.store_url) as store:
        return any(labeler.kind == "person" for labeler in store.labelers())


def by_gold(project: Project, answered: Answered, config: CompareConfig) -> Judged:
    """Judge by the world's gold judge under the evaluation guidelines.

    Raises:
        InputError: a prompt is not of the world.
    """
    world = world_of(project)
    strangers = [prompt.id for prompt in answered.prompts if prompt.id not in world.specs]
    if strangers:
        what = f"{len(strangers)} of {len(answered.prompts)} prompts are not of the built-in world, such as {strangers[0]}"
        raise InputError(what, where=str(project.path), hint="the gold judge knows its own world alone: judge --by reward, llm or people")
    judge = GoldJudge(world, rules="evaluation")
    judgements = [judge_all(judge, answered.prompts, texts) for texts in answered.texts]
    tables: dict[str, Floats] = {}
    means: dict[str, dict[str, float]] = {}
    for name in CRITERIA:
        columns: list[list[float]] = []
        for of_system in judgements:
            columns.append([getattr(judgement, name) for judgement in of_system])
        tables[name] = np.array(columns).T
        means[name] = dict(zip(answered.names, tables[name].mean(0).tolist(), strict=True))
    utilities = tables.pop("utility")
    by_criterion = {name: from_scores(table, config.margin) for name, table in tables.items()}
    return Judged(from_scores(utilities, config.margin), by_criterion, utilities, {"criteria": means})


def by_reward(project: Project, answered: Answered, config: CompareConfig, reward: str, dtype: torch.dtype) -> Judged:
    """Judge by a reward model of the project.

    Raises:
        ModelError: it is missing, or is no reward model.
    """
    scorer = TextScorer.open(project, reward, dtype)
    each = zip(answered.texts, answered.finished, strict=True)
    scores = np.array([scorer.scores(answered.prompts, texts, finished) for texts, finished in each]).T
    means = dict(zip(answered.names, scores.mean(0).tolist(), strict=True))
    return Judged(from_scores(scores, config.margin), {}, scores, {"reward": means, "over_window": scorer.model.cut})


def by_llm(project: Project, answered: Answered, config: CompareConfig, address: str, model: str, criteria: Sequence[str]) -> Judged:
    """Check a model behind an OpenAI-compatible address on people's labels, then judge by it; its verdicts are kept in the project.

    Raises:
        UsageError: no model is named, or an unknown criterion.
        RunError: the server does not answer.
    """
    if not model:
        raise UsageError("which model of that address judges?", where="compare", hint="--judge-model NAME")
    unknown = [name for name in criteria if name not in llm_judge.QUESTIONS]
    if unknown:
        raise UsageError(f"there is no criterion {unknown[0]!r}", where="compare", hint=f"known are {', '.join(llm_judge.QUESTIONS)}")
    from accord.engine.remote import RemoteSpeaker  # needs httpx, of the extra remote

    speaker = RemoteSpeaker(address, model, keep=project.path / CACHE / "judge")
    judged = judged_by(project, speaker, answered, config, criteria)
    spent = {"judge_model": model, "judge_spent": dataclasses.asdict(speaker.spent)}
    return dataclasses.replace(judged, metrics={**judged.metrics, **spent})


def judged_by(project: Project, speaker: Speaker, answered: Answered, config: CompareConfig, criteria: Sequence[str]) -> Judged:
    """Check a judge on people's labels, then let it judge every pair in both orders.

    A judge that obeys what an answer asks of it judges no pair with an answer that seems to speak to it.
    """
    sampling, rows = Sampling(temperature=0.0, max_tokens=config.judge_tokens), range(len(answered.prompts))
    marked = [[llm_judge.suspicious(text, INJECTION.values()) for text in texts] for texts in answered.texts]
    unmarked = [row for row in rows if not marked[0][row] and not marked[1][row]]
    own = [Labeled(answered.prompts[row], answered.texts[0][row], answered.texts[1][row], 0.5) for row in unmarked]
    checked = check(project, speaker, tuple(dict.fromkeys(criteria)), sampling=sampling, config=config, own=own)
    tables, opinions, set_aside = dict[str, Floats](), list[llm_judge.Opinion](), set[tuple[int, int, int]]()
    for name in dict.fromkeys(("overall", *criteria)):
        question = llm_judge.QUESTIONS[name]
        worth: dict[tuple[int, int], list[float]] = {}
        for i, j in combinations(range(len(answered.systems)), 2):
            one, other = answered.texts[i], answered.texts[j]
            found = llm_judge.ask(speaker, answered.prompts, one, other, question=question, sampling=sampling, seed=config.seed)
            worth[i, j] = [opinion.worth for opinion in found]
            for row in rows:
                if one[row].strip() == other[row].strip():
                    continue  # never shown to the judge, so it says nothing about its position bias
                if config.pleas and checked.obedient and (marked[i][row] or marked[j][row]):
                    worth[i, j][row] = math.nan
                    set_aside.add((i, j, row))
                opinions.append(found[row])
        tables[name] = from_pairs(len(answered.prompts), len(answered.systems), worth)
    bias = llm_judge.position_bias([*opinions, *checked.opinions])
    unfit = judge_check.unfit(bias, [*opinions, *checked.opinions], checked.found)
    if np.isnan(tables["overall"]).all():
        unfit.append("no pair has a verdict that counts")
        tables["overall"][:] = 0.5  # so that the run can be written; nothing is concluded from it
    metrics: dict[str, Any] = {
        "judge_check": checked.metrics(),
        "position_bias": dataclasses.asdict(bias),
        "suspicious": {name: sum(each) for name, each in zip(answered.names, marked, strict=True)},
        "set_aside": len(set_aside),
    }
    accuracy = checked.found.accuracy if checked.found else None
    return Judged(tables.pop("overall"), tables, None, metrics, accuracy, tuple(unfit))
