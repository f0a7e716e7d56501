"""Basis rewards: planted tastes are found, people who do not differ get none, and the shared score stays what it was."""

from __future__ import annotations

import numpy as np
import pytest

from accord.algorithms.tastes import Learned, Said, learn, main_directions
from accord.models.tastes import Floats, Tastes, fit

WIDTH, PEOPLE, PROMPTS, RESPONSES = 8, 10, 50, 4


def planted(strength: float, seed: int = 0) -> tuple[Learned, Floats, Floats, Floats]:
    """Learn from people whose taste is one direction, which each likes or dislikes by so much; Gumbel noise is Bradley-Terry's."""
    rng = np.random.default_rng(seed)
    states, shared_by, liked_by = rng.normal(size=(PROMPTS * RESPONSES, WIDTH)), rng.normal(size=WIDTH) * 0.4, rng.normal(size=WIDTH)
    liked_by /= np.linalg.norm(liked_by)
    weights = np.linspace(-1, 1, PEOPLE) * strength
    said: list[Said] = []
    for prompt in range(PROMPTS):
        rows = list(range(prompt * RESPONSES, (prompt + 1) * RESPONSES))
        for person in rng.choice(PEOPLE, 4, replace=False):
            felt = states[rows] @ (shared_by + weights[person] * liked_by) + rng.gumbel(size=RESPONSES)
            ranks = np.argsort(np.argsort(-felt)) + 1
            said.append(Said(int(person), f"p{prompt}", rows, ranks.tolist()))
    return learn(states, states @ shared_by, said, people=PEOPLE, dims=3, seed=seed), liked_by, shared_by, weights


def test_it_finds_a_planted_direction_and_each_persons_side_of_it() -> None:
    found, liked_by, shared_by, weights = planted(3.0)
    assert found.loss_personal < found.loss_shared - 0.05
    fresh = np.random.default_rng(9).normal(size=(400, WIDTH))
    made = Tastes(found.basis, found.centre, found.covariance)
    readings = made.readings(fresh, fresh @ shared_by)
    offsets = [readings @ each.mean for each in found.people]
    for person in (0, 1, -2, -1):
        truth = fresh @ liked_by * weights[person]
        assert np.corrcoef(offsets[person], truth)[0, 1] > 0.8
    assert np.abs(offsets[0]).mean() > 2 * np.abs(offsets[PEOPLE // 2]).mean(), "who is in the middle stays near the shared score"

    rng = np.random.default_rng(4)  # somebody new, after ten choices
    first, second = rng.choice(400, 10), rng.choice(400, 10)
    differences = readings[first] - readings[second]
    felt = differences[:, 0] + (fresh[first] - fresh[second]) @ liked_by * 3
    taste = fit(np.where(felt[:, None] > 0, differences, -differences), found.covariance)
    wanted = fresh @ (shared_by + 3 * liked_by)
    by_own, by_shared = (np.corrcoef(wanted, scores)[0, 1] for scores in (taste.scores(readings), readings[:, 0]))
    assert by_own > by_shared + 0.1


def test_where_people_do_not_differ_no_person_is_far_from_the_shared_score() -> None:
    found, *_ = planted(0.0)
    assert found.loss_shared - found.loss_personal < 0.03
    spread = [float(np.abs(each.mean[0])) for each in found.people]
    assert max(spread) < 0.7
    if found.penalty == float("inf"):
        assert found.basis.shape == (0, WIDTH)


def test_main_directions_have_variance_one_within_prompts() -> None:
    states = np.random.default_rng(0).normal(size=(200, 6)) * np.array([5.0, 1, 1, 1, 0.1, 0])
    groups = [range(i, i + 4) for i in range(0, 200, 4)]
    directions = main_directions(states, groups)
    assert directions.shape == (6, 5), "a direction in which nothing differs is none"
    centred = np.concatenate([states[list(rows)] - states[list(rows)].mean(0) for rows in groups]) @ directions
    assert centred.T @ centred / len(centred) == pytest.approx(np.eye(5), abs=1e-6)
