"""Label budgets: the number of labels for an agreement interval or a reward-model accuracy, estimated from a pilot or existing answers.

It rests on three laws. Intervals of shares shrink with the square root of the number of *prompts*, at the scatter of the pilot's own
prompts. The agreement of two labels gives the accuracy of one (``agreement.single_label_accuracy``), which bounds any accuracy measured
against labels. And a reward model's accuracy rises from 1/2 to a level below that bound by a power law. The law is fitted to a small
reward model on words (a few seconds, no torch), trained on growing parts of the pilot; a real reward model lies above that curve.
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
"""Vocabulary size of the small reward model."""
POWERS = (0.3, 0.5, 0.75, 1.0)
SPLITS, LEAST_MEASURED = 4, 0.25
"""Number of train-test splits of a pilot, and the least number of test prompts."""
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
WIN_RATE_SPREAD = 0.5
"""Standard deviation of a prompt's outcome at a win rate of one half, the largest possible."""


class Point(NamedTuple):
    """An accuracy reached with a number of comparisons."""

    comparisons: int
    accuracy: float


@dataclass(frozen=True)
class Scatter:
    """A share and the scatter of prompts around it: its standard error is ``deviation`` / sqrt(prompts)."""

    mean: float
    deviation: float

    def width(self, prompts: float) -> float:
        """Return the width of the 95% interval from this many prompts."""
        return 2 * Z * self.deviation / sqrt(prompts) if prompts > 0 else inf

    def prompts(self, width: float) -> int:
        """Return the number of prompts that give an interval of this width."""
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
        """Return the number of comparisons that reach an accuracy; infinity where the curve never does."""
        left = 1 - (accuracy - 0.5) / (self.level - 0.5) if self.level > 0.5 else -1.0
        return self.scale * (left ** (-1 / self.power) - 1) if left > 0 else inf


@dataclass(frozen=True)
class Pilot:
    """The planner's estimates from a pilot."""

    agreement: Scatter
    accuracy: Scatter
    """Accuracy of the small reward model on held-out prompts."""
    curve: Curve
    points: tuple[Point, ...]
    pairs: float
    """Untied comparisons per ranking."""
    rankings: int

    @property
    def ceiling(self) -> float:
        """Return the accuracy of a single label, which bounds any accuracy measured against single labels."""
        return single_label_accuracy(self.agreement.mean)


@dataclass(frozen=True)
class Plan:
    """The results that a number of rankings would reach."""

    labels: int
    prompts: int
    comparisons: int
    """Untied comparisons in all rankings."""
    agreement: float
    agreement_width: float
    reward_accuracy: float
    reward_width: float
    ceiling: float


def pilot(ranked: Sequence[RankedPrompt], rankings: Sequence[Ranking], *, held_out: float = 0.1, seed: int = 0) -> Pilot:
    """Estimate the laws' constants from answers.

    Args:
        ranked: training data for reward models; a share ``held_out`` of the prompts, at least a quarter, is used for testing, in four
            splits.
        rankings: the same answers as they were given; some prompts must have two labelers.

    Raises:
        InputError: no prompt has two labelers, or there are too few to train and test on.
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
    """Return the results of a number of rankings when a share ``overlap`` of the prompts is ranked twice and ``held_out`` kept for
    testing."""
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
    """Return the rankings for 95% intervals of this width on agreement and on reward-model accuracy, and the prompts for a win rate near
    1/2."""
    return {
        "labels_for_agreement": ceil(known.agreement.prompts(width) / overlap * (1 + overlap)),
        "labels_for_reward_accuracy": ceil(known.accuracy.prompts(width) / held_out * (1 + overlap)),
        "prompts_for_win_rate": Scatter(0.5, WIN_RATE_SPREAD).prompts(width),
    }


def by_redundancy(known: Pilot, labels: int, most: int = 7) -> list[tuple[int, int, float]]:
    """Return ways to spend a budget: (labels per prompt, prompts, accuracy of their majority), with odd numbers of labels per prompt.

    Under symmetric noise. More prompts improve a reward model; more labels per prompt make an evaluation set more accurate.
    """
    return [(each, labels // each, majority_accuracy(known.agreement.mean, each)) for each in range(1, most + 1, 2)]


def scatter(rows: Floats) -> Scatter:
    """Return mean and scatter of a ratio of sums over prompts, [prompts, 2], by its linearisation."""
    if len(rows) < 2:
        raise InputError("a plan needs at least two prompts", where="plan", hint="label more prompts")
    mean = float(share(rows.sum(0)))
    errors = (rows[:, 0] - mean * rows[:, 1]) / rows[:, 1].mean()
    return Scatter(mean, float(errors.std(ddof=1)))


def fit_curve(points: Sequence[Point], ceiling: float) -> Curve:
    """Fit the curve with least squares, its level at most the ceiling: over a grid of scales and powers, solving for the level.

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
    """Return the pilot with its curve raised to pass through a real reward model's accuracy, keeping its shape."""
    curve = known.curve
    risen = 1 - (1 + measured.comparisons / curve.scale) ** -curve.power
    level = min(known.ceiling, 0.5 + max(measured.accuracy - 0.5, 0.0) / risen)
    return replace(known, curve=replace(curve, level=level))


