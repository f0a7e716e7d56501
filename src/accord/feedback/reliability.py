"""Coefficients of agreement for a set of rankings, with intervals that resample prompts, and disagreement between groups of labelers.

A ranking contains three kinds of judgements. *Comparisons*: which response of a pair is better, or a tie; a unit is a pair, taken in
both orientations, so that the order of the responses does not matter. *Ratings*: a unit is a response, a value 1 to 7. *Flags*: a unit
is a response and a flag, a value ticked or not. Judgements under two guideline sets never share a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, combinations_with_replacement
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError
from accord.feedback.agreement import PairwiseAgreement, between, by_prompt, pairwise_agreement, preferences
from accord.feedback.coefficients import (
    Level,
    Weights,
    alpha_of,
    coincidences,
    disagreement,
    fleiss_of,
    fleiss_sums,
    kappa_of,
    kendall_tau_b,
)
from accord.feedback.intervals import Figure, Floats, Interval, over_draws, resampled, share
from accord.records import GuidelineSet, Ranking

Unit = dict[str, int]
"""The category that each labeler chose for something."""
Units = list[list[Unit]]
"""The units of each prompt."""
SHARED = 30
"""Least number of shared units for the kappa of two labelers to be shown."""
QUALITIES = 7


@dataclass(frozen=True)
class Reliability:
    """Agreement of labelers. ``metrics`` by name, as docs/agreement.md defines them; NaN where one is undefined."""

    rankings: int
    prompts: int
    labelers: int
    pairs: int
    """Judgements of one pair of responses by two labelers."""
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Contested:
    """A pair of responses on which groups of labelers disagree."""

    prompt_id: str
    first: str
    second: str
    prefers_first: dict[str, float]
    """For each group that judged it, the share that prefers the first; a tie counts half."""
    voices: dict[str, int]
    gap: float
    """Difference between the groups with the highest and the lowest share."""


@dataclass(frozen=True)
class Scale:
    """A kind of judgement: number of categories, weight of a disagreement, whether the categories mirror each other."""

    size: int
    weights: Weights
    mirrored: bool
    alphas: dict[str, Figure]


NOMINAL, ORDINAL, INTERVAL = (partial(alpha_of, level=level) for level in get_args(Level))
_SCALES = {
    "comparison": Scale(3, "none", True, {"alpha": NOMINAL, "alpha_ordinal": ORDINAL}),
    "rating": Scale(QUALITIES, "quadratic", False, {"alpha_ordinal": ORDINAL, "alpha_interval": INTERVAL}),
    "flag": Scale(2, "none", False, {"alpha": NOMINAL}),
}


def reliability(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> Reliability:
    """Return all coefficients at once.

    Args:
        rankings: of any prompts; if a labeler judged something twice under a guideline set, the last judgement counts.
        resamples: bootstrap draws of the prompts for each interval.
        seed: fixes the draws.

    Raises:
        InputError: no two labelers ranked the same responses.
    """
    rows = list(rankings)
    pairwise = pairwise_agreement(rows, resamples=resamples, seed=seed)
    groups = [part for group in by_prompt(rows).values() if len(part := _overlapping(group)) > 1]
    metrics = {f"pairwise_{rule}": getattr(pairwise, rule) for rule in ("dropped", "disagreement", "half")}
    metrics["rank_tau_b"] = resampled(_tau_rows(groups), share, resamples=resamples, seed=seed)
    said = {"comparison": [_comparisons(g) for g in groups], "rating": [_ratings(g) for g in groups], "flag": _flags(groups)}
    for name, scale in _SCALES.items():
        metrics |= {f"{name}_{key}": value for key, value in of_scale(said[name], scale, resamples, seed).items()}
    return Reliability(len(rows), len(groups), len({r.labeler for r in rows}), pairwise.pairs, metrics)


def split(rankings: Iterable[Ranking], key: Callable[[Ranking], str]) -> dict[str, list[Ranking]]:
    """Split rankings by labeler group, kind of task, guideline version, or any other key; ordered by key."""
    parts: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        parts.setdefault(key(ranking), []).append(ranking)
    return dict(sorted(parts.items()))


def between_groups(
    rankings: Iterable[Ranking], groups: Mapping[str, str], *, resamples: int = 2000, seed: int = 0
) -> dict[tuple[str, str], PairwiseAgreement]:
    """Return the agreement within each group of labelers and between every two groups; those that share no responses are left out.

    Args:
        groups: each labeler's group.
    """
    rows, found = list(rankings), dict[tuple[str, str], PairwiseAgreement]()
    members: dict[str, set[str]] = {}
    for labeler, group in groups.items():
        members.setdefault(group, set()).add(labeler)
    sides = {name: frozenset(members[name]) for name in sorted(members)}
    for one, other in combinations_with_replacement(sides, 2):
        try:
            meet = between(sides[one], sides[other])
            found[one, other] = pairwise_agreement(rows, meet=meet, resamples=resamples, seed=seed)
        except InputError:
            continue
    return found


def contested(rankings: Iterable[Ranking], groups: Mapping[str, str], *, least: int = 1, gap: float = 0.5) -> list[Contested]:
    """Return the pairs on which groups disagree, widest gap first. They are for people to look at, not to be averaged away.

    Args:
        groups: each labeler's group.
        least: labelers of a group who must have judged a pair for the group to count.
        gap: least difference between two groups' shares.
    """
    found = list[Contested]()
    for prompt, group in by_prompt(rankings).items():
        for pair, unit in _pairs(group).items():
            candidate = _contested(prompt, pair, unit, groups, least)
            if len(candidate.voices) > 1 and candidate.gap >= gap:
                found.append(candidate)
    return sorted(found, key=lambda c: (-c.gap, c.prompt_id, c.first, c.second))


def labeler_kappas(
    units: Units, *, size: int, weights: Weights = "none", mirrored: bool = False, shared: int = SHARED
) -> dict[tuple[str, str], float]:
    """Return Cohen's kappa of every two labelers who both judged at least ``shared`` units; categories are 0 to size - 1."""
    costs = disagreement(size, weights)
    return {
        pair: float(kappa_of(rows.sum(0)[None], costs)[0])
        for pair, (_, rows) in _confusions(units, size, mirrored).items()
        if rows.sum() >= shared
    }


