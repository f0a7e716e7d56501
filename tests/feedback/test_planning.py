"""The planner's predictions against what then happens, with labelers whose truth is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.feedback.agreement import agreement_rows, pairwise_agreement
from accord.feedback.label_budget import Curve, Pilot, Point, Scatter, anchored, by_redundancy, fit_curve, labels_for, pilot, plan, scatter
from accord.records import Guideline, Message, Prompt, RankedPrompt, Ranking, Response

GOOD, BAD = ("kind", "clear", "warm", "apt"), ("rude", "vague", "cold", "odd")
NEUTRAL = ("the", "a", "town", "river", "of", "and", "old", "mill")


def crowd(prompts: int, *, seed: int = 0, noise: float = 1.0, overlap: float = 0.5) -> tuple[list[RankedPrompt], list[Ranking]]:
    """Four responses a prompt, their worth in their words; labelers see it with noise."""
    rng, ranked, rankings = random.Random(seed), list[RankedPrompt](), list[Ranking]()
    for number in range(prompts):
        prompt = Prompt(f"p{number:05d}", (Message("user", "Say something."),))
        texts = [[rng.choice(rng.choice((GOOD, BAD, NEUTRAL))) for _ in range(6)] for _ in range(4)]
        responses = tuple(Response(f"{prompt.id}/{i}", prompt.id, " ".join(words), "m") for i, words in enumerate(texts))
        worth = [sum((w in GOOD) - (w in BAD) for w in words) / 2 for words in texts]
        for person in rng.sample(("ann", "bob", "eve"), 2 if rng.random() < overlap else 1):
            seen = [value + rng.gauss(0, noise) for value in worth]
            ranks = tuple(1 + sum(other > mine for other in seen) for mine in seen)
            ids = tuple(response.id for response in responses)
            rankings.append(Ranking(f"{prompt.id}-{person}", prompt.id, person, ids, ranks, Guideline("training", "v"), ""))
            ranked.append(RankedPrompt(prompt, responses, ranks, person))
    return ranked, rankings


@pytest.fixture(scope="module")
def small() -> Pilot:
    return pilot(*crowd(150))


def test_predicted_widths_are_those_of_later_crowds(small: Pilot) -> None:
    """A plan made from 150 prompts, for 900 rankings: agreement, and how wide its interval will be."""
    found = plan(small, 900, overlap=0.5, held_out=0.1)
    later = pairwise_agreement(crowd(600, seed=1)[1], resamples=500).dropped
    assert found.prompts == 600
    assert found.agreement_width == pytest.approx(later.high - later.low, rel=0.25)
    assert found.agreement == pytest.approx(later.mean, abs=0.04)


def test_predicted_width_is_the_scatter_of_repeated_studies() -> None:
    """The standard deviation of the agreement over 80 studies of 60 prompts each, from one larger pilot."""
    known = scatter(agreement_rows(crowd(1000, seed=5)[1]))
    studies = [scatter(agreement_rows(crowd(60, seed=seed, overlap=1.0)[1])).mean for seed in range(80)]
    assert known.width(60) == pytest.approx(2 * 1.96 * float(np.std(studies)), rel=0.25)


def test_predicted_accuracy_is_what_more_labels_reach(small: Pilot) -> None:
    ranked, rankings = crowd(900, seed=2)
    reached = pilot(ranked, rankings).points[-1]
    assert small.points[-1].comparisons < reached.comparisons / 4
    assert small.curve.at(reached.comparisons) == pytest.approx(reached.accuracy, abs=0.03)
    assert small.points[0].accuracy < small.points[-1].accuracy <= small.ceiling + 0.02


def test_noisier_labelers_lower_agreement_ceiling_and_accuracy(small: Pilot) -> None:
    noisy = pilot(*crowd(150, noise=3.0))
    assert noisy.agreement.mean < small.agreement.mean - 0.05
    assert noisy.ceiling < small.ceiling
    assert noisy.accuracy.mean < small.accuracy.mean


def test_a_width_asked_for_is_reached_by_the_labels_named(small: Pilot) -> None:
    needed = labels_for(small, 0.04, overlap=0.2, held_out=0.1)
    assert needed["prompts_for_win_rate"] == 2401
    assert plan(small, needed["labels_for_agreement"], overlap=0.2, held_out=0.1).agreement_width == pytest.approx(0.04, rel=0.01)
    assert plan(small, needed["labels_for_reward_accuracy"], overlap=0.2, held_out=0.1).reward_width == pytest.approx(0.04, rel=0.01)


@given(st.floats(0.01, 0.5), st.floats(0.005, 0.5))
def test_prompts_for_a_width_give_it_and_one_less_does_not(deviation: float, width: float) -> None:
    found = Scatter(0.7, deviation)
    prompts = found.prompts(width)
    assert found.width(prompts) <= width * (1 + 1e-9)
    assert prompts == 1 or found.width(prompts - 1) > width * (1 - 1e-9)


@given(st.floats(0.55, 0.9), st.floats(100, 3000), st.sampled_from([0.5, 1.0]))
def test_a_curve_is_found_again(level: float, scale: float, power: float) -> None:
    truth = Curve(level, scale, power)
    found = fit_curve([Point(n, truth.at(n)) for n in (100, 200, 400, 800, 1600, 3200, 6400)], ceiling=0.95)
    for n in (300, 5000, 20000):
        assert found.at(n) == pytest.approx(truth.at(n), abs=0.015)
    assert truth.at(0) == 0.5
    assert truth.at(truth.comparisons((level + 0.5) / 2)) == pytest.approx((level + 0.5) / 2)
    assert truth.comparisons(level + 0.01) == math.inf


def test_a_real_reward_model_gives_the_curve_its_height(small: Pilot) -> None:
    raised = anchored(small, Point(3000, 0.7))
    assert raised.curve.at(3000) == pytest.approx(0.7)
    assert 0.5 < raised.curve.at(300) < 0.7 < raised.curve.at(30000) <= small.ceiling
    assert anchored(small, Point(3000, 0.99)).curve.at(1e9) <= small.ceiling


def test_no_curve_passes_the_ceiling() -> None:
    assert fit_curve([Point(100, 0.9), Point(1000, 0.95)], ceiling=0.8).at(1e9) <= 0.8


def test_redundancy_trades_prompts_for_right_labels(small: Pilot) -> None:
    rows = by_redundancy(small, 300)
    assert [(each, prompts) for each, prompts, _ in rows] == [(1, 300), (3, 100), (5, 60), (7, 42)]
    right = [share for _, _, share in rows]
    assert right[0] == pytest.approx(small.ceiling)
    assert right == sorted(right)


def test_too_little_to_plan_from() -> None:
    with pytest.raises(InputError, match="two labelers"):
        pilot(*crowd(40, overlap=0.0))
    with pytest.raises(InputError, match="too few"):
        pilot(*crowd(8, overlap=1.0))
    with pytest.raises(InputError, match="two prompts"):
        scatter(np.ones((1, 2)))
    with pytest.raises(InputError, match="points"):
        fit_curve([], 0.8)
