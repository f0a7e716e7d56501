"""How often a reward model orders pairs as labelers do: on which rankings, by group and difference, and how much more is possible."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accord.commands.evaluate.examine_scores import Scores, score_all
from accord.commands.models import TextScorer
from accord.commands.world import has_world, world_of
from accord.errors import InputError
from accord.evaluation.form import form_of_scores
from accord.evaluation.reward_accuracy import gold_accuracy
from accord.evaluation.statistics import Interval
from accord.evaluation.verdicts import Verdict, accuracy_by, accuracy_of, by_margin, longer_is_better, verdicts
from accord.feedback.agreement import pairwise_agreement, single_label_accuracy
from accord.feedback.store import Store
from accord.records import RankedPrompt, Ranking
from accord.runtime.project import Project
from accord.settings import ExamineConfig
from accord.world import GoldJudge


@dataclass(frozen=True)
class JudgedRankings:
    """The rankings that a reward model is held against, in parts, with its scores."""

    scores: Scores
    train: list[RankedPrompt]
    held_out: list[RankedPrompt]
    """Prompts it did not learn from, by labelers it did learn from."""
    held_out_group: list[RankedPrompt]
    """The same prompts by the group of labelers that was kept out of training."""
    rankings: list[Ranking]

    def verdicts(self, ranked: Sequence[RankedPrompt]) -> list[Verdict]:
        return verdicts(ranked, self.scores.of(ranked))

    def scored(self, ranked: Sequence[RankedPrompt]) -> list[RankedPrompt]:
        """Return the rankings all of whose responses have a score."""
        known = set(self.scores.by_response)
        return [row for row in ranked if known.issuperset(response.id for response in row.responses)]


def judged_rankings(project: Project, config: ExamineConfig, scorer: TextScorer, held_out_group: str) -> JudgedRankings:
    """Score held-out rankings, and as many of the training ones.

    Raises:
        InputError: the store has no rankings of held-out prompts.
    """
    with Store.open(project.store_url) as store:
        ranked = list(store.ranked_prompts())
        rankings = list(store.rankings("training"))
    held_out = [row for row in ranked if row.prompt.split != "train"]
    if not held_out:
        hint = "sample and label prompts of validation users: `accord sample --held-out 300`"
        raise InputError("the store has no rankings of held-out prompts", where=project.store_name, hint=hint)
    random.Random(config.seed).shuffle(held_out)
    held_out = held_out[: config.rankings or None]
    of_group = [row for row in held_out if held_out_group and row.group == held_out_group]
    of_others = [row for row in held_out if not (held_out_group and row.group == held_out_group)]
    train = [row for row in ranked if row.prompt.split == "train" and not (held_out_group and row.group == held_out_group)]
    random.Random(config.seed).shuffle(train)
    scores = score_all(scorer, [*held_out, *train[: len(held_out)]])
    return JudgedRankings(scores, train, of_others or held_out, of_group, rankings)


def accuracies(project: Project, judged: JudgedRankings, found: Sequence[Verdict], config: ExamineConfig) -> dict[str, Any]:
    """Return the accuracy on held-out and training prompts, by group, labeler, use case and difference, and against gold.

    Raises:
        InputError: every held-out pair is tied.
    """
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    metrics: dict[str, Any] = {"rankings": len(judged.held_out), "comparisons": len(found), "accuracy": accuracy_of(found, **draw)}
    for key, rows in (("accuracy_train", judged.train), ("accuracy_heldout_group", judged.held_out_group)):
        if part := judged.verdicts(judged.scored(rows)):
            metrics[key] = accuracy_of(part, **draw)
    everybody = [*found, *judged.verdicts(judged.held_out_group)]
    metrics["accuracy_by_group"] = accuracy_by(everybody, lambda verdict: verdict.ranked.group or "(none)", **draw)
    metrics["accuracy_by_labeler"] = accuracy_by(everybody, lambda verdict: verdict.ranked.labeler, **draw)
    metrics["accuracy_by_use_case"] = accuracy_by(found, lambda verdict: verdict.ranked.prompt.use_case, **draw)
    metrics["accuracy_by_steps"] = accuracy_by(found, lambda verdict: str(verdict.steps), **draw)
    metrics["accuracy_by_margin"] = by_margin(found, **draw)
    metrics["longer_is_better"] = longer_is_better(found, **draw)
    if has_world(project):
        judge, gold = GoldJudge(world_of(project)), list[list[float]]()
        rows = list({row.prompt.id: row for row in judged.held_out}.values())
        for row in rows:
            gold.append([judge.judge(row.prompt, response.text).utility for response in row.responses])
        metrics["accuracy_gold"] = gold_accuracy(judged.scores.of(rows), gold, **draw)
    return metrics


def noise_ceiling(judged: JudgedRankings, found: Sequence[Verdict], config: ExamineConfig) -> dict[str, Any]:
    """Return inter-annotator agreement, the noise ceiling against single labels, and the share of it that this model reaches."""
    try:
        agreement = pairwise_agreement(judged.rankings, resamples=config.bootstrap, seed=config.seed).dropped
    except InputError:
        return {"agreement": None, "noise_ceiling": None, "of_what_can_be_known": None}
    ceiling = Interval(*(single_label_accuracy(value) for value in agreement))
    reached = accuracy_of(found, resamples=1).mean
    known = (reached - 0.5) / (ceiling.mean - 0.5) if ceiling.mean > 0.5 else None
    return {"agreement": agreement, "noise_ceiling": ceiling, "of_what_can_be_known": known}


def form(judged: JudgedRankings) -> dict[str, Any]:
    """Return how far the reward follows length, lists, courtesy and the like, beyond the labels."""
    rows = judged.held_out
    texts: list[list[str]] = []
    for row in rows:
        texts.append([response.text for response in row.responses])
    return form_of_scores(texts, judged.scores.of(rows), [row.ranks for row in rows])
