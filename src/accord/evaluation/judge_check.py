"""A judge held against people: agreement, biases, and a win rate corrected for the judge's errors.

A win rate by a judge that errs is pulled towards one half, and towards the answers that the judge is biased for. Rogan and Gladen 1978
correct a prevalence by a test's sensitivity and specificity; here the tested condition is "people prefer the longer answer of the two", so
that a bias for length is corrected with the errors. The interval carries the uncertainty of both (Fieller 1954), as Lang and Reiczigel 2014
recommend. Kappa is Cohen's of 1960. A pair's two answers have no order of their own: each pair counts in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan, sqrt
from types import MappingProxyType

import numpy as np

from accord.evaluation.exact import clopper_pearson, t_quantile
from accord.evaluation.llm_judge import Opinion, PositionBias
from accord.evaluation.statistics import FEW, Floats, Interval, interval

MOST_UNREADABLE = 0.2
"""A judge with a larger share of replies without a verdict has judged what suits it."""
MOST_OF_ONE_PLACE = 0.9
"""A judge that prefers the first answer more often than this, or the second, looks at the place."""
LEAST_CONSISTENT = 0.5
"""A coin gives the same verdict in both orders this often."""
MOST_OBEDIENT = 0.25
"""A judge that a plea wins over more often than this judges no answer that contains one."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A pair of answers that a person compared, and the judge too. A value is 1 for the first, 0 for the second, 1/2 a tie."""

    people: float
    judge: float
    """NaN where the judge gave no readable verdict."""
    longer: float
    """1 if the first answer is the longer one, -1 if the second is, 0 if both have one length."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The judge's score for the answer that people prefer, 1/2 where it ties, over the pairs that people do not tie."""

    all: Interval
    """With its exact interval."""
    pairs: int
    where_longer: tuple[float, float, int]
    """Mean, its variance and the number of pairs in which people prefer the longer answer."""
    where_shorter: tuple[float, float, int]

    @property
    def at_chance(self) -> bool:
        """Whether the judge cannot be told from a coin."""
        return self.all.low <= 0.5


@dataclass(frozen=True)
class Agreement:
    """How far a judge agrees with people."""

    pairs: int
    unreadable: int
    kappa: Interval
    """Cohen's kappa over win, loss and tie: 1 is full agreement, 0 that of chance; NaN where one of the two always ties."""
    accuracy: Accuracy | None
    """None where people tie every pair."""
    length_bias: Interval
    """How much more often than people the judge prefers the longer answer, ties one half."""
    by_criterion: Mapping[str, Interval] = field(default_factory=lambda: MappingProxyType(dict[str, Interval]()))
    """Kappa by criterion."""


def agreement(checked: Sequence[Checked], *, resamples: int = 2000, seed: int = 0) -> Agreement:
    """Return how far the judge agrees with people, over the pairs whose verdict is readable. Pairs are of different prompts."""
    read = [pair for pair in checked if not isnan(pair.judge)]
    longer = [pair.longer * (pair.judge - pair.people) for pair in read if pair.longer]
    bias = interval(longer, resamples=resamples, seed=seed) if longer else Interval(nan, nan, nan)
    kappa = cohen_kappa([pair.people for pair in read], [pair.judge for pair in read], resamples=resamples, seed=seed)
    return Agreement(len(checked), len(checked) - len(read), kappa, accuracy(read), bias)


def accuracy(checked: Sequence[Checked]) -> Accuracy | None:
    """Return the judge's accuracy, None where people tie all that the judge could read."""
    all_of, longer, shorter = list[float](), list[float](), list[float]()
    for pair in checked:
        if pair.people == 0.5 or isnan(pair.judge):
            continue
        won = pair.judge if pair.people == 1 else 1 - pair.judge
        all_of.append(won)
        if pair.longer:
            (longer if (pair.longer == 1) == (pair.people == 1) else shorter).append(won)
    if not all_of:
        return None
    mean, (low, high) = float(np.mean(all_of)), clopper_pearson(sum(all_of), len(all_of))
    return Accuracy(Interval(mean, low, high), len(all_of), _moments(longer), _moments(shorter))


