"""A person's weights: the regression, what a pair tells, words as observations, and the lines that no weights cross."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from accord.errors import ModelError
from accord.models.tastes import LIMIT, Taste, Tastes, fit, information, margins, within_lines

PRIOR = np.array([[0.3, 0.1], [0.1, 1.5]])


def chance(differences: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-(differences[:, 0] + differences @ w)))


def entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def test_whoever_has_said_nothing_has_the_shared_reward_and_the_peoples_spread() -> None:
    taste = fit(np.zeros((0, 2)), PRIOR)
    readings = np.array([[0.4, 2.0], [-1.0, 0.3]])
    assert taste.scores(readings).tolist() == readings[:, 0].tolist()
    assert taste.covariance == pytest.approx(PRIOR, abs=1e-4)


def test_the_posterior_is_that_of_a_grid_over_all_weights() -> None:
    """Against brute force: the density on a grid, without Newton or Laplace."""
    rng = np.random.default_rng(1)
    differences, weights = rng.normal(size=(10, 2)), rng.uniform(0.5, 1.0, 10)
    taste = fit(differences, PRIOR, weights, coin=0.0)
    axis = np.linspace(-5, 5, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    logits = differences[:, 0] + grid @ differences.T
    log = -np.logaddexp(0, -logits) @ weights - np.einsum("ij,jk,ik->i", grid, np.linalg.inv(PRIOR), grid) / 2
    assert taste.mean == pytest.approx(grid[int(log.argmax())], abs=0.03)
    density = np.exp(log - log.max())
    mean = density @ grid / density.sum()
    assert taste.mean == pytest.approx(mean, abs=0.2), "Laplace's Gaussian is near the whole density"
    spread = np.sqrt(density @ (grid - mean) ** 2 / density.sum())
    assert np.sqrt(np.diag(taste.covariance)) == pytest.approx(spread, rel=0.25)


def test_choices_of_a_coin_count_for_little_and_consistent_ones_in_full() -> None:
    """The mixture's moments against draws from both of its parts, weighed by how well each explains the choices."""
    rng = np.random.default_rng(3)
    differences = rng.normal(size=(14, 2)) * 2
    steady = differences * np.sign(differences @ np.array([1.0, 1.5]))[:, None]
    kept, coin = fit(steady, PRIOR), fit(np.concatenate([differences[:7], -differences[:7]]), PRIOR)
    assert kept.consistent > 0.9 > 0.6 > coin.consistent
    draws = rng.multivariate_normal([0, 0], PRIOR, 200_000)
    likely = np.exp(-np.logaddexp(0, -(steady[:4, 0] + draws @ steady[:4].T)).sum(1))
    consistent = 0.9 * likely.mean() / (0.9 * likely.mean() + 0.1 * 0.5**4)
    found = fit(steady[:4], PRIOR)
    assert found.consistent == pytest.approx(consistent, abs=0.05)
    mean = consistent * (likely @ draws) / likely.sum()
    assert found.mean == pytest.approx(mean, abs=0.5), "Laplace takes the mode for the mean"


def test_the_same_pair_chosen_both_ways_says_nothing_of_direction() -> None:
    pair = np.array([[0.0, 1.2]])
    taste = fit(np.concatenate([pair, -pair, pair, -pair]), PRIOR)
    assert taste.mean == pytest.approx([0, 0], abs=1e-9)
    assert taste.covariance[1, 1] < PRIOR[1, 1], "but that this person does not care"


def test_what_a_pair_tells_is_the_mutual_information_of_a_simulation() -> None:
    rng = np.random.default_rng(2)
    taste = Taste(np.array([0.2, -0.5]), PRIOR)
    differences = np.array([[0.0, 1.0], [2.0, 0.0], [0.1, 0.05], [-1.0, 2.0]])
    p = np.array([chance(differences, w) for w in rng.multivariate_normal(taste.mean, PRIOR, 100_000)])
    assert information(differences, taste) == pytest.approx(entropy(p.mean(0)) - entropy(p).mean(0), abs=3e-3)
    assert information(np.array([[1.0, 0.0]]), Taste(taste.mean, np.zeros((2, 2))))[0] == pytest.approx(0, abs=1e-9)


