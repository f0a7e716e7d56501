"""An LLM judge is checked before it counts: on pairs that people of the project compared, and on answers that ask for its vote."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from accord.evaluation import judge_check, llm_judge
from accord.evaluation.judge_check import Agreement, Checked
from accord.evaluation.slices import language_of
from accord.evaluation.statistics import Floats, Interval, rate
from accord.feedback import questions
from accord.feedback.criteria import ranked_by
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Prompt, RankedPrompt, Sampling
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import CompareConfig

PEOPLE = "person simulated"
"""Kinds of labelers that a judge is held against. A simulated labeler stands for a person in the built-in world."""


@dataclass(frozen=True, slots=True)
class Labeled:
    """Two answers to a prompt, and which of them a person prefers: 1 the first, 0 the second, 1/2 neither."""

    prompt: Prompt
    first: str
    second: str
    people: float

    @property
    def longer(self) -> float:
        return float(np.sign(len(self.first) - len(self.second)))


@dataclass(frozen=True)
class JudgeCheck:
    """What the check of a judge found."""

    found: Agreement | None
    """None where the project has no label of a person."""
    opinions: tuple[llm_judge.Opinion, ...]
    obeys: Interval | None
    """Share of lost pairs that an answer wins by asking for the vote; None where that was not tried."""

    @property
    def obedient(self) -> bool:
        """Whether answers that speak to the judge cannot be left to it; so it is where nothing shows the contrary."""
        return self.obeys is None or self.obeys.mean > judge_check.MOST_OBEDIENT

    def metrics(self) -> dict[str, Any]:
        """Return it as the run's metrics."""
        shown: dict[str, Any] = {"pairs": 0} if self.found is None else dataclasses.asdict(self.found)
        if self.found and self.found.accuracy:
            accuracy = self.found.accuracy
            shown["accuracy"], shown["untied_pairs"] = accuracy.all, accuracy.pairs
            shown["accuracy_longer"], shown["accuracy_shorter"] = (
                None if not count else mean for mean, _, count in (accuracy.where_longer, accuracy.where_shorter)
            )
        return jsonable({name: value for name, value in shown.items() if value is not None} | {"obeys": self.obeys})


def check(
    project: Project, speaker: Speaker, criteria: Sequence[str], *, sampling: Sampling, config: CompareConfig, own: Sequence[Labeled]
) -> JudgeCheck:
    """Check a judge before it judges.

    Args:
        criteria: beyond the overall preference.
        own: pairs of the comparison itself, for the plea where the project has no labels.
    """
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    pairs = labeled_pairs(project, config)
    opinions = _asked(speaker, pairs, "overall", sampling, config.seed)
    found = judge_check.agreement(_checked(pairs, opinions), **draw) if pairs else None
    if found:
        kappas = {"overall": found.kappa}
        for criterion in criteria:
            about = labeled_pairs(project, config, criterion)
            if about:
                said = _asked(speaker, about, criterion, sampling, config.seed)
                kappas[criterion] = judge_check.agreement(_checked(about, said), **draw).kappa
        found = dataclasses.replace(found, by_criterion=kappas)
        say(f"compare: {summary(found)}")
    else:
        say("compare: the judge is unchecked: nobody's labels of the project say how often it is right")
    tried = pairs[: config.pleas] if pairs else list(own[: config.pleas])
    before = opinions[: len(tried)] if pairs else _asked(speaker, tried, "overall", sampling, config.seed)
    obeys = plea(speaker, tried, before, config, sampling)
    return JudgeCheck(found, tuple(opinions), obeys)


def summary(found: Agreement) -> str:
    """Return an agreement as a sentence."""
    if found.accuracy is None:
        return f"the judge was shown {found.pairs} pairs that people compared, and none tells the two apart"
    kappa, right = found.kappa, found.accuracy.all
    return (
        f"the judge orders {right.mean:.0%} ({right.low:.0%} to {right.high:.0%}) of {found.accuracy.pairs} pairs as people do, "
        f"kappa {kappa.mean:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
    )


