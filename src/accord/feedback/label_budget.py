"""How many labels reach which agreement interval, which reward-model accuracy: read off a pilot, simulated or so far answered.

Three laws carry it. Intervals of shares shrink with the square root of the *prompts*, at the rate the pilot's own prompts scatter. Two
labels that agree so often are each right so often (``agreement.single_label_accuracy``), which bounds any accuracy measured against
labels. And a reward model's accuracy climbs from 1/2 to a level below that bound as a power law, fitted to a small reward model on
words (a few seconds, no torch), trained on growing parts of the pilot: a real reward model lies above that curve.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, inf, log1p, sqrt
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.feedback.agreement import agreement_rows, majority_accuracy, single_label_accuracy
from accord.feedback.intervals import Floats, share
from accord.records import RankedPrompt, Ranking

Z = 1.959964
WORDS = 200
"""Words that the small reward model knows."""
POWERS = (0.3, 0.5, 0.75, 1.0)
SPLITS, LEAST_MEASURED = 4, 0.25
"""A pilot is cut into what is learned from and what measures so often, and at least so much of it measures."""
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
WIN_RATE_SPREAD = 0.5
"""Standard deviation of a prompt's outcome at a win rate of one half, the most that it can be."""


class Point(NamedTuple):
    """An accuracy reached with so many comparisons."""

    comparisons: int
    accuracy: float


@dataclass(frozen=True)
class Scatter:
    """A share and how far the prompts scatter around it: its standard error is ``deviation`` / sqrt(prompts)."""

    mean: float
    deviation: float

    def width(self, prompts: float) -> float:
        """Of the 95% interval that so many prompts give."""
        return 2 * Z * self.deviation / sqrt(prompts) if prompts > 0 else inf

    def prompts(self, width: float) -> int:
        """How many prompts give an interval of this width."""
        return ceil((2 * Z * self.deviation / width) ** 2)


@dataclass(frozen=True)
class Curve:
    """Accuracy after n comparisons: 1/2 + (level - 1/2) (1 - (1 + n / scale)^-power)."""

    level: float
    scale: float
    power: float

    def at(self, comparisons: float) -> float:
        return 0.5 + (self.level - 0.5) * (1 - (1 + comparisons / self.scale) ** -self.power)

    def comparisons(self, accuracy: float) -> float:
        """How many reach an accuracy; infinity where the curve never does."""
        left = 1 - (accuracy - 0.5) / (self.level - 0.5) if self.level > 0.5 else -1.0
        return self.scale * (left ** (-1 / self.power) - 1) if left > 0 else inf


@dataclass(frozen=True)
class Pilot:
    """What the planner knows."""

    agreement: Scatter
    accuracy: Scatter
    """Of the small reward model, on prompts it did not learn from."""
    curve: Curve
    points: tuple[Point, ...]
    pairs: float
    """Untied comparisons that a ranking gives."""
    rankings: int

    @property
    def ceiling(self) -> float:
        """How often a single label is right, and so the most that accuracy against single labels can be."""
        return single_label_accuracy(self.agreement.mean)


@dataclass(frozen=True)
class Plan:
    """What so many rankings reach."""

    labels: int
    prompts: int
    comparisons: int
    """Untied, of all rankings."""
    agreement: float
    agreement_width: float
    reward_accuracy: float
    reward_width: float
    ceiling: float