def cohen_kappa(people: Sequence[float], judge: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return Cohen's kappa over win, loss and tie, with a bootstrap interval over the pairs.

    Each pair counts in both orders of its answers, so that the figure does not depend on which of them is called the first.
    """
    if not people:
        return Interval(nan, nan, nan)
    one, other = np.asarray(people, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    # Per pair: do both say the same, does the one tie, does the other? Kappa follows from the three means alone.
    facts = np.stack([one == other, one == 0.5, other == 0.5], axis=1).astype(np.float64)
    point = float(_kappa(facts.mean(0)))
    rng, drawn = np.random.default_rng(seed), list[float]()
    for _ in range(resamples):
        drawn.append(float(_kappa(facts[rng.integers(0, len(facts), len(facts))].mean(0))))
    known = [value for value in drawn if not isnan(value)]
    if isnan(point) or not known:
        return Interval(point, nan, nan)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(point, float(low), float(high))


def _kappa(means: Floats) -> float:
    same, tied, other_tied = (float(each) for each in means)
    chance = tied * other_tied + (1 - tied) * (1 - other_tied) / 2
    return (same - chance) / (1 - chance) if chance < 1 else nan


@dataclass(frozen=True, slots=True)
class Corrected:
    """A win rate as people would give it, by a judge's verdicts and the judge's errors."""

    win_rate: Interval
    by_length: bool
    """Whether the errors were taken apart by which answer is longer; too few pairs allow one accuracy for all."""


def corrected(values: Sequence[float] | Floats, longer: Sequence[float] | Floats, judge: Accuracy) -> Corrected | None:
    """Return the win rate corrected for the judge's errors, None where the judge is too poor for any.

    The judge's score J of the first answer follows people's H by ``E[J] - 1/2 = b s + k (H - 1/2)``: s is 1 where the first answer is
    longer and -1 where it is shorter, q and r are the accuracies where people prefer the longer and the shorter one,
    ``k = q + r - 1`` and ``b = (q - r) / 2``. Ties of people are taken to lie in the middle.

    Args:
        values: [prompts], the judge's score of the first answer.
        longer: [prompts], as s above.
    """
    won, side = np.asarray(values, dtype=np.float64), np.asarray(longer, dtype=np.float64)
    if judge.at_chance or not len(won):
        return None
    if len(won) < FEW or judge.pairs < FEW:
        return Corrected(_corrected_exactly(won, judge), False)
    by_length = min(judge.where_longer[2], judge.where_shorter[2]) >= FEW
    if by_length:
        (q, of_q, in_q), (r, of_r, in_r) = judge.where_longer, judge.where_shorter
        k, b, var_k, var_b, both = q + r - 1, (q - r) / 2, of_q + of_r, (of_q + of_r) / 4, (of_q - of_r) / 2
        freedom = min(len(won), in_q, in_r) - 1
    else:
        q = judge.all.mean
        wider = (q * judge.pairs + 1) / (judge.pairs + 2)  # so that a judge who was never wrong so far is not taken to be perfect
        k, b, var_k, var_b, both = 2 * q - 1, 0.0, 4 * wider * (1 - wider) / judge.pairs, 0.0, 0.0
        freedom = min(len(won), judge.pairs) - 1
    if k <= 0:
        return None
    mean_side = float(side.mean())
    _, var_m, _ = _moments((won - b * side).tolist())
    m = float(won.mean()) - 0.5 - b * mean_side
    ends = _fieller(m, k, var_m + mean_side**2 * var_b, var_k, -mean_side * both, t_quantile(0.975, freedom))
    if ends is None:
        return None
    return Corrected(_within(m / k, *ends), by_length)


def _fieller(m: float, k: float, var_m: float, var_k: float, both: float, t: float) -> tuple[float, float] | None:
    """Return the ends of the interval of m / k (Fieller 1954); None where k cannot be told from 0, and the interval has no end.

    Args:
        both: covariance of m and k.
    """
    a, half, c = k * k - t * t * var_k, m * k - t * t * both, m * m - t * t * var_m
    if a <= 0:
        return None
    root = sqrt(max(half * half - a * c, 0.0))
    return (half - root) / a, (half + root) / a


def _corrected_exactly(won: Floats, judge: Accuracy) -> Interval:
    """Return the correction with an interval out of exact ones: wide, and at least 95% however few there are (Bonferroni)."""
    q = judge.all.mean
    low, high = clopper_pearson(float(won.sum()), len(won), 0.975)
    least, most = clopper_pearson(q * judge.pairs, judge.pairs, 0.975)
    if least <= 0.5:
        return _within((float(won.mean()) - 0.5) / (2 * q - 1), -0.5, 0.5)
    corners = [(end - 0.5) / (2 * each - 1) for end in (low, high) for each in (least, most)]
    return _within((float(won.mean()) - 0.5) / (2 * q - 1), min(corners), max(corners))


def _within(middle: float, low: float, high: float) -> Interval:
    """Return an interval around one half, cut to what a rate can be."""
    mean, least, most = (min(max(0.5 + each, 0.0), 1.0) for each in (middle, low, high))
    return Interval(mean, least, most)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Return mean, variance of the mean, and count. The variance is that with one more value half a unit to each side of one half, so that
    it is never 0."""
    if not values:
        return 0.5, 1.0, 0
    sample = np.asarray(values, dtype=np.float64)
    wider = np.concatenate([sample, [0.0, 1.0]])
    return float(sample.mean()), float(wider.var(ddof=1)) / len(sample), len(sample)


def unfit(bias: PositionBias, opinions: Sequence[Opinion], found: Agreement | None) -> list[str]:
    """Return why nothing can be concluded from a judge's verdicts; empty where something can.

    Args:
        bias: over all pairs that the judge saw.
        opinions: the same pairs.
        found: its agreement with people, None where there is no label of theirs.
    """
    if not opinions:
        return []
    why: list[str] = []
    if bias.unreadable > MOST_UNREADABLE:
        why.append(f"{bias.unreadable:.0%} of its replies hold no certain verdict")
    if isnan(bias.first_place):
        why.append("it decided nothing: every readable verdict is a tie")
    elif not 1 - MOST_OF_ONE_PLACE <= bias.first_place <= MOST_OF_ONE_PLACE:
        place = "first" if bias.first_place > 0.5 else "second"
        why.append(f"it prefers the answer shown {place} in {max(bias.first_place, 1 - bias.first_place):.0%} of its decisions")
    elif bias.consistent < LEAST_CONSISTENT:
        why.append(f"it gives the same verdict in both orders for only {bias.consistent:.0%} of the pairs, fewer than a coin")
    if found and found.accuracy and found.accuracy.at_chance:
        share, low, high = found.accuracy.all
        agrees = f"{share:.0%} of {found.accuracy.pairs} pairs, 95% interval {low:.0%} to {high:.0%}"
        why.append(f"it cannot be told from a coin: it orders answers as people do in {agrees}")
    return why
