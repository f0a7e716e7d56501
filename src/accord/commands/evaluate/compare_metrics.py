"""The metrics of a comparison, its samples side by side, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.commands.app import interval_text, table_of
from accord.commands.evaluate.answers import Answered
from accord.commands.evaluate.compare_judges import Judged
from accord.commands.evaluate.held_out import shown_prompt
from accord.data.diversity import distinct, self_bleu
from accord.evaluation.bradley_terry import standings
from accord.evaluation.drift import words
from accord.evaluation.duels import Duel
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table


def print_comparison(metrics: Mapping[str, Any]) -> None:
    """Print win rates and strengths, or the tasks that wait for people."""
    if "win_rate" not in metrics:
        print("Nobody has answered yet: the blind comparisons wait in the site (accord label), then run this again.")
        table_of("compare", metrics.get("people", metrics))
        return
    rows: list[tuple[str, ...]] = []
    for duel, rate in metrics["win_rate"].items():
        equal_length = interval_text(metrics["win_rate_length_controlled"][duel])
        rows.append((duel, interval_text(rate), f"{metrics['ties'][duel]:.0%}", equal_length, _needed(metrics["more_prompts"][duel])))
    title = f"win rates by {metrics['judge']}, {metrics['prompts']} prompts"
    table(title, ["duel", "win rate", "ties", "at equal length", "to settle it"], rows)
    ranks = [
        (name, interval_text(each["strength"], 2), "{} to {}".format(*each["rank_range"])) for name, each in metrics["strength"].items()
    ]
    table("Bradley-Terry strengths", ["system", "log-odds", "rank"], ranks)
    if diverse := metrics.get("diversity"):
        rows = [(name, f"{each['distinct_2']:.2f}", f"{each['self_bleu']:.2f}") for name, each in diverse.items()]
        table("two answers to one prompt", ["system", "distinct pairs of words", "self-BLEU"], rows)


def _needed(more_prompts: int | None) -> str:
    if more_prompts is None:
        return "no number of prompts would"
    return f"{more_prompts} more prompts" if more_prompts else "settled"


def duel_metrics(found: Sequence[Duel]) -> dict[str, Any]:
    """Return the metrics of all duels, by metric and then by duel."""
    return {
        "win_rate": {duel.name: duel.win_rate for duel in found},
        "ties": {duel.name: duel.ties for duel in found},
        "judged": {duel.name: duel.prompts for duel in found},
        "more_prompts": {duel.name: duel.more_prompts for duel in found},
        "win_rate_length_controlled": {duel.name: duel.length_controlled.win_rate for duel in found},
        "length_effect": {duel.name: duel.length_controlled.phi for duel in found},
        "win_rate_by_use_case": {duel.name: dict(duel.by_use_case) for duel in found},
        "win_rate_by_language": {duel.name: dict(duel.by_language) for duel in found},
        "win_rate_by_criterion": {duel.name: dict(duel.by_criterion) for duel in found if duel.by_criterion},
    }


def strengths(answered: Answered, judged: Judged, draw: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return each system's Bradley-Terry strength with its rank and the ranks that it may have."""
    found: dict[str, dict[str, Any]] = {}
    for each in standings(answered.names, judged.values, resamples=draw["resamples"], seed=draw["seed"]):
        found[each.name] = {"strength": each.strength, "rank": each.rank, "rank_range": [each.best, each.worst]}
    return found


def mean_words(answered: Answered) -> dict[str, float]:
    """Return the mean words of each system's answers; a language without spaces has one word per stretch of text."""
    means: dict[str, float] = {}
    for name, texts in zip(answered.names, answered.texts, strict=True):
        means[name] = float(np.mean([len(text.split()) for text in texts]))
    return means


def diversity(answered: Answered, second: Answered) -> dict[str, dict[str, float]]:
    """Return how much each system's two answers to one prompt differ, as means over the prompts that it answered twice."""
    found: dict[str, dict[str, float]] = {}
    for name, first, again in zip(answered.names, answered.texts, second.texts, strict=True):
        pairs = [[words(text) for text in pair] for pair in zip(first, again, strict=False)]
        found[name] = {
            "distinct_2": float(np.mean([distinct(pair) for pair in pairs])),
            "self_bleu": float(np.mean([self_bleu(pair) for pair in pairs])),
        }
    return found


def side_by_side(answered: Answered, judged: Judged, found: Sequence[Duel]) -> list[dict[str, Any]]:
    """Return a row per prompt: the answers, who was preferred, and the scores where the judge gives any."""
    place = {name: i for i, name in enumerate(answered.names)}
    rows: list[dict[str, Any]] = []
    for i, prompt in enumerate(answered.prompts):
        row: dict[str, Any] = {
            "prompt_id": prompt.id,
            "prompt": shown_prompt(prompt),
            "use_case": prompt.use_case,
            "responses": {name: texts[i] for name, texts in zip(answered.names, answered.texts, strict=True)},
            "preferred": {duel.name: judged.values[i, place[duel.first], place[duel.second]] for duel in found},
        }
        if judged.scores is not None:
            row["scores"] = dict(zip(answered.names, judged.scores[i].tolist(), strict=True))
        rows.append(jsonable(row))
    return rows
