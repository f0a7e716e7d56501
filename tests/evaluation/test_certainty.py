"""AUROC, calibration and the coverage-accuracy curve, held against enumeration."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from accord.evaluation.certainty import Point, auroc, coverage_curve, ece, resampled, threshold_for


def pairs_in_order(scores: list[float], right: list[bool]) -> float:
    """Every pair of a right and a wrong answer, one by one."""
    good = [score for score, holds in zip(scores, right, strict=True) if holds]
    bad = [score for score, holds in zip(scores, right, strict=True) if not holds]
    each = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in itertools.product(good, bad)]
    return sum(each) / len(each)


def test_auroc_counts_every_pair() -> None:
    rng = random.Random(0)
    for _ in range(50):
        scores = [rng.randrange(6) / 5 for _ in range(12)]
        right = [rng.random() < 0.5 for _ in range(12)]
        if len(set(right)) == 2:
            assert auroc(scores, right) == pytest.approx(pairs_in_order(scores, right))
    assert math.isnan(auroc([0.1, 0.2], [True, True]))


def test_ece_is_the_mean_distance_of_the_bins() -> None:
    # Bin 0.2 to 0.3: two answers, said 0.25, one right. Bin 0.9 to 1: two answers, said 0.95 and 1, both right.
    assert ece([0.25, 0.25, 0.95, 1.0], [True, False, True, True]) == pytest.approx((2 * 0.25 + 2 * 0.025) / 4)


def test_an_interval_holds_its_mean_and_narrows_with_more_questions() -> None:
    rng = random.Random(1)

    def asked(n: int) -> tuple[list[float], list[bool]]:
        scores = [rng.random() for _ in range(n)]
        return scores, [rng.random() < score for score in scores]

    few, many = (resampled(auroc, *asked(n), resamples=200, seed=0) for n in (40, 2000))
    assert few is not None
    assert many is not None
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < (few.high - few.low) / 2
    # Scores that are the probabilities themselves: the area is 5/6 (two uniform scores, drawn right and wrong by them).
    assert many.low - 0.02 <= 5 / 6 <= many.high + 0.02
    assert resampled(auroc, [0.5, 0.6], [True, True], resamples=10, seed=0) is None
    assert resampled(ece, [], [], resamples=10, seed=0) is None


def test_the_curve_answers_more_and_more() -> None:
    curve = coverage_curve([0.9, 0.9, 0.5, 0.2], [True, True, False, True], questions=5)
    assert [(point.threshold, point.coverage) for point in curve] == [(0.9, 0.4), (0.5, pytest.approx(0.6)), (0.2, 0.8)]
    assert [point.accuracy for point in curve] == pytest.approx([1.0, 2 / 3, 3 / 4])
    assert threshold_for(curve, 0.7) == Point(0.2, 0.8, 0.75)
    assert threshold_for(curve, 0.9) == Point(0.9, 0.4, 1.0)
    assert threshold_for(curve[1:], 0.9) is None
