"""Sampler and trainer: a gate that learns what rounding leaves between them, and weights that correct for the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import STOPS, improve, settings
from tiny import FP32, learn, llama, rng
from torch import Tensor

from accord.algorithms import grpo
from accord.algorithms.correction import Correction, Gate
from accord.algorithms.objectives import clipped_policy_loss, importance_weights
from accord.algorithms.rollouts import Rollout
from accord.engine.local import LocalSampler
from accord.errors import RunError
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.protocols import Sampler
from accord.records import Generation, Sampling

STEADY: dict[str, Any] = {"batch_size": 24, "minibatch_size": 12, "max_tokens": 12, "lr": 1e-3, "value_lr": 1e-3}
"""Enough tokens that a gap is no accident, at a rate that is modest for these models."""


def honest(policy: Any) -> LocalSampler:
    return LocalSampler(policy, stop=STOPS, dtype=FP32)


class Other:
    """A sampler that draws from what ``model`` makes of the policy, with what ``sampling`` makes of the settings."""

    def __init__(self, policy: Any, model: Callable[[Any, Any], Any], how: Callable[[Sampling], Sampling] = lambda asked: asked) -> None:
        self.policy, self.model, self.how = policy, model, how
        self.now, self.before = copy.deepcopy(policy), copy.deepcopy(policy)

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        drawn = honest(self.model(self.policy, self.before))
        return drawn.sample(prompts, n=n, sampling=self.how(sampling), generator=generator)

    def refresh(self) -> None:
        self.before, self.now = self.now, copy.deepcopy(self.policy)


def stale_head(policy: Any, before: Any) -> Any:
    """The policy, but its head as it was one step before: a tied head that a server keeps after a reload."""
    mixed = copy.deepcopy(policy)
    mixed.config.tie_word_embeddings = False
    mixed.lm_head = torch.nn.Linear(*reversed(before.lm_head.weight.shape), bias=False)
    mixed.lm_head.weight.data.copy_(before.lm_head.weight.data)
    return mixed


def same_policy(policy: Any, before: Any) -> Any:
    return policy


FAULTS: dict[str, tuple[Callable[[Any], Sampler], int]] = {
    "the last step's weights": (lambda policy: Other(policy, lambda now, before: before), 2),
    "the last step's head": (lambda policy: Other(policy, stale_head), 2),
    "another temperature": (lambda policy: Other(policy, same_policy, lambda asked: replace(asked, temperature=0.97)), 1),
    "top_p": (lambda policy: Other(policy, same_policy, lambda asked: replace(asked, top_p=0.9)), 1),
}
"""Each with the step in which it must be found: the first one in which it draws."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sampler_with_another_distribution_is_found_in_the_step_in_which_it_draws(fault: str, tmp_path: Path) -> None:
    sampler, step = FAULTS[fault]
    with pytest.raises(RunError, match=rf"ppo step {step}: sampler and trainer log-probabilities differ"):
        learn(tmp_path / "ppo", sampler=sampler, stop=STOPS, steps=3, **STEADY)
    with pytest.raises(RunError, match=rf"grpo step {step}: sampler and trainer log-probabilities differ"):
        improve(tmp_path / "grpo", sampler=sampler, steps=3, **{name: STEADY[name] for name in STEADY if name != "value_lr"})


def test_without_the_learned_gate_a_stale_head_passes(tmp_path: Path) -> None:
    """What a fixed limit alone lets through: the reason for the gate."""
    rows = learn(tmp_path, sampler=lambda policy: Other(policy, stale_head), stop=STOPS, steps=3, gap_multiple=0.0, **STEADY).metrics
    assert 1e-3 < rows[-1]["logprob_gap"] < 0.1


def test_an_honest_sampler_passes_while_the_policy_moves_far(tmp_path: Path) -> None:
    rows = improve(
        tmp_path,
        "grpo",
        sampler=honest,
        steps=12,
        kl_coef=0.0,
        **{**STEADY, "lr": 2e-2, "value_lr": 0.0} and {"lr": 2e-2, "batch_size": 24, "minibatch_size": 6, "max_tokens": 12},
    ).metrics
    assert rows[-1]["kl_k3"] > 1
    assert max(row["logprob_gap"] for row in rows) < 1e-5
    assert all(row["sequence_gap"] >= row["logprob_gap"] for row in rows)


def test_what_the_first_step_had_survives_a_resume(tmp_path: Path) -> None:
    learned = learn(tmp_path, steps=2)
    assert learned.state["gate"].keys() == {"token", "response"}
    gate = Gate(0.1, 2.0, True)
    gate.first.update(learned.state["gate"])
    assert 0 < gate.first["token"] < 1e-5
    with pytest.raises(RunError, match=r"per token is above 0\.0001; the first step had"):
        gate.check(apart(1e-3), "here")