def of_scale(units: Units, scale: Scale, resamples: int, seed: int) -> dict[str, Interval]:
    """Return a scale's coefficients over units that several labelers judged; empty when there are none."""
    counts, prompts = _counted(units, scale.size)
    if not (counts.sum(-1) > 1).any():
        return {}
    matrices = _summed(coincidences(counts), prompts, len(units))
    sums = _summed(fleiss_sums(counts), prompts, len(units))
    if scale.mirrored:
        matrices, sums = (matrices + matrices[:, ::-1, ::-1]) / 2, sums + np.concatenate([sums[:, :2] * 0, sums[:, :1:-1]], -1)
    found = {name: resampled(matrices, figure, resamples=resamples, seed=seed) for name, figure in scale.alphas.items()}
    return found | {
        "fleiss": resampled(sums, fleiss_of, resamples=resamples, seed=seed),
        "cohen": _mean_kappa(_confusions(units, scale.size, scale.mirrored), scale, len(units), resamples, seed),
    }


def _mean_kappa(
    confusions: Mapping[tuple[str, str], tuple[list[int], Floats]], scale: Scale, prompts: int, resamples: int, seed: int
) -> Interval:
    """Return the mean kappa over pairs of labelers, weighted by their shared units (Light 1971); all pairs see the same draws."""
    kept = [(at, rows.reshape(len(rows), -1)) for at, rows in confusions.values() if rows.sum() >= SHARED]
    costs = disagreement(scale.size, scale.weights)

    def mean(counts: Floats) -> Floats:
        above, below = np.zeros(len(counts)), np.zeros(len(counts))
        for at, rows in kept:
            kappa = kappa_of((counts[:, at] @ rows).reshape(-1, scale.size, scale.size), costs)
            above += np.where(np.isnan(kappa), 0.0, kappa) * rows.sum()
            below += ~np.isnan(kappa) * rows.sum()
        return share(np.stack([above, below], -1))

    return over_draws(prompts, mean, resamples=resamples, seed=seed)


def _confusions(units: Units, size: int, mirrored: bool) -> dict[tuple[str, str], tuple[list[int], Floats]]:
    """Return for every two labelers the prompts that both judged, with a confusion matrix of each."""
    cells: dict[tuple[str, str], dict[int, Floats]] = {}
    for prompt, part in enumerate(units):
        for unit in part:
            for one, other in combinations(sorted(unit), 2):
                matrix = cells.setdefault((one, other), {}).setdefault(prompt, np.zeros((size, size)))
                matrix[unit[one], unit[other]] += 1
    found = {pair: (list(matrices), np.array(list(matrices.values()))) for pair, matrices in cells.items()}
    if mirrored:
        return {pair: (at, (rows + rows[:, ::-1, ::-1]) / 2) for pair, (at, rows) in found.items()}
    return found