def test_a_ranking_counts_as_one_comparison_fewer_than_it_has_responses() -> None:
    readings = np.array([[1.0, 0.0], [2.0, 1.0], [4.0, 5.0]])
    differences, weights = margins(readings, (2, 1, 3))
    assert sorted(differences.tolist()) == [[-3.0, -5.0], [-2.0, -4.0], [1.0, 1.0]]
    assert weights.sum() == pytest.approx(2)
    assert len(margins(readings[:2], (1, 1))[0]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_weights_choose_an_answer_that_is_over_a_line(seed: int) -> None:
    """Whatever the weights: within 5%, or no riskier on any line than what the shared score would have chosen."""
    rng = np.random.default_rng(seed)
    for _ in range(300):
        readings = rng.normal(size=(8, 4)) * 3
        risks = rng.beta(0.3, 0.8, (8, 2))
        personal = Taste(rng.normal(size=4) * 10, np.eye(4)).scores(readings)
        chosen, shared = int(np.argmax(within_lines(readings[:, 0], personal, risks))), int(np.argmax(readings[:, 0]))
        assert (risks[chosen] <= np.maximum(risks[shared], LIMIT)).all()


def test_without_lines_nothing_is_held_back() -> None:
    personal = np.array([0.3, 2.0, -1.0])
    assert within_lines(np.array([1.0, 0.0, 0.0]), personal, np.zeros((3, 0))).tolist() == personal.tolist()


def tastes() -> Tastes:
    return Tastes(
        basis=np.array([[1.0, 0.0, 2.0]]),
        centre=np.array([0.5]),
        covariance=PRIOR,
        traits=("length", "courtesy"),
        slopes=np.array([[0.1, 0.9], [0.0, 0.0]]),
        lines=("harmless",),
        risk=np.array([[0.0, 1.0, 0.0, -2.0]]),
        groups={"far": Taste(np.array([0.1, 0.2]), PRIOR, 3)},
        people={"ann": Taste(np.array([0.3, -1.0]), PRIOR, 7)},
    )


def test_it_opens_as_it_was_saved(tmp_path: Path) -> None:
    made = tastes()
    made.save(tmp_path)
    opened = Tastes.load(tmp_path)
    assert opened.people["ann"].mean.tolist() == [0.3, -1.0]
    assert opened.groups["far"].choices == 3
    states = np.array([[1.0, 2.0, 3.0]])
    assert opened.readings(states, np.array([4.0])).tolist() == [[4.0, 6.5]]
    assert opened.risks(states)[0, 0] == pytest.approx(0.5)
    assert opened.leans(opened.people["ann"]) == made.leans(made.people["ann"])


@pytest.mark.parametrize("damage", ["tastes.json", "basis.safetensors", "people.jsonl", "nothing"])
def test_damaged_or_missing_tastes_are_named(damage: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="knows no tastes"):
        Tastes.load(tmp_path)
    tastes().save(tmp_path)
    if damage != "nothing":
        (tmp_path / "tastes" / damage).write_text('{"labeler": "ann", "weights": [1], "covariance": [[1]], "choices": 1}\n')
        with pytest.raises(ModelError, match="damaged"):
            Tastes.load(tmp_path)


def test_what_a_person_says_of_their_taste_moves_it_there_and_leaves_the_rest() -> None:
    made = tastes()
    unit = float(np.sqrt(made.slopes[0] @ PRIOR @ made.slopes[0]))
    for towards in (1, -1, 0):
        mean, spread = made.leans(made.told(made.people["ann"], {"length": towards, "courtesy": 1, "unknown": 1}))["length"]
        assert mean == pytest.approx(towards * 1.5 * unit, abs=0.1)
        assert spread < 0.25 * unit
    assert made.told(made.nobody, {}) is not None