def apart(size: float, rows: int = 40, steps: int = 10) -> Rollout:
    """A rollout whose log-probabilities differ by this much, in either direction."""
    keep = torch.ones(rows, steps, dtype=torch.bool)
    signs = torch.randint(0, 2, (rows, steps), generator=rng(3)) * 2.0 - 1
    own, some = -torch.rand(rows, steps, generator=rng(4)) * 3, torch.zeros(rows)
    responses = [[5] * steps] * rows
    measured = {"entropy": 1.0, "logprob_gap": size, "log_ratio": size * signs, "entropies": torch.ones(rows, steps)}
    return Rollout([[2]] * rows, responses, some.bool(), some, keep, own, own, own, some, **measured)


def test_a_gap_that_is_no_number_does_not_pass() -> None:
    with pytest.raises(RunError, match="differ by nan"):
        Gate(0.1, 2.5, True).check(replace(apart(1e-6), logprob_gap=float("nan")), "here")


def test_rounding_of_bfloat16_passes_and_is_held_where_float32_is_expected() -> None:
    coarse = Gate(0.1, 2.5, False)
    for size in (3e-3, 4e-3, 7e-3):
        coarse.check(apart(size), "here")
    with pytest.raises(RunError, match=r"0\.008 per token is above 0\.0075"):
        coarse.check(apart(8e-3), "here")
    with pytest.raises(RunError, match=r"rounding leaves at most 0\.002 at the first step"):
        Gate(0.1, 2.5, True).check(apart(3e-3), "here")
    unsaid = Gate(0.1, 2.5, None)
    unsaid.check(apart(1e-6), "here")
    with pytest.raises(RunError, match=r"0\.001 per token is above 0\.0001"):
        unsaid.check(apart(1e-3), "here")


# --- importance weights --------------------------------------------------------------------------------------------------------------


def toy(steps: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Five tokens: the trainer's logits, the log-probabilities of a sampler that is a little off, all responses of so many tokens, and a
    reward for each."""
    logits = torch.randn(steps, 5, generator=rng(1), dtype=torch.float64).requires_grad_()
    sampler = (logits.detach() + 0.4 * torch.randn(steps, 5, generator=rng(2), dtype=torch.float64)).log_softmax(1)
    everything = torch.cartesian_prod(*[torch.arange(5)] * steps).view(-1, steps)
    return logits, sampler, everything, torch.randn(len(everything), generator=rng(3), dtype=torch.float64)


def of(table: Tensor, responses: Tensor) -> Tensor:
    """Each token's log-probability; a token does not depend on those before it."""
    return table[torch.arange(table.shape[0]), responses]


def off_by(how: str, cap: float, steps: int) -> float:
    """How far the expected gradient under the sampler is from that of the trainer's expected reward, relative to its size; every
    response is counted by its probability."""
    logits, sampler, responses, rewards = toy(steps)
    policy = of(logits.log_softmax(1), responses)
    (exact,) = torch.autograd.grad(-(policy.sum(1).exp() * rewards).sum(), logits, retain_graph=True)
    drawn = of(sampler, responses).sum(1).exp()
    weights = importance_weights(policy.detach() - of(sampler, responses), torch.ones_like(responses, dtype=torch.bool), how, cap)
    losses = clipped_policy_loss(policy, policy.detach(), rewards[:, None], 0.2) * weights
    (found,) = torch.autograd.grad((drawn[:, None] * losses).sum(), logits)
    return ((found - exact).norm() / exact.norm()).item()


def test_without_weights_a_samplers_gradient_is_biased_and_with_them_it_is_the_trainers() -> None:
    assert off_by("off", 1.0, steps=1) > 0.1
    for how in ("token", "sequence", "mask"):
        assert off_by(how, 1e9, steps=1) < 1e-9
    assert 1e-3 < off_by("token", 1.2, steps=1) < off_by("off", 1.0, steps=1)


def test_of_a_response_of_two_tokens_only_its_whole_ratio_is_exact() -> None:
    """A token's own ratio leaves out how likely the sampler made the other one, which the reward depends on too."""
    assert off_by("sequence", 1e9, steps=2) < 1e-9
    assert 1e-3 < off_by("token", 1e9, steps=2) < off_by("off", 1.0, steps=2)


def test_weights_by_hand() -> None:
    ratio = torch.tensor([[2.0, 0.5, 9.0], [3.0, 1.0, 7.0]]).log()
    keep = torch.tensor([[True, True, False], [True, True, False]])
    found = {how: importance_weights(ratio, keep, how, 2.5).tolist() for how in ("token", "sequence", "mask", "off")}
    assert found["token"] == [pytest.approx([2.0, 0.5, 0.0]), pytest.approx([2.5, 1.0, 0.0])]
    assert found["sequence"] == [pytest.approx([1.0, 1.0, 0.0]), pytest.approx([2.5, 2.5, 0.0])]
    assert found["mask"] == [pytest.approx([1.0, 1.0, 0.0]), [0.0, 0.0, 0.0]]
    assert found["off"] == [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    with pytest.raises(ValueError, match="unknown correction 'all'"):
        importance_weights(ratio, keep, "all", 2.0)
    assert not importance_weights(ratio.requires_grad_(), keep, "token", 2.0).requires_grad


@pytest.mark.parametrize("loss", ["token", "sequence"])
def test_the_loop_follows_the_trainers_expected_reward_on_another_samplers_tokens(loss: str) -> None:
    """A sampler draws each of eight tokens as often as its own odds say, exactly; the loop's gradient is compared with enumeration."""
    odds = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 1.0, 2.0])
    rewards, policy = torch.randn(8, generator=rng(5)), llama(1, vocab=8)
    drawn = torch.arange(8).repeat_interleave(odds.long())
    rows = len(drawn)
    own, _ = logprobs(policy, pack([[2, 3, token] for token in range(8)], [1] * 8), dtype=FP32)
    expected = torch.autograd.grad(-(own.exp() * rewards).sum(), policy.parameters(), materialize_grads=True)

    keep, at = torch.ones(rows, 1, dtype=torch.bool), own.detach()[drawn][:, None]
    sampler = (odds / odds.sum()).log()[drawn][:, None]
    none = torch.zeros(rows)
    responses = [[int(token)] for token in drawn]
    rollout = Rollout([[2, 3]] * rows, responses, ~none.bool(), none, keep, at, at, at, none, 1.0, 0.0, log_ratio=at - sampler)
    wrong: dict[str, float] = {}
    for how in ("off", "token"):
        asked = {"batch_size": rows, "minibatch_size": rows, "group_size": rows, "loss": loss, "kl_coef": 0.0}
        config = settings("grpo", **asked, importance=how, importance_cap=99.0)
        weights = Correction.of(config, honest(policy)).weights(rollout)
        targets = grpo.Targets(keep, rewards[drawn][:, None], none[:, None], none[:, None], weights)
        policy.zero_grad()
        grpo._losses(config, policy, rollout, targets, list(range(rows)), FP32)
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in policy.parameters()]
        wrong[how] = (flat(found) - flat(expected)).norm().item() / flat(expected).norm().item()
    assert wrong["token"] < 1e-4
    assert wrong["off"] > 0.1


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])


