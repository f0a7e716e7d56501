"""The metrics of a comparison, its samples side by side, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from accord.commands.app import interval_text, table_of
from accord.commands.evaluate.answers import Answered
from accord.commands.evaluate.compare_check import longer_side
from accord.commands.evaluate.compare_judges import Judged
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.evaluate.text_figures import differences, print_text_figures
from accord.evaluation.bradley_terry import standings
from accord.evaluation.duels import Duel
from accord.evaluation.judge_check import corrected
from accord.evaluation.slices import by_scene
from accord.evaluation.statistics import FEW, Interval, interval
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.settings.scenes import NONE


def print_comparison(metrics: Mapping[str, Any]) -> None:
    """Print win rates and strengths, or the tasks that wait for people."""
    if "win_rate" not in metrics:
        print("Nobody has answered yet: the blind comparisons wait in the site (accord label), then run this again.")
        table_of("compare", metrics.get("people", metrics))
        return
    small = metrics["too_small"]
    for line in _about_the_judge(metrics):
        print(line)
    if not metrics["no_conclusion"]:
        rows: list[tuple[str, ...]] = []
        corrected = "judge_win_rate" in metrics
        for duel, rate in metrics["win_rate"].items():
            own = [interval_text(metrics["judge_win_rate"][duel])] if corrected else []
            equal_length = interval_text(metrics["win_rate_length_controlled"][duel])
            settles = _needed(metrics["more_prompts"][duel], rate, too_small=small)
            rows.append((duel, interval_text(rate), *own, f"{metrics['ties'][duel]:.0%}", equal_length, settles))
        title = f"win rates by {metrics['judge']}, {metrics['prompts']} prompts" + (
            ", too small a sample: exact intervals" if small else ""
        )
        rates = ["win rate, corrected", "by the judge's word"] if corrected else ["win rate"]
        table(title, ["duel", *rates, "ties", "at equal length", "to settle it"], rows)
        ranks: list[tuple[str, ...]] = []
        for name, each in metrics["strength"].items():
            log_odds = f"{each['strength'][0]:.2f}" if small else interval_text(each["strength"], 2)
            ranks.append((name, log_odds, "{} to {}".format(*each["rank_range"])))
        table("Bradley-Terry strengths" + (" by the judge's word" if corrected else ""), ["system", "log-odds", "rank"], ranks)
    _print_scenes(metrics)
    if diverse := metrics.get("diversity"):
        spread = "semantic_spread" in next(iter(diverse.values()))
        rows = []
        for name, each in diverse.items():
            row = (name, f"{each['distinct_2']:.2f}", f"{each['self_bleu']:.2f}")
            rows.append((*row, f"{each['semantic_spread']:.2f}") if spread else row)
        heads = ["system", "distinct pairs of words", "self-BLEU", *(["semantic spread"] if spread else [])]
        table("two answers to one prompt", heads, rows)
    print_text_figures(metrics)


def _print_scenes(metrics: Mapping[str, Any]) -> None:
    """Print the figures by scene, a line per scene."""
    if scores := metrics.get("score_by_scene"):
        names = list(next(iter(scores.values())))
        rows = [(scene, *(interval_text(each[name]) for name in names)) for scene, each in scores.items()]
        table("mean score by scene", ["scene", *names], rows)
    for duel, rates in metrics.get("win_rate_by_scene", {}).items():
        table(f"win rate by scene, {duel}", ["scene", "win rate"], [(scene, interval_text(rate)) for scene, rate in rates.items()])


def _about_the_judge(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader has to know of an LLM judge before its figures."""
    if "judge_check" not in metrics:
        return
    checked, bias = metrics["judge_check"], metrics["position_bias"]
    if right := checked.get("accuracy"):
        yield f"the judge against people, {checked['untied_pairs']} pairs: right in {interval_text(right)}, 0.5 is a coin"
        for criterion, kappa in checked["by_criterion"].items():
            yield f"  kappa, {criterion}: " + (interval_text(kappa, 2) if None not in kappa else "not defined")
        if None not in checked["length_bias"]:
            yield f"  prefers the longer answer more often than people by {interval_text(checked['length_bias'])}"
    else:
        yield "the judge is unchecked: no label of a person tells how often it is right. Its win rate is its own word."
    if bias["consistent"] is not None:
        first = "" if bias["first_place"] is None else f", the answer shown first wins {bias['first_place']:.0%}"
        yield f"  same verdict in both orders: {bias['consistent']:.0%}{first}; unreadable: {bias['unreadable']:.0%}"
    if (obeys := checked.get("obeys")) is not None:
        yield f"  an answer that asks for its vote wins {obeys[0]:.0%} of the pairs that it would not win" + (
            f"; {metrics['set_aside']} pairs with such answers are set aside" if metrics["set_aside"] else ""
        )
    if metrics["no_conclusion"]:
        yield "no conclusion from this judge:"
        yield from (f"  {why}" for why in metrics["no_conclusion"])
        yield "  take another by --judge-model, or ask people (--by people)"


def _needed(more_prompts: int | None, rate: Sequence[float], *, too_small: bool) -> str:
    if too_small:
        return f"too small: {more_prompts} more prompts at least" if more_prompts else "too small"
    if more_prompts is None:
        return "no number of prompts would"
    if more_prompts:
        return f"{more_prompts} more prompts"
    return "more labels of people" if rate[1] <= 0.5 <= rate[2] else "settled"