def pilot(ranked: Sequence[RankedPrompt], rankings: Sequence[Ranking], *, held_out: float = 0.1, seed: int = 0) -> Pilot:
    """Reads the laws' constants off answers.

    Args:
        ranked: what reward models learn from; a share ``held_out`` of the prompts, a quarter at least, measures instead, in four cuts.
        rankings: the same answers as they were given; some prompts must have two labelers.

    Raises:
        InputError: no prompt has two labelers, or there are too few to learn and measure on.
    """
    rows = agreement_rows(rankings)
    if len(rows) < 2:
        raise InputError("fewer than two prompts were ranked by two labelers", where="plan", hint="label with an overlap")
    agreement, points, right = scatter(rows), list[Point](), np.zeros((0, 2))
    parted = [_parted(ranked, max(held_out, LEAST_MEASURED), seed + turn) for turn in range(SPLITS)]
    for part in PARTS:
        tries = [_trained(learn, measure, part, seed + turn) for turn, (learn, measure) in enumerate(parted)]
        right = np.concatenate([found for _, found in tries])
        points.append(Point(round(sum(n for n, _ in tries) / len(tries)), float(share(right.sum(0)))))
    pairs = sum(len(_untied(r)) for r in ranked) / len(ranked)
    curve = fit_curve(points, single_label_accuracy(agreement.mean))
    return Pilot(agreement, scatter(right), curve, tuple(points), pairs, len(rankings))


def plan(known: Pilot, labels: int, *, overlap: float, held_out: float) -> Plan:
    """What so many rankings reach, when a share ``overlap`` of the prompts is ranked twice and ``held_out`` kept from training."""
    prompts = labels / (1 + overlap)
    accuracy = known.curve.at(labels * (1 - held_out) * known.pairs)
    return Plan(
        labels,
        round(prompts),
        round(labels * known.pairs),
        known.agreement.mean,
        known.agreement.width(prompts * overlap),
        accuracy,
        known.accuracy.width(prompts * held_out),
        known.ceiling,
    )


def labels_for(known: Pilot, width: float, *, overlap: float, held_out: float) -> dict[str, int]:
    """How many rankings give 95% intervals of this width: of agreement, of reward-model accuracy; and prompts for a win rate near 1/2."""
    return {
        "labels_for_agreement": ceil(known.agreement.prompts(width) / overlap * (1 + overlap)),
        "labels_for_reward_accuracy": ceil(known.accuracy.prompts(width) / held_out * (1 + overlap)),
        "prompts_for_win_rate": Scatter(0.5, WIN_RATE_SPREAD).prompts(width),
    }


