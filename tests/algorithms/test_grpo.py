"""GRPO, RLOO and REINFORCE++ on tiny models: their advantages, DAPO's corrections, settings that do something, errors."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import READ_BY_THE_COMMAND, SMALL, improve, settings
from tiny import END, PROMPTS, VOCAB, ByFunction, llama, same, weights

from accord.algorithms.grpo import final_scores, learning_targets
from accord.algorithms.rewards import Term
from accord.algorithms.rollouts import Drawn, Rollout, rollout_metrics
from accord.errors import RunError, UsageError
from accord.settings import GrpoConfig, ReinforceConfig, RlooConfig


def rollout() -> Rollout:
    """Two groups of two; the second response was cut. log policy - log reference is 1/2 on every token."""
    lengths = torch.tensor([3, 2, 1, 2])
    keep = torch.arange(3) < lengths[:, None]
    return Rollout(
        prompts=[[2, 3], [2, 3], [4], [4]],
        responses=[[5, 6, 1], [7, 8], [1], [9, 1]],
        finished=torch.tensor([True, False, True, True]),
        scores=torch.tensor([2.0, 5.0, 1.0, 4.0]),
        keep=keep,
        logprobs=torch.full((4, 3), -1.0) * keep,
        reference=torch.full((4, 3), -1.5) * keep,
        values=torch.zeros(4, 3),
        after=torch.zeros(4),
        entropy=1.0,
        logprob_gap=0.0,
    )


def advantages(kind: str, **asked: Any) -> list[list[float]]:
    base = {"batch_size": 4, "minibatch_size": 4, "group_size": 2, "truncation": "terminate"}
    return learning_targets(settings(kind, **{**base, **asked}), rollout()).advantages.tolist()


def test_grpo_compares_with_the_group_over_its_spread() -> None:
    found = advantages("grpo", scale="none")
    assert found == [[-1.5, -1.5, -1.5], [1.5, 1.5, 0], [-1.5, 0, 0], [1.5, 1.5, 0]]
    scaled = advantages("grpo")
    assert scaled[0] == pytest.approx([-1.5 / (4.5**0.5 + 1e-4)] * 3)
    assert torch.tensor(scaled)[:, 0].view(2, 2).sum(1).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_rloo_takes_the_kl_from_the_reward_and_the_others_mean() -> None:
    """Rewards are 2 - 3/2 b, 5 - 2/2 b, 1 - 1/2 b, 4 - 2/2 b with b = 0.1."""
    found = advantages("rloo", kl_coef=0.1)
    assert [row[0] for row in found] == pytest.approx([1.85 - 4.9, 4.9 - 1.85, 0.95 - 3.9, 3.9 - 0.95])
    assert found[1][2] == 0


def test_reinforce_gives_each_token_its_own_reward_to_go_whitened() -> None:
    plain = advantages("reinforce", scale="none", kl_coef=0.1, group_size=1)
    assert plain[0] == pytest.approx([2 - 0.15, 2 - 0.1, 2 - 0.05])
    assert plain[3] == pytest.approx([4 - 0.1, 4 - 0.05, 0])
    white = torch.tensor(advantages("reinforce", kl_coef=0.1, group_size=1))[rollout().keep]
    assert white.mean().item() == pytest.approx(0, abs=1e-5)
    assert white.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_a_cut_response_is_penalised_ended_or_masked() -> None:
    assert final_scores(settings("grpo"), rollout()).tolist() == [2, -3, 1, 4]
    assert final_scores(settings("grpo", truncation="terminate"), rollout()).tolist() == [2, 5, 1, 4]
    masked = learning_targets(settings("grpo", group_size=2, truncation="mask"), rollout())
    assert not masked.keep[1].any()
    assert not masked.advantages[1].any()
    assert masked.advantages[0].any()


def test_the_kl_of_cut_responses_is_measured_though_they_are_masked() -> None:
    kept, masked = (learning_targets(settings("grpo", group_size=2, truncation=rule), rollout()).kl for rule in ("terminate", "mask"))
    assert rollout_metrics(rollout(), masked) == rollout_metrics(rollout(), kept)
    assert masked[1].sum() == pytest.approx((rollout().logprobs - rollout().reference)[1][rollout().keep[1]].sum())
    assert masked[1].any()


def test_overlong_responses_lose_reward_before_they_are_cut() -> None:
    config = settings("grpo", max_tokens=4, overlong_tokens=2, truncation="terminate")
    assert final_scores(config, rollout()).tolist() == pytest.approx([1.5, 5, 1, 4])


@pytest.mark.parametrize("kind", ["grpo", "rloo", "reinforce"])
def test_at_learning_rate_0_nothing_moves_and_the_ratio_stays_1(kind: str, tmp_path: Path) -> None:
    still = improve(tmp_path, kind, lr=0.0, epochs=3)
    assert same(weights(still.policy), weights(llama(1)))
    for row in still.metrics:
        assert row["ratio"] == pytest.approx(1, abs=1e-4)
        assert row["clip_fraction"] == 0
        assert row["approx_kl"] == pytest.approx(0, abs=1e-6)
        assert row["kl_k1"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", ["grpo", "rloo", "reinforce"])
def test_micro_batches_add_up(kind: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"steps": 1, "epochs": 1, "lr": 1e-3, "truncation": "terminate"}  # cut responses would all be worth the same
    one, other = (improve(tmp_path / str(n), kind, micro_tokens=n, **asked) for n in (1, 4096))
    assert one.metrics[0]["grad_norm"] > 0.01
    assert one.metrics[0]["grad_norm"] == pytest.approx(other.metrics[0]["grad_norm"], rel=1e-4)
    assert one.metrics[0]["policy_loss"] == pytest.approx(other.metrics[0]["policy_loss"], abs=1e-5)


def test_a_batch_without_anything_to_learn_is_survived(tmp_path: Path) -> None:
    learned = improve(tmp_path, stop=(VOCAB,), truncation="mask", steps=1)
    assert all(torch.allclose(tensor, weights(llama(1))[name]) for name, tensor in weights(learned.policy).items())
    assert learned.metrics[0]["finished"] == 0


def odd_prompts_tell(row: list[int]) -> float:
    return float(len(set(row)) > 4)


def test_dynamic_sampling_replaces_groups_that_tell_nothing(tmp_path: Path) -> None:
    plain, replaced = (
        improve(tmp_path / str(n), resample=n, steps=4, scorer=ByFunction(odd_prompts_tell), truncation="terminate", batch_size=12, lr=0.0)
        for n in (0, 8)
    )
    assert [row["prompts_asked"] for row in plain.metrics] == [4, 8, 12, 16]
    assert replaced.metrics[-1]["prompts_asked"] > 16
    assert 0 < plain.metrics[0]["telling_groups"] < 1
    assert plain.metrics[0]["advantage_size"] < replaced.metrics[0]["advantage_size"]


def test_dynamic_sampling_gives_up_after_its_limit(tmp_path: Path) -> None:
    learned = improve(tmp_path, resample=2, steps=1, scorer=ByFunction(lambda _: 1.0), truncation="terminate")
    assert learned.metrics[0]["prompts_asked"] == 6
    assert learned.metrics[0]["telling_groups"] == learned.metrics[0]["advantage_size"] == 0


def test_draws_join_and_part_without_losing_a_token() -> None:
    one = Drawn([[2]], [[3, 4, 1]], torch.tensor([True]), torch.tensor([1.0]), torch.ones(1, 3) > 0, torch.ones(1, 3), {"rollout": 1.0})
    two = Drawn([[5]], [[6]], torch.tensor([False]), torch.tensor([2.0]), torch.ones(1, 1) > 0, -torch.ones(1, 1), {"rollout": 2.0})
    both = two + one
    assert both.keep.tolist() == [[True, False, False], [True, True, True]]
    assert both.seconds == {"rollout": 3.0}
    back = both.rows([0])
    assert (back.responses, back.keep.tolist(), back.logprobs.tolist()) == (two.responses, [[True]], [[-1.0]])


def test_the_parts_of_a_reward_and_their_moving_weights_are_logged(tmp_path: Path) -> None:
    terms = [Term("model", 1.0, 0.0), Term("other", 0.0, 2.0)]
    learned = improve(tmp_path, terms=terms, steps=3, truncation="terminate", lr=0.0)
    assert [row["weight.model"] for row in learned.metrics] == [1, 0.5, 0]
    assert [row["weight.other"] for row in learned.metrics] == [0, 1, 2]
    for row in learned.metrics:
        assert row["reward"] == pytest.approx(
            row["weight.model"] * row["reward.model"] + row["weight.other"] * row["reward.other"], rel=1e-5
        )


def test_sampler_and_trainer_that_disagree_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="rloo step 1: sampler and trainer"):
        improve(tmp_path, "rloo", logprob_gap=1e-12)


def test_a_reward_that_is_no_number_stops_the_run_where_it_can_go_on(tmp_path: Path) -> None:
    calls = {"n": 0}

    def failing(_: list[int]) -> float:
        calls["n"] += 1
        return float("nan") if calls["n"] > 6 else 1.0

    with pytest.raises(RunError, match="the reward model returned nan for response 0"):
        improve(tmp_path, scorer=ByFunction(failing))


CHANGES: dict[str, Any] = {
    "seed": 1, "steps": 3, "batch_size": 9, "group_size": 2, "minibatch_size": 2, "epochs": 1, "lr": 1e-3,
    "muon_lr": 1e-2, "warmup_steps": 20, "warmup_share": 0.5,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
    "advantage": "leave-one-out", "scale": "none", "loss": "constant", "clip": 0.01, "clip_high": 0.5, "kl_coef": 2.0, "kl_in": "reward",
    "kl_estimator": "k2", "temperature": 0.5, "max_tokens": 3, "truncation": "mask", "no_stop_reward": 4.0, "overlong_tokens": 4,
    "resample": 3, "staleness": 1, "max_grad_norm": 1e-2, "micro_tokens": 1, "save_every": 2,
}  # fmt: skip
OF_THE_STAGE = READ_BY_THE_COMMAND | {"importance", "importance_cap"}


def test_no_setting_is_forgotten_here() -> None:
    assert {field.name for field in fields(GrpoConfig)} == CHANGES.keys() | OF_THE_STAGE
    assert (
        {field.name for field in fields(RlooConfig)} == {field.name for field in fields(ReinforceConfig)} == CHANGES.keys() | OF_THE_STAGE
    )


def outcome(folder: Path, **asked: Any) -> Any:
    scorer = ByFunction(lambda row: float(sum(row) % 3 == 0))
    learned = improve(folder, policy=llama(4), scorer=scorer, prompts=PROMPTS[:7], **{"lr": 2e-2, "stop": (END, *range(2, 30)), **asked})
    return [weights(learned.policy), learned.metrics, (learned.run.folder / "samples.jsonl").read_text().count("\n")]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(tmp_path_factory.mktemp("grpo"))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, unchanged: Any, tmp_path: Path) -> None:
    if name in ("truncation", "no_stop_reward"):  # about responses that do not end: here hardly any token ends one
        cut: dict[str, Any] = {"stop": (END,), "max_tokens": 3}
        assert not same(outcome(tmp_path / "changed", **cut, **{name: CHANGES[name]}), outcome(tmp_path / "plain", **cut))
    elif name == "warmup_share":  # it bounds a warm-up that is longer
        assert not same(*(outcome(tmp_path / str(share), warmup_steps=20, warmup_share=share) for share in (0.0, CHANGES[name])))
    else:
        assert not same(outcome(tmp_path, **{name: CHANGES[name]}), unchanged)


def test_the_same_settings_give_the_same_run(unchanged: Any, tmp_path: Path) -> None:
    assert same(outcome(tmp_path), unchanged)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "one sample": ("grpo: group_size is 1, but advantage group", {"group_size": 1}),
    "half a group": ("batch_size 7 is no multiple of group_size 3", {"batch_size": 7}),
    "dead penalty": ("expected gradient of 0", {"kl_estimator": "k1"}),
    "own advantage": ("advantage return gives each token its own", {"advantage": "return"}),
    "all buffer": ("overlong_tokens 6 must be below max_tokens 6", {"overlong_tokens": 6}),
    "cold": ("temperature is 0", {"temperature": 0.0}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_anything_runs(case: str) -> None:
    message, asked = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        settings("grpo", **asked)


def test_rloo_names_itself_in_its_errors() -> None:
    with pytest.raises(UsageError, match="rloo: group_size is 1"):
        RlooConfig(group_size=1)
    assert SMALL["batch_size"] == 6