def _parted(ranked: Sequence[RankedPrompt], held_out: float, seed: int) -> tuple[list[RankedPrompt], list[RankedPrompt]]:
    """Split rankings into training and test parts by prompt, each shuffled."""
    ids, rng = sorted({r.prompt.id for r in ranked}), np.random.default_rng(seed)
    shuffled: list[int] = rng.permutation(len(ids)).tolist()
    order = [ids[i] for i in shuffled]
    measured = set(order[: max(2, round(held_out * len(ids)))])
    place = {id: n for n, id in enumerate(order)}
    rows = sorted(ranked, key=lambda r: (place[r.prompt.id], r.labeler))
    learn, measure = [r for r in rows if r.prompt.id not in measured], [r for r in rows if r.prompt.id in measured]
    if len(learn) < round(1 / PARTS[0]) or not any(_untied(r) for r in measure):
        raise InputError(f"{len(ids)} ranked prompts are too few to plan from", where="plan", hint="label a few dozen first")
    return learn, measure


def _trained(learn: Sequence[RankedPrompt], measure: Sequence[RankedPrompt], part: float, seed: int) -> tuple[int, Floats]:
    """Train a small reward model on a part of the rankings; return the number of comparisons, and (right, untied pairs) per test prompt."""
    shuffled: list[int] = np.random.default_rng(seed).permutation(len(learn)).tolist()
    rows = [learn[i] for i in shuffled[: max(1, round(part * len(learn)))]]
    counts = Counter[str]()
    for row in rows:
        # In the order given: a set would break ties by the hash seed of the process, and the plan with them.
        for text in dict.fromkeys(response.text for response in row.responses):
            counts.update(_words(text))
    words = [word for word, _ in counts.most_common(WORDS)]
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
    """Return the indices of (better, worse) of each untied pair."""
    ranks = ranked.ranks
    return [(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2) if ranks[i] != ranks[j]]


def _differences(ranked: RankedPrompt, words: Sequence[str]) -> Floats:
    """Return the features of the better minus those of the worse response, [untied pairs, features]."""
    asked = set(_words(" ".join(message.content for message in ranked.prompt.messages)))
    table = np.array([_features(response.text, asked, words) for response in ranked.responses])
    pairs = _untied(ranked)
    return table[[i for i, _ in pairs]] - table[[j for _, j in pairs]] if pairs else np.zeros((0, table.shape[1]))


def _features(text: str, asked: set[str], words: Sequence[str]) -> list[float]:
    """Return length, share of words from the prompt, repetition, whether it ends like a sentence, and the words that occur."""
    said = _words(text)
    own, count = set(said), max(1, len(said))
    ends = float(text.rstrip().endswith((".", "!", "?", "。")))
    return [log1p(len(said)), len(own & asked) / count, len(own) / count, ends, *(float(word in own) for word in words)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _logistic(differences: Floats, ridge: float = 3.0, steps: int = 12) -> Floats:
    """Fit a logistic regression on differences by Newton's method; return weights under which the better response scores higher."""
    weights = np.zeros(differences.shape[1])
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(np.clip(differences @ weights, -30, 30)))
        curvature = differences.T @ (differences * (wrong * (1 - wrong))[:, None]) + ridge * np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, differences.T @ wrong - ridge * weights)
    return weights
