"""Taste against noise: people of one mind disagree by noise alone, firm people of two minds by taste alone."""

from __future__ import annotations

import random

import pytest

from accord.feedback.disagreement import disagreement
from accord.records import Message, Prompt, RankedPrompt, Response


def ranked(noise: float, minds: int, *, twice: bool = True, seed: int = 0) -> list[RankedPrompt]:
    """Six people judge 150 pairs, some twice; each turns their own order round with probability ``noise``."""
    rng, rows = random.Random(seed), list[RankedPrompt]()
    for number in range(150):
        prompt = Prompt(f"p{number}", (Message("user", "?"),))
        pair = tuple(Response(f"p{number}-{i}", prompt.id, "ab"[i], "m") for i in range(2))
        for person in rng.sample(range(6), 3):
            for _ in range(2 if twice else 1):
                first = (person % minds == 0) != (rng.random() < noise)
                rows.append(RankedPrompt(prompt, pair, (1, 2) if first else (2, 1), f"a{person}"))
    return rows


def test_noise_alone_is_no_taste() -> None:
    found = disagreement(ranked(0.25, 1))
    assert found.taste.low < 0 < found.taste.high + 0.05
    assert found.between.mean == pytest.approx(2 * 0.25 * 0.75, abs=0.06)
    assert found.within.mean == pytest.approx(found.between.mean, abs=0.08)
    assert not found.by_model


def test_people_of_two_minds_disagree_by_taste() -> None:
    assert disagreement(ranked(0.0, 2)).taste.mean == pytest.approx(1)
    mixed = disagreement(ranked(0.15, 2))
    noise, between = 2 * 0.15 * 0.85, mixed.between.mean
    assert mixed.taste.mean == pytest.approx(1 - noise / between, abs=0.12)
    assert mixed.taste.low < mixed.taste.mean < mixed.taste.high


def test_without_repeated_pairs_the_noise_is_the_models_estimate_and_said_to_be() -> None:
    rows = ranked(0.15, 2, twice=False)
    found = disagreement(rows, lambda person, first, second: 0.85 if int(person[1:]) % 2 == 0 else 0.15)
    assert found.by_model
    assert found.repeated == 0
    assert found.taste.mean == pytest.approx(1 - 2 * 0.15 * 0.85 / found.between.mean, abs=0.02)