def labeled_pairs(project: Project, config: CompareConfig, criterion: str = "") -> list[Labeled]:
    """Return up to ``checked`` pairs that people compared, one per prompt, chosen by the seed; blind comparisons of systems come first."""
    if not config.checked:
        return []
    with Store.open(project.store_url) as store:
        if criterion:
            asked = questions.load(project.settings.get("label.questions"), project.path)
            return _one_per_prompt(said_by(store, ranked_by(store, criterion, asked), PEOPLE), config)
        ranked = list(said_by(store, store.rankings(), PEOPLE))
        prompts = sorted({ranking.prompt_id for ranking in ranked})
        random.Random(derive(config.seed, "checked")).shuffle(prompts)
        blind = {ranking.prompt_id for ranking in ranked if ranking.guideline.set == "evaluation"}
        prompts.sort(key=lambda id: id not in blind)
        chosen = set(prompts[: config.checked])
        ranked = [
            each for each in ranked if each.prompt_id in chosen and (each.prompt_id not in blind or each.guideline.set == "evaluation")
        ]
        texts = {prompt.id: prompt for prompt in store.prompts(ids=sorted(chosen))}
        shown = sorted({id for ranking in ranked for id in ranking.response_ids})
        responses = {response.id: response for response in store.responses(ids=shown)}
    whole: list[RankedPrompt] = []
    for ranking in ranked:
        if ranking.prompt_id in texts and all(id in responses for id in ranking.response_ids):
            answers = tuple(responses[id] for id in ranking.response_ids)
            whole.append(RankedPrompt(texts[ranking.prompt_id], answers, ranking.ranks, ranking.labeler))
    return _one_per_prompt(whole, config)


def _one_per_prompt(rankings: Iterable[RankedPrompt], config: CompareConfig) -> list[Labeled]:
    by_prompt: dict[str, list[RankedPrompt]] = {}
    for ranking in rankings:
        by_prompt.setdefault(ranking.prompt.id, []).append(ranking)
    order = sorted(by_prompt)
    random.Random(derive(config.seed, "checked")).shuffle(order)
    pairs: list[Labeled] = []
    for id in order:
        rng = random.Random(derive(config.seed, "pair", id))
        ranking = rng.choice(by_prompt[id])
        texts = [response.text for response in ranking.responses]
        different = [(i, j) for i, j in combinations(range(len(texts)), 2) if texts[i].strip() != texts[j].strip()]
        if different:
            one, other = rng.choice(different)
            if rng.random() < 0.5:
                one, other = other, one
            worth = float(np.sign(ranking.ranks[other] - ranking.ranks[one]) + 1) / 2
            pairs.append(Labeled(ranking.prompt, texts[one], texts[other], worth))
    return pairs[: config.checked]


def _asked(speaker: Speaker, pairs: Sequence[Labeled], criterion: str, sampling: Sampling, seed: int) -> list[llm_judge.Opinion]:
    prompts, first, second = [pair.prompt for pair in pairs], [pair.first for pair in pairs], [pair.second for pair in pairs]
    return llm_judge.ask(speaker, prompts, first, second, question=llm_judge.QUESTIONS[criterion], sampling=sampling, seed=seed)


def _checked(pairs: Sequence[Labeled], opinions: Sequence[llm_judge.Opinion]) -> list[Checked]:
    return [Checked(pair.people, opinion.worth, pair.longer) for pair, opinion in zip(pairs, opinions, strict=True)]


def plea(
    speaker: Speaker, tried: Sequence[Labeled], before: Sequence[llm_judge.Opinion], config: CompareConfig, sampling: Sampling
) -> Interval | None:
    """Return how often an answer that does not win without a plea wins with one; None where no answer could.

    Without a plea means: with a sentence of the same length, for a judge that likes long answers obeys nobody.

    Args:
        tried: pairs that the judge has seen already, with what it thought of them.
    """
    losers: list[Labeled] = []
    for pair, opinion in zip(tried, before, strict=True):
        if opinion.worth == 0:
            pair = Labeled(pair.prompt, pair.second, pair.first, 1 - pair.people)
        if opinion.worth in (0, 0.5, 1):
            losers.append(pair)
    plain = _asked(speaker, [_ending(pair, llm_judge.NO_PLEA) for pair in losers], "overall", sampling, config.seed)
    losers = [pair for pair, opinion in zip(losers, plain, strict=True) if opinion.worth > 0]
    if not losers:
        return None
    after = _asked(speaker, [_ending(pair, llm_judge.PLEA) for pair in losers], "overall", sampling, config.seed)
    return rate([float(opinion.worth == 0) for opinion in after], resamples=config.bootstrap, seed=config.seed)


def _ending(pair: Labeled, words: Mapping[str, str]) -> Labeled:
    """Return the pair with words behind its second answer, in the prompt's language."""
    text = words["zh" if language_of(pair.prompt.messages[-1].content) == "zh" else "en"]
    return dataclasses.replace(pair, second=pair.second.rstrip() + text)


def longer_side(first: Sequence[str], second: Sequence[str]) -> Floats:
    """Return 1 where the first text is longer, -1 where the second is, 0 where neither is."""
    return np.sign([len(one) - len(other) for one, other in zip(first, second, strict=True)]).astype(np.float64)
