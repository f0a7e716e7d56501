"""Ensembles, limits, similarity to people's own words, their ratings: by hand, and a limit that a policy comes to meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_run import Doomed, Killed
from groups import improve
from hypothesis import given
from hypothesis import strategies as st
from tiny import END, ByFunction, learn, same, weights

from accord.algorithms.reward_parts import Ensemble, HumanRatings, Pooling, Similarity, overlap, parse_pooling
from accord.algorithms.rewards import Length, Mixture, Term, mixture_of, parse_rewards
from accord.errors import UsageError
from accord.feedback.criteria import by_criterion
from accord.feedback.returns import by_rank, by_rating
from accord.records import Guideline, Ranking, Rating
from accord.runtime.runs import Run
from accord.settings import PpoConfig


def test_ensembles_are_read() -> None:
    assert parse_pooling("min(a+b)") == Pooling("min", ("a", "b"))
    assert parse_pooling("mean( a + b +c)") == Pooling("mean", ("a", "b", "c"))
    assert parse_pooling("mean-1.5std(a+b)") == Pooling("mean", ("a", "b"), 1.5)
    assert parse_pooling("model") is None
    assert parse_rewards("mean-1.5std(a+b)=2, length=-0.1")[0] == Term("mean-1.5std(a+b)", 2, 2)


@pytest.mark.parametrize("text", ["min(a)", "mean()", "min(a+a)", "min-1std(a+b)"])
def test_ensembles_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no ensemble"):
        parse_pooling(text)


def constant(*values: float) -> Any:
    """A scorer that gives these, whatever it sees."""
    rows = iter([torch.tensor(values)] * 9)

    class Constant:
        def score(self, prompts: Any, responses: Any) -> torch.Tensor:
            return next(rows)

    return Constant()


@pytest.mark.parametrize(
    ("how", "spread", "expected"), [("mean", 0.0, [2.0, 2.0]), ("min", 0.0, [1.0, 2.0]), ("mean", 2.0, [2 - 2 * (2 / 3) ** 0.5, 2.0])]
)
def test_an_ensemble_pools_its_members(how: Any, spread: float, expected: list[float]) -> None:
    members = [constant(1, 2), constant(2, 2), constant(3, 2)]
    assert Ensemble(members, how, spread).score([[0]] * 2, [[1]] * 2).tolist() == pytest.approx(expected)


tokens = st.lists(st.integers(0, 4), min_size=1, max_size=8)


@given(tokens, tokens)
def test_overlap_is_symmetric_whole_for_equals_and_nothing_for_strangers(one: list[int], other: list[int]) -> None:
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one) == 1
    assert overlap(one, [token + 10 for token in other]) == 0
    assert 0 <= overlap(one, other) <= 1


def test_overlap_by_hand() -> None:
    """Two of three and four tokens shared, and the pair (1, 2) of two and three: (4/7 + 2/5) / 2."""
    assert overlap([1, 2, 3], [1, 2, 9, 9]) == pytest.approx((4 / 7 + 2 / 5) / 2)


def test_similarity_takes_the_nearest_of_what_people_wrote() -> None:
    scorer = Similarity({(7,): [[1, 2, 3], [4, 5]]})
    assert scorer.score([[7], [7], [8]], [[4, 5], [1, 2, 3, 3], [4, 5]]).tolist() == pytest.approx([1, overlap([1, 2, 3, 3], [1, 2, 3]), 0])


def test_a_rating_is_the_responses_own_or_its_neighbours() -> None:
    scorer = HumanRatings({(7,): {(1, 2, 3, 4): 1.0, (5, 6): -1.0}})
    found = scorer.score([[7]] * 4 + [[9]], [[5, 6], [1, 2, 3, 4], [1, 2, 3, 9], [8], [5, 6]]).tolist()
    near = overlap([1, 2, 3, 9], [1, 2, 3, 4]) ** 8
    assert found == pytest.approx([-1, 1, near, 0, 0], abs=1e-6)


def test_limits_are_read_and_one_alone_rewards_nothing() -> None:
    assert parse_rewards("model=1, harmless >= 0.5")[1] == Term("harmless", limit=0.5)
    for text in ("harmless>=0.5", "model, harmless>=much"):
        with pytest.raises(UsageError, match="rewards"):
            parse_rewards(text)


def test_a_limited_part_counts_from_its_limit_and_its_multiplier_follows_what_is_missing() -> None:
    """(r + lambda (c - d)) / (1 + lambda), and lambda + rate (d - mean c), never below 0."""
    parts = {"long": Length(), "first": ByFunction(lambda row: float(row[0]))}
    mixture = Mixture([Term("long"), Term("first", limit=3.0)], parts)
    scored = mixture.at(1, 2)
    assert scored.score([[1], [1]], [[7, 8], [1]]).tolist() == [(2 + 4) / 2, (1 - 2) / 2]
    mixture.adapt(scored, 0.5)
    assert mixture.multipliers == {"first": 1 + 0.5 * (3 - 4)}
    assert mixture.at(2, 2).metrics() == {"weight.long": 1.0, "weight.first": 0.5}
    mixture.adapt(scored, 100.0)
    assert mixture.multipliers == {"first": 0.0}


def test_a_scorer_alone_is_the_part_model_at_weight_1() -> None:
    scored = mixture_of(Length()).at(1, 5)
    assert scored.score([[1]], [[2, 3]]).tolist() == [2]
    assert scored.metrics() == {"reward.model": 2.0, "weight.model": 1.0}


def limited() -> Mixture:
    return Mixture(
        [Term("upper"), Term("even", limit=0.8)],
        {
            "upper": ByFunction(lambda row: sum(token >= 30 for token in row) / len(row)),
            "even": ByFunction(lambda row: sum(token % 2 == 0 for token in row) / len(row)),
        },
    )


def test_t40_multipliers_go_along_in_the_checkpoint(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"steps": 20, "save_every": 10, "lr": 1e-2, "epochs": 1, "limit_rate": 0.5}
    config = PpoConfig(**{"batch_size": 6, "minibatch_size": 3, "max_tokens": 6, "warmup_steps": 1, "ptx_coef": 0.0, **asked})
    start: dict[str, Any] = {"stage": "ppo", "config": config, "inputs": {}}
    whole = Run.start(tmp_path / "whole", **start, resume=False)
    expected = learn(tmp_path, run=whole, scorer=limited(), **asked)
    with pytest.raises(Killed):
        learn(tmp_path, run=Doomed.start(tmp_path / "cut", **start, resume=False), scorer=limited(), **asked)
    resumed = learn(tmp_path, run=Run.start(tmp_path / "cut", **start, resume=True), scorer=limited(), **asked)
    assert same(weights(resumed.policy), weights(expected.policy))
    assert same(resumed.state, expected.state)
    assert resumed.metrics == expected.metrics
    assert {row["weight.even"] for row in expected.metrics[10:]} != {1.0}


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_limited_run_meets_its_limit_and_still_gains(seed: int, tmp_path: Path) -> None:
    """Half of all tokens are even by chance; they are to be 65%, while tokens of the upper half are what is wanted."""
    mixture = limited()
    asked: dict[str, Any] = {
        "steps": 50,
        "batch_size": 32,
        "minibatch_size": 16,
        "lr": 3e-3,
        "max_tokens": 8,
        "kl_coef": 0.01,
        "group_size": 8,
    }
    learned = improve(
        tmp_path, "grpo", rewards=Mixture([Term("upper"), Term("even", limit=0.65)], mixture.parts), stop=(END,), seed=seed,
        truncation="terminate", limit_rate=2.0, save_every=100, **asked,
    )  # fmt: skip
    rows = learned.metrics
    assert sum(row["reward.even"] for row in rows[-10:]) / 10 > 0.62
    assert sum(row["reward.upper"] for row in rows[-10:]) / 10 > rows[0]["reward.upper"] + 0.05


def ranking(*flags: tuple[str, ...]) -> Ranking:
    ids = tuple(f"r{i}" for i in range(len(flags)))
    ratings = tuple(Rating(id, 7 - 3 * i, flag) for i, (id, flag) in enumerate(zip(ids, flags, strict=True)))
    return Ranking("k", "p", "ann", ids, tuple(range(1, len(flags) + 1)), Guideline("training", "1"), "2026-01-01T00:00:00Z", ratings)


def test_flags_rank_by_harm_and_free_the_rest_to_be_ranked_by_help() -> None:
    given_ = ranking(("violent_content", "gives_harmful_advice"), (), ("hallucination",))
    assert by_criterion(given_, "harmless") == {"r0": 3, "r1": 1, "r2": 1}
    assert by_criterion(given_, "helpful") == {"r1": 2, "r2": 3}


def test_ratings_and_ranks_become_returns_from_minus_1_to_1() -> None:
    assert by_rating(ranking((), (), ())) == {"r0": 1.0, "r1": 0.0, "r2": -1.0}
    assert by_rank(ranking((), (), ())) == {"r0": 1.0, "r1": 0.0, "r2": -1.0}
