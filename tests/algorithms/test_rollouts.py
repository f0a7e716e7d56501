"""A rollout holds what was said and what was thought of it, token for token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import FP32, PROMPTS, ByFunction, llama, rng, scalar

from accord.algorithms.rollouts import Rollout, checked_scores, collect, minibatch
from accord.engine.local import LocalSampler
from accord.errors import RunError
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import scalars
from accord.records import Sampling

STOPS = tuple(range(1, 10))


def roll(policy: Any = None, *, temperature: float = 1.0, micro_tokens: int = 16_384, reward: Any = len, seed: int = 0) -> Rollout:
    policy = llama(1) if policy is None else policy
    return collect(
        PROMPTS,
        sampler=LocalSampler(policy, stop=STOPS, dtype=FP32),
        scorer=ByFunction(reward),
        policy=policy,
        reference=llama(1),
        value=scalar(llama(2)),
        sampling=Sampling(temperature=temperature, max_tokens=7),
        generator=rng(seed),
        dtype=FP32,
        micro_tokens=micro_tokens,
    )


def test_every_figure_stands_beside_the_token_it_speaks_of() -> None:
    rollout, value, policy = roll(llama(4)), scalar(llama(2)), llama(4)
    for i, (prompt, response) in enumerate(zip(rollout.prompts, rollout.responses, strict=True)):
        batch, n = pack([[*prompt, *response]], [len(response)]), len(response)
        at = torch.cat([batch.targets - 1, batch.last])
        with torch.no_grad():
            assert torch.allclose(rollout.logprobs[i, :n], logprobs(policy, batch, dtype=FP32)[0], atol=1e-5)
            assert torch.allclose(rollout.reference[i, :n], logprobs(llama(1), batch, dtype=FP32)[0], atol=1e-5)
            alone = scalars(value, batch, at, dtype=FP32)
        assert torch.allclose(torch.cat([rollout.values[i, :n], rollout.after[i, None]]), alone, atol=1e-5)
        assert rollout.keep[i].sum() == n
        assert rollout.finished[i] == (response[-1] in STOPS)
        assert rollout.scores[i] == n


def test_smaller_forward_passes_change_nothing() -> None:
    one, other = roll(), roll(micro_tokens=15)
    for name in ("logprobs", "reference", "values", "after"):
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-5), name
    assert one.entropy == pytest.approx(other.entropy, rel=1e-5)


def test_the_entropy_is_at_most_that_of_a_fair_draw() -> None:
    assert 0 < roll().entropy < torch.tensor(60.0).log()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused_and_its_response_named(bad: float) -> None:
    rewards = iter([1.0, 2.0, bad, 4.0, 5.0, 6.0, 7.0, 8.0])
    with pytest.raises(RunError, match=f"{bad} for response 2"):
        roll(reward=lambda _: next(rewards))


def test_too_few_rewards_are_refused() -> None:
    with pytest.raises(RunError, match=r"\(2,\) rewards for 3 responses"):
        checked_scores(torch.zeros(2), 3)


def test_a_minibatch_keeps_response_tokens_alone() -> None:
    rollout = roll()
    batch = minibatch(rollout, [3, 0])
    assert batch.tokens[batch.keep].tolist() == [*rollout.responses[3], *rollout.responses[0]]
    assert batch.lengths.tolist() == [len(rollout.prompts[i]) + len(rollout.responses[i]) for i in (3, 0)]