def by_redundancy(known: Pilot, labels: int, most: int = 7) -> list[tuple[int, int, float]]:
    """What to do with a budget: (labels a prompt, prompts, how often their majority is right), labels a prompt odd.

    Under symmetric noise. More prompts teach a reward model more; more labels a prompt make an evaluation set truer.
    """
    return [(each, labels // each, majority_accuracy(known.agreement.mean, each)) for each in range(1, most + 1, 2)]


def scatter(rows: Floats) -> Scatter:
    """Mean and scatter of a ratio of sums over prompts, [prompts, 2], by its linearisation."""
    if len(rows) < 2:
        raise InputError("needs two prompts at least", where="plan")
    mean = float(share(rows.sum(0)))
    errors = (rows[:, 0] - mean * rows[:, 1]) / rows[:, 1].mean()
    return Scatter(mean, float(errors.std(ddof=1)))


def fit_curve(points: Sequence[Point], ceiling: float) -> Curve:
    """The curve nearest to the points in squares, its level no higher than the ceiling: a grid of scales and powers, levels solved for.

    Raises:
        InputError: there are no points.
    """
    if not points:
        raise InputError("a learning curve needs points", where="plan")
    table: Floats = np.array(points, dtype=np.float64)
    n, y = table[:, 0], table[:, 1]
    best = (inf, Curve(ceiling, 1.0, 1.0))
    scales: list[float] = np.geomspace(max(1.0, float(n.min()) / 30), 30 * float(n.max()), 240).tolist()
    for power in POWERS:
        for scale in scales:
            risen = 1 - (1 + n / scale) ** -power
            level = float(np.clip((risen * (y - 0.5)).sum() / (risen**2).sum(), 0.0, ceiling - 0.5))
            error = float(((level * risen - (y - 0.5)) ** 2).sum())
            best = min(best, (error, Curve(0.5 + level, scale, power)), key=lambda found: found[0])
    return best[1]


def anchored(known: Pilot, measured: Point) -> Pilot:
    """The pilot with its curve raised to pass through what a real reward model reached; its shape stays that of the small one."""
    curve = known.curve
    risen = 1 - (1 + measured.comparisons / curve.scale) ** -curve.power
    level = min(known.ceiling, 0.5 + max(measured.accuracy - 0.5, 0.0) / risen)
    return replace(known, curve=replace(curve, level=level))


def _parted(ranked: Sequence[RankedPrompt], held_out: float, seed: int) -> tuple[list[RankedPrompt], list[RankedPrompt]]:
    """Learning and measuring parts, by prompt, each shuffled."""
    ids, rng = sorted({r.prompt.id for r in ranked}), np.random.default_rng(seed)
    shuffled: list[int] = rng.permutation(len(ids)).tolist()
    order = [ids[i] for i in shuffled]
    measured = set(order[: max(2, round(held_out * len(ids)))])
    place = {id: n for n, id in enumerate(order)}
    rows = sorted(ranked, key=lambda r: (place[r.prompt.id], r.labeler))
    learn, measure = [r for r in rows if r.prompt.id not in measured], [r for r in rows if r.prompt.id in measured]
    if len(learn) < round(1 / PARTS[0]) or not any(_untied(r) for r in measure):
        raise InputError(f"{len(ids)} ranked prompts are too few to plan from", where="plan", hint="label some dozens first")
    return learn, measure


def _trained(learn: Sequence[RankedPrompt], measure: Sequence[RankedPrompt], part: float, seed: int) -> tuple[int, Floats]:
    """A small reward model from a part of the rankings: comparisons learned from, and (right, untied pairs) of each measured prompt."""
    shuffled: list[int] = np.random.default_rng(seed).permutation(len(learn)).tolist()
    rows = [learn[i] for i in shuffled[: max(1, round(part * len(learn)))]]
    words = [w for w, _ in Counter(w for r in rows for text in {x.text for x in r.responses} for w in _words(text)).most_common(WORDS)]
    pairs = np.concatenate([_differences(r, words) for r in rows])
    weights = _logistic(pairs)
    right: dict[str, list[float]] = {}
    for r in measure:
        margins = _differences(r, words) @ weights
        sums = right.setdefault(r.prompt.id, [0.0, 0.0])
        sums[0] += float((margins > 0).sum() + (margins == 0).sum() / 2)
        sums[1] += len(margins)
    return len(pairs), np.array([row for row in right.values() if row[1]], dtype=np.float64)


def _untied(ranked: RankedPrompt) -> list[tuple[int, int]]:
    """Places of (better, worse) of each untied pair."""
    ranks = ranked.ranks
    return [(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2) if ranks[i] != ranks[j]]


def _differences(ranked: RankedPrompt, words: Sequence[str]) -> Floats:
    """Features of the better minus those of the worse response, [untied pairs, features]."""
    asked = set(_words(" ".join(message.content for message in ranked.prompt.messages)))
    table = np.array([_features(response.text, asked, words) for response in ranked.responses])
    pairs = _untied(ranked)
    return table[[i for i, _ in pairs]] - table[[j for _, j in pairs]] if pairs else np.zeros((0, table.shape[1]))


def _features(text: str, asked: set[str], words: Sequence[str]) -> list[float]:
    """Length, share of the words that the prompt has, repetition, whether it ends as a sentence does, and which words occur."""
    said = _words(text)
    own, count = set(said), max(1, len(said))
    ends = float(text.rstrip().endswith((".", "!", "?", "。")))
    return [log1p(len(said)), len(own & asked) / count, len(own) / count, ends, *(float(word in own) for word in words)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _logistic(differences: Floats, ridge: float = 3.0, steps: int = 12) -> Floats:
    """Weights under which the better response scores higher: logistic regression on differences, by Newton's method."""
    weights = np.zeros(differences.shape[1])
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(np.clip(differences @ weights, -30, 30)))
        curvature = differences.T @ (differences * (wrong * (1 - wrong))[:, None]) + ridge * np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, differences.T @ wrong - ridge * weights)
    return weights