def test_a_foreign_sampler_is_corrected_and_the_own_engine_is_not(tmp_path: Path) -> None:
    class Foreign(LocalSampler):
        foreign = True

    def elsewhere(policy: Any) -> Sampler:
        return Foreign(policy, stop=STOPS, dtype=FP32)

    config = settings("grpo")
    assert [Gate.of(config, honest(llama(1)), dtype).exact for dtype in (FP32, torch.bfloat16)] == [True, False]
    assert [Gate.of(config, elsewhere(llama(1)), dtype).exact for dtype in (FP32, torch.bfloat16)] == [None, False]
    assert Correction.of(config, honest(llama(1))).how == "off"
    assert Correction.of(config, elsewhere(llama(1))).how == "token"
    assert Correction.of(settings("rloo"), elsewhere(llama(1))).how == "sequence"
    assert Correction.of(settings("grpo", importance="off"), elsewhere(llama(1))).how == "off"
    rows = improve(tmp_path / "elsewhere", sampler=elsewhere).metrics
    assert [row["is_weight"] for row in rows] == [pytest.approx(1, abs=1e-5)] * 2
    assert [row["is_masked"] for row in rows] == [0, 0]
    assert "is_weight" not in improve(tmp_path / "here", sampler=honest).metrics[0]


def sharp(tilted: bool) -> Rollout:
    """64 responses of two tokens by a policy that is sure of itself: one token in ten rows surprises, and rounds low by 0.06 wherever it
    is said; or all tokens differ as under 1 / 1.03 of the temperature."""
    numbers = rng(5)
    tokens = torch.randint(10, 30, (64, 2), generator=numbers)
    surprise = 0.05 * torch.randn(64, 2, generator=numbers)
    tokens[:10, 0], surprise[:10, 0] = 7, 3.0
    rounding = torch.where(tokens == 7, -0.06, 1e-4 * torch.randn(64, 2, generator=numbers))
    surprise = torch.randn(64, 2, generator=numbers) if tilted else surprise
    difference = 0.03 * surprise if tilted else rounding
    said: list[list[int]] = tokens.tolist()
    keep, entropies = torch.ones(64, 2).bool(), torch.full((64, 2), 0.02)
    zeros = torch.zeros(64, 2)
    return Rollout(
        prompts=[[2]] * 64,
        responses=said,
        finished=keep[:, 0],
        scores=zeros[:, 0],
        keep=keep,
        logprobs=-surprise - entropies,
        reference=zeros,
        values=zeros,
        after=zeros[:, 0],
        entropy=0.02,
        logprob_gap=difference.abs().mean().item(),
        log_ratio=difference,
        entropies=entropies,
    )


def test_one_token_of_a_sure_policy_that_rounds_low_is_no_other_temperature() -> None:
    """In bfloat16 a run stopped here "as if drawn at 1.02 times the temperature", by one rounding that ten rows had in common."""
    Gate(0.1, 2.5, exact=False).check(sharp(tilted=False), "grpo step 20")
    with pytest.raises(RunError, match=r"as if drawn at 0\.97 times the temperature"):
        Gate(0.1, 2.5, exact=False).check(sharp(tilted=True), "grpo step 20")
