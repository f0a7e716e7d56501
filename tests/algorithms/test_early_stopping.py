"""Evaluation on held-out prompts while a policy learns: its metrics, the policy that is saved, where training ends, and resuming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import STOPS, by_default, improve, settings
from tiny import FP32, SMALL, ByFunction, learn, llama, same, sequences, weights
from torch import Tensor

from accord.algorithms.early_stopping import HeldOut, held_out_metrics
from accord.algorithms.rewards import Mixture, Term, parse_rewards
from accord.algorithms.rollouts import Drawn
from accord.engine.local import LocalSampler
from accord.errors import UsageError
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GrpoConfig, PpoConfig

HELD_OUT = sequences([4, 3, 6, 5], seed=900)
METRICS = ("held_out_reward", "held_out_win_rate", "held_out_length", "held_out_finished", "held_out_distinct_2", "held_out_self_bleu")
KINDS = ("grpo", "raft", "ppo")


def trained(folder: Path, kind: str, **asked: Any) -> Any:
    count = {"raft": "rounds"}.get(kind, "steps")
    if "last" in asked:
        asked[count] = asked.pop("last")
    return learn(folder, lr=3e-4, **asked) if kind == "ppo" else improve(folder, kind, **asked)


def watched(scorer: Any = None) -> HeldOut:
    return HeldOut(HELD_OUT, Mixture((Term("model"),), {"model": scorer or ByFunction(by_default)}))


class Scripted:
    """A reward that falls or rises from one scoring to the next, whatever was said."""

    def __init__(self, rewards: Sequence[float]) -> None:
        self.left = list(rewards)

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        return torch.full((len(responses),), self.left.pop(0))


def test_metrics_of_an_evaluation_by_hand() -> None:
    """Two prompts: the first wins against its start, the second is as good as it; one of the four responses was cut."""
    keep = torch.arange(3) < torch.tensor([3, 2, 2, 1])[:, None]
    zeros = torch.zeros(4, 3)
    finished, scores = torch.tensor([True, True, True, False]), torch.tensor([2.0, 1.0, 4.0, 0.0])
    drawn = Drawn([[2], [2], [3], [3]], [[5, 6, 7], [5, 6], [8, 9], [8]], finished, scores, keep, zeros, {})
    found = held_out_metrics(drawn, [1.0, 1.0, 1.0, 3.0])
    assert found["held_out_reward"] == pytest.approx(7 / 4)
    assert found["held_out_win_rate"] == pytest.approx((1 + 0.5) / 2)
    assert found["held_out_length"] == pytest.approx(8 / 4)
    assert found["held_out_finished"] == pytest.approx(3 / 4)
    assert found["held_out_distinct_2"] == pytest.approx((2 / 3 + 1) / 2)
    assert set(found) == set(METRICS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_evaluation_is_that_of_the_saved_policy(kind: str, tmp_path: Path) -> None:
    """The same prompts asked with the same random numbers by another engine object, and scored by hand, give the logged reward."""
    left = trained(tmp_path / "run", kind, held_out=watched(), evaluate_every=2, last=3)
    evaluated = {row["step"]: row for row in left.metrics if "held_out_reward" in row}
    assert sorted(evaluated) == [2, 3]
    again = LocalSampler(left.policy, stop=STOPS, dtype=FP32).sample(
        HELD_OUT, n=2, sampling=Sampling(temperature=1.0, max_tokens=6), generator=generator(0, kind, "held out")
    )
    by_hand = [by_default(row) for row in again.rows()]
    assert evaluated[3]["held_out_reward"] == pytest.approx(sum(by_hand) / len(by_hand))
    assert evaluated[3]["held_out_length"] == pytest.approx(sum(map(len, again.rows())) / len(by_hand))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_learned_depends_on_evaluations(kind: str, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", kind, last=2)
    seen = trained(tmp_path / "seen", kind, held_out=watched(), evaluate_every=1, last=2)
    assert same(weights(plain.policy), weights(seen.policy))


@pytest.mark.parametrize("kind", KINDS)
def test_training_ends_without_progress_and_the_best_policy_is_saved(kind: str, tmp_path: Path) -> None:
    """The reward is 1 before training, 3 after step 1, and then lower: with patience 2 the run ends after step 3."""
    scripted = watched(Scripted([1.0, 3.0, 2.0, 2.5, 9.0]))
    left = trained(tmp_path / "run", kind, held_out=scripted, evaluate_every=1, patience=2, last=5)
    assert [row["step"] for row in left.metrics] == [1, 2, 3]
    assert left.state["evaluations"]["best_step"] == 1
    one = trained(tmp_path / "one", kind, last=1)
    assert not same(weights(one.policy), weights(llama(1)))
    assert same(weights(left.policy), weights(one.policy))
    assert "has not grown in 2 evaluations (best 3 after step 1)" in (tmp_path / "run" / "log.txt").read_text()


def test_the_start_is_saved_where_nothing_was_better(tmp_path: Path) -> None:
    scripted = watched(Scripted([5.0, 4.0, 3.0]))
    left = improve(tmp_path / "run", "grpo", held_out=scripted, evaluate_every=1, patience=2, steps=4)
    assert same(weights(left.policy), weights(llama(1)))


def test_final_policy_last_keeps_what_patience_would_not(tmp_path: Path) -> None:
    scripted = watched(Scripted([5.0, 4.0, 3.0]))
    left = improve(tmp_path / "run", "grpo", held_out=scripted, evaluate_every=1, patience=2, steps=4, final_policy="last")
    assert len(left.metrics) == 2
    assert not same(weights(left.policy), weights(llama(1)))
    assert not (tmp_path / "run" / "aside").exists()


def test_the_moving_average_is_what_the_best_step_keeps(tmp_path: Path) -> None:
    best = learn(
        tmp_path / "best", lr=3e-4, ema=0.5, steps=3, held_out=watched(Scripted([1.0, 3.0, 2.0, 1.5])), evaluate_every=1, patience=3
    )
    one = learn(tmp_path / "one", lr=3e-4, ema=0.5, steps=1)
    assert same(weights(best.policy), weights(one.policy))


class Cut(RuntimeError):
    """A run that was cut off."""


def cut_after(rewards: Sequence[float], calls: int) -> Callable[[], Any]:
    class Breaking(Scripted):
        def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
            if len(rewards) - len(self.left) == calls:
                raise Cut
            return super().score(prompts, responses)

    return lambda: Breaking(rewards)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_goes_on_with_its_evaluations(kind: str, tmp_path: Path) -> None:
    """Cut off in the evaluation after step 3, a run resumes after step 2: the same end, best policy and metrics as without a break."""
    rewards, asked = [1.0, 3.0, 2.0, 2.5, 9.0], {"evaluate_every": 1, "patience": 2, "last": 5}
    whole = trained(tmp_path / "whole", kind, held_out=watched(Scripted(rewards)), **asked)
    with pytest.raises(Cut):
        trained(tmp_path / "cut", kind, held_out=watched(cut_after(rewards, 3)()), **asked)
    asked_of = {"raft": "rounds"}.get(kind, "steps")
    same_settings = {"evaluate_every": 1, "patience": 2, asked_of: 5}
    config = PpoConfig(**{**SMALL, "lr": 3e-4, **same_settings}) if kind == "ppo" else settings(kind, **same_settings)
    run = Run.start(tmp_path / "cut", stage=kind, config=config, inputs={}, resume=True)
    left = trained(tmp_path / "cut", kind, held_out=watched(Scripted(rewards[3:])), run=run, **asked)
    assert same(weights(left.policy), weights(whole.policy))
    assert left.metrics == whole.metrics
    assert left.state["evaluations"] == whole.state["evaluations"]


def test_a_run_that_ended_early_does_not_train_on_when_it_is_resumed(tmp_path: Path) -> None:
    asked = {"evaluate_every": 1, "patience": 1, "steps": 4}
    first = improve(tmp_path / "run", "grpo", held_out=watched(Scripted([5.0, 4.0])), **asked)
    again = improve(tmp_path / "run", "grpo", held_out=watched(Scripted([])), run=first.run, **asked)
    assert [row["step"] for row in again.metrics] == [1]
    assert same(weights(again.policy), weights(llama(1)))


def test_parts_with_limits_are_shown_and_do_not_count(tmp_path: Path) -> None:
    terms = parse_rewards("length=1..3,kind>=0.5")
    held_out = HeldOut(HELD_OUT, Mixture(terms, {"length": ByFunction(len), "kind": ByFunction(lambda _: 7.0)}))
    left = improve(tmp_path / "run", "grpo", held_out=held_out, evaluate_every=1)
    row = left.metrics[-1]
    assert row["held_out_reward.kind"] == 7.0
    assert row["held_out_reward"] == pytest.approx(3 * row["held_out_reward.length"])


def test_settings_that_need_evaluations_are_refused_without() -> None:
    with pytest.raises(UsageError, match="need evaluations"):
        GrpoConfig(evaluate_every=0, patience=2)
    with pytest.raises(UsageError, match="need evaluations"):
        PpoConfig(evaluate_every=0, final_policy="best")


def test_weights_that_an_older_checkpoint_names_stay_until_the_next_one(tmp_path: Path) -> None:
    """A checkpoint that is written in the background leaves the one before it on disk, to resume from after a kill."""
    rewards = [1.0, 2.0, 3.0, 4.0]
    asked = {"evaluate_every": 1, "patience": 2, "last": 5, "save_every": 1}
    with pytest.raises(Cut):
        trained(tmp_path / "cut", "grpo", held_out=watched(cut_after(rewards, 3)()), **asked)
    there = sorted(int(path.name) for path in (tmp_path / "cut").glob("*/[0-9]*") if path.is_dir())
    assert there[-2:] == [1, 2], there
