"""Online DPO on tiny models: the loss by hand, ties, what is learned, settings."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import READ_BY_THE_COMMAND, STOPS, by_default, improve
from tiny import FP32, PROMPTS, ByFunction, llama, same, weights

from accord.algorithms.rollouts import draw, next_prompts
from accord.engine.local import LocalSampler
from accord.errors import RunError, UsageError
from accord.models.responses import all_response_logprobs
from accord.records import Sampling
from accord.runtime.seeds import generator
from accord.settings import OnlineDpoConfig

KIND = "online-dpo"
ENDED: dict[str, Any] = {"truncation": "terminate"}


def test_at_the_reference_the_loss_is_log_2_and_no_pair_is_ahead(tmp_path: Path) -> None:
    row = improve(tmp_path, KIND, steps=1, lr=0.0, epochs=1, **ENDED).metrics[0]
    assert row["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert row["accuracy"] == pytest.approx(0.5)
    assert row["margin"] == pytest.approx(0, abs=1e-5)
    assert row["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert improve(tmp_path / "ipo", KIND, steps=1, lr=0.0, loss="ipo", **ENDED).metrics[0]["loss"] == pytest.approx(25.0, rel=1e-4)


@pytest.mark.parametrize("n", [2, 3])
def test_its_loss_is_dpos_on_the_best_and_the_worst_of_what_was_drawn(n: int, tmp_path: Path) -> None:
    """A policy away from its reference, drawn again with the same numbers, and the loss added up by hand."""
    asked: dict[str, Any] = {"steps": 1, "epochs": 1, "lr": 0.0, "group_size": n, "minibatch_size": 6 // n, "beta": 0.3, **ENDED}
    row = improve(tmp_path, KIND, policy=llama(3), **asked).metrics[0]
    drawn = draw(
        next_prompts(PROMPTS, 0, 6 // n, seed=0, stage=KIND),
        n=n,
        sampler=LocalSampler(llama(3), stop=STOPS, dtype=FP32),
        scorer=ByFunction(by_default),
        sampling=Sampling(max_tokens=6),
        generator=generator(0, KIND, "rollout", 1),
    )
    whole = [[*prompt, *response] for prompt, response in zip(drawn.prompts, drawn.responses, strict=True)]
    kept = [len(response) for response in drawn.responses]
    policy, reference = (all_response_logprobs(model, whole, kept, dtype=FP32).tolist() for model in (llama(3), llama(1)))
    scores, losses = drawn.scores.tolist(), list[float]()
    for first in range(0, 6, n):
        group = range(first, first + n)
        best, worst = max(group, key=lambda i: scores[i]), min(group, key=lambda i: scores[i])
        if scores[best] > scores[worst]:
            margin = 0.3 * ((policy[best] - reference[best]) - (policy[worst] - reference[worst]))
            losses.append(math.log1p(math.exp(-margin)))
    assert row["pairs"] == len(losses) > 0
    assert row["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_equal_rewards_teach_nothing(tmp_path: Path) -> None:
    same_to_all = improve(tmp_path, KIND, scorer=ByFunction(lambda _: 1.0), lr=1e-2, **ENDED)
    assert same(weights(same_to_all.policy), weights(llama(1)))
    for row in same_to_all.metrics:
        assert row["pairs"] == row["telling_groups"] == row["score_gap"] == row["loss"] == 0


def test_cut_responses_have_the_reward_of_no_stop(tmp_path: Path) -> None:
    """No token stops them: penalised all are equal, and as they are they differ."""
    cut = improve(tmp_path / "cut", KIND, stop=(10**6,), steps=1)
    assert cut.metrics[0]["pairs"] == 0
    assert improve(tmp_path / "on", KIND, stop=(10**6,), steps=1, **ENDED).metrics[0]["pairs"] > 0


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_what_the_reward_likes_becomes_likelier(loss: str, tmp_path: Path) -> None:
    """A response is worth its share of tokens from the lower half of the vocabulary."""
    scorer = ByFunction(lambda row: sum(token < 30 for token in row) / len(row))
    asked: dict[str, Any] = {"steps": 16, "batch_size": 32, "minibatch_size": 16, "epochs": 1, "lr": 1e-2, "save_every": 16, "loss": loss}
    rows = improve(tmp_path, KIND, stop=range(45, 60), scorer=scorer, **asked, **ENDED).metrics
    assert sum(row["reward"] for row in rows[-3:]) / 3 > rows[0]["reward"] + 0.1
    assert rows[-1]["kl_k3"] > 0.05


def test_sampler_and_trainer_that_disagree_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="online-dpo step 1: sampler and trainer"):
        improve(tmp_path, KIND, logprob_gap=1e-12)


def test_settings_that_cannot_work_are_refused_by_number() -> None:
    with pytest.raises(UsageError, match=r"online-dpo: group_size is 1.*a pair takes two"):
        OnlineDpoConfig(group_size=1)
    with pytest.raises(UsageError, match="batch_size 5 is no multiple of group_size 2"):
        OnlineDpoConfig(batch_size=5, minibatch_size=1)
    with pytest.raises(UsageError, match="minibatch_size 32 is larger than the 4 pairs"):
        OnlineDpoConfig(batch_size=8)
    with pytest.raises(UsageError, match=r"label_smoothing is 0\.1, which loss ipo"):
        OnlineDpoConfig(loss="ipo", label_smoothing=0.1)


CHANGES: dict[str, Any] = {
    "seed": 1, "steps": 3, "batch_size": 8, "group_size": 3, "minibatch_size": 1, "epochs": 1, "loss": "ipo", "beta": 0.5,
    "label_smoothing": 0.2, "truncation": "penalise", "lr": 1e-3, "muon_lr": 1e-2, "warmup_steps": 20, "warmup_share": 0.5,
    "temperature": 0.5, "max_tokens": 3, "max_grad_norm": 1e-2, "micro_tokens": 1, "save_every": 2,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
}  # fmt: skip
OF_THE_STAGE = READ_BY_THE_COMMAND | {"no_stop_reward"}


def outcome(folder: Path, **asked: Any) -> Any:
    learned = improve(folder, KIND, **{"lr": 2e-2, "minibatch_size": 2, **ENDED, **asked})
    return [weights(learned.policy), learned.metrics, (learned.run.folder / "samples.jsonl").read_text().count("\n")]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, unchanged: Any, tmp_path: Path) -> None:
    assert {field.name for field in fields(OnlineDpoConfig)} == CHANGES.keys() | OF_THE_STAGE
    if name == "warmup_share":  # it bounds a warm-up that is longer
        assert not same(*(outcome(tmp_path / str(share), warmup_steps=20, warmup_share=share) for share in (0.0, CHANGES[name])))
    else:
        assert not same(outcome(tmp_path, **{name: CHANGES[name]}), unchanged)


def test_the_reward_of_no_stop_orders_a_cut_response(tmp_path: Path) -> None:
    low, high = (improve(tmp_path / str(r), KIND, steps=1, truncation="penalise", no_stop_reward=r).metrics[0] for r in (-9.0, 9.0))
    assert low["score_gap"] != high["score_gap"]
    assert torch.isfinite(torch.tensor(low["loss"]))