def duel_metrics(found: Sequence[Duel], judged: Judged, answered: Answered) -> dict[str, Any]:
    """Return the metrics of all duels, by metric and then by duel.

    An LLM judge's win rates are corrected for its errors where people's labels show them; from an unfit judge there is none at all.
    """
    own = {duel.name: duel.win_rate for duel in found}
    rates, unfit = dict(own), list(judged.unfit)
    if judged.accuracy and not unfit:
        place = {name: i for i, name in enumerate(answered.names)}
        for duel in found:
            i, j = place[duel.first], place[duel.second]
            known = np.flatnonzero(~np.isnan(judged.values[:, i, j]))
            longer = longer_side(answered.texts[i], answered.texts[j])[known]
            better = corrected(judged.values[known, i, j], longer, judged.accuracy)
            if better is None:
                del rates[duel.name]
                unfit.append(f"{duel.name}: the judge's errors leave nothing to be said")
            else:
                rates[duel.name] = better.win_rate
    if unfit:
        rates = {}
    small = min(duel.prompts for duel in found) < FEW
    return {
        "win_rate": rates,
        **({"judge_win_rate": own} if judged.accuracy or unfit else {}),
        "no_conclusion": unfit,
        "too_small": small,
        "conclusion": {duel.name: _conclusion(duel, rates.get(duel.name)) for duel in found},
        "ties": {duel.name: duel.ties for duel in found},
        "judged": {duel.name: duel.prompts for duel in found},
        "more_prompts": {duel.name: duel.more_prompts for duel in found},
        "win_rate_length_controlled": {duel.name: duel.length_controlled.win_rate for duel in found},
        "length_effect": {duel.name: duel.length_controlled.phi for duel in found},
        "win_rate_by_use_case": {duel.name: dict(duel.by_use_case) for duel in found},
        "win_rate_by_language": {duel.name: dict(duel.by_language) for duel in found},
        **({"win_rate_by_scene": scenes} if (scenes := {duel.name: dict(duel.by_scene) for duel in found if duel.by_scene}) else {}),
        "win_rate_by_criterion": {duel.name: dict(duel.by_criterion) for duel in found if duel.by_criterion},
    }


def scores_by_scene(judged: Judged, answered: Answered, draw: Mapping[str, int]) -> dict[str, Any]:
    """Return each system's mean score in each scene, where the judge gives scores and prompts carry scenes; otherwise nothing."""
    scenes = by_scene(answered.prompts)
    if judged.scores is None or {*scenes} == {NONE}:
        return {}
    found: dict[str, dict[str, Interval]] = {}
    for scene in sorted({*scenes}):
        rows = [row for row, each in enumerate(scenes) if each == scene]
        found[scene] = {name: interval(judged.scores[rows, i].tolist(), **draw) for i, name in enumerate(answered.names)}
    return {"score_by_scene": found}


def _conclusion(duel: Duel, rate: Interval | None) -> str:
    """Return the system that is preferred, or why none can be named."""
    if rate is None:
        return "unfit judge"
    if duel.prompts < FEW:
        return "too small"
    return duel.first if rate.low > 0.5 else duel.second if rate.high < 0.5 else "undecided"


def strengths(answered: Answered, judged: Judged, found: Sequence[Duel], draw: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return each system's Bradley-Terry strength with its rank and the ranks that it may have.

    On few prompts the bootstrap has nothing to vary, so that a rank may be any that the duels' exact intervals leave open.
    """
    rows: dict[str, dict[str, Any]] = {}
    for each in standings(answered.names, judged.values, resamples=draw["resamples"], seed=draw["seed"]):
        best, worst = each.best, each.worst
        if min(duel.prompts for duel in found) < FEW:
            above = sum(_lost(each.name, duel) for duel in found)
            below = sum(
                _lost(other, duel) for duel in found for other in (duel.first, duel.second) if each.name in (duel.first, duel.second)
            )
            best, worst = min(best, 1 + above), max(worst, len(answered.names) - (below - above))
        rows[each.name] = {"strength": each.strength, "rank": each.rank, "rank_range": [best, worst]}
    return rows


def _lost(name: str, duel: Duel) -> bool:
    """Return whether a system surely lost a duel."""
    return (duel.first == name and duel.win_rate.high < 0.5) or (duel.second == name and duel.win_rate.low > 0.5)


def mean_words(answered: Answered) -> dict[str, float]:
    """Return the mean words of each system's answers; a language without spaces has one word per stretch of text."""
    means: dict[str, float] = {}
    for name, texts in zip(answered.names, answered.texts, strict=True):
        means[name] = float(np.mean([len(text.split()) for text in texts]))
    return means


def diversity(answered: Answered, second: Answered) -> dict[str, dict[str, float]]:
    """Return how much each system's two answers to one prompt differ, as means over the prompts that it answered twice."""
    found: dict[str, dict[str, float]] = {}
    for name, groups in pairs_of(answered, second).items():
        found[name] = differences(groups)
    return found


def pairs_of(answered: Answered, second: Answered) -> dict[str, list[tuple[str, str]]]:
    """Return each system's two answers to each prompt that it answered twice."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, first, again in zip(answered.names, answered.texts, second.texts, strict=True):
        found[name] = list(zip(first, again, strict=False))
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