def _overlapping(group: Sequence[Ranking]) -> list[Ranking]:
    """Return those of a prompt's rankings under a guideline set that two labelers answered under."""
    people: dict[GuidelineSet, set[str]] = {}
    for ranking in group:
        people.setdefault(ranking.guideline.set, set()).add(ranking.labeler)
    return [ranking for ranking in group if len(people[ranking.guideline.set]) > 1]


def _pairs(group: Sequence[Ranking]) -> dict[tuple[GuidelineSet, str, str], Unit]:
    units: dict[tuple[GuidelineSet, str, str], Unit] = {}
    for ranking in group:
        for (a, b), word in preferences(ranking).items():
            units.setdefault((ranking.guideline.set, a, b), {})[ranking.labeler] = word + 1
    return units


def _comparisons(group: Sequence[Ranking]) -> list[Unit]:
    return list(_pairs(group).values())


def _ratings(group: Sequence[Ranking]) -> list[Unit]:
    units: dict[tuple[GuidelineSet, str], Unit] = {}
    for ranking in group:
        for rating in ranking.ratings:
            units.setdefault((ranking.guideline.set, rating.response_id), {})[ranking.labeler] = rating.quality - 1
    return list(units.values())


def _flags(groups: Sequence[Sequence[Ranking]]) -> Units:
    """Return the flags ticked at least once; a flag that is never ticked would only inflate agreement."""
    ticked = set[str]()
    for ranking in chain.from_iterable(groups):
        for rating in ranking.ratings:
            ticked.update(rating.flags)
    flags = sorted(ticked)
    found: Units = []
    for group in groups:
        units: dict[tuple[GuidelineSet, str, str], Unit] = {}
        for ranking in group:
            for rating in ranking.ratings:
                for flag in flags:
                    units.setdefault((ranking.guideline.set, rating.response_id, flag), {})[ranking.labeler] = int(flag in rating.flags)
        found.append(list(units.values()))
    return found


def _tau_rows(groups: Sequence[Sequence[Ranking]]) -> Floats:
    """Return for each prompt the sum of tau-b over every two labelers' orders of their common responses, and the number of defined ones."""
    rows = np.zeros((len(groups), 2))
    for prompt, group in enumerate(groups):
        for one, other in combinations(group, 2):
            if one.labeler != other.labeler and one.guideline.set == other.guideline.set:
                tau = _tau(one, other)
                rows[prompt] += (0, 0) if np.isnan(tau) else (tau, 1)
    return rows


def _tau(one: Ranking, other: Ranking) -> float:
    mine, theirs = (dict(zip(r.response_ids, r.ranks, strict=True)) for r in (one, other))
    both = sorted(mine.keys() & theirs.keys())
    return kendall_tau_b([mine[id] for id in both], [theirs[id] for id in both])


def _counted(units: Units, size: int) -> tuple[Floats, NDArray[np.intp]]:
    """Return the number of labelers per category for each unit, [units, size], and the prompt of each unit, [units]."""
    flat = list(chain.from_iterable(units))
    cells: list[int] = []
    for at, unit in enumerate(flat):
        cells += [at * size + value for value in unit.values()]
    counts = np.bincount(np.array(cells, dtype=np.intp), minlength=len(flat) * size).reshape(-1, size).astype(np.float64)
    return counts, np.repeat(np.arange(len(units)), [len(part) for part in units])


def _summed(rows: Floats, prompts: NDArray[np.intp], of: int) -> Floats:
    """Sum rows of units, [units, ...], over each prompt: [of, ...]."""
    sums = np.zeros((of, *rows.shape[1:]))
    np.add.at(sums, prompts, rows)
    return sums


def _contested(prompt: str, pair: tuple[str, str, str], unit: Unit, groups: Mapping[str, str], least: int) -> Contested:
    votes: dict[str, list[float]] = {}
    for labeler, word in unit.items():
        votes.setdefault(groups.get(labeler, ""), []).append(1 - word / 2)
    heard = {group: given for group, given in sorted(votes.items()) if len(given) >= least}
    shares = {group: sum(given) / len(given) for group, given in heard.items()}
    gap = max(shares.values()) - min(shares.values()) if shares else 0.0
    return Contested(prompt, pair[1], pair[2], shares, {group: len(given) for group, given in heard.items()}, gap)
