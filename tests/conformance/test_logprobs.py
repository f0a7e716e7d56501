"""T12 to T23: log-probabilities and KL. docs/conformance.md names each law, and how each test was seen to fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, PROMPTS, ByFunction, learn, llama, rng, sampled, scalar, sequences

from accord.algorithms.objectives import clipped_policy_loss, kl_estimate
from accord.algorithms.rollouts import collect
from accord.engine.local import LocalSampler
from accord.errors import RunError
from accord.models.adapters import add_lora, merge_lora
from accord.models.folders import load_causal_lm, prepared, save_model
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Generation, Sampling
from accord.settings import PpoConfig


def roll(policy: Any, reference: Any, temperature: float = 1.0, scorer: Any = None) -> Any:
    return collect(
        PROMPTS,
        sampler=LocalSampler(policy, stop=(1, 2, 3, 4), dtype=FP32),
        scorer=scorer or ByFunction(len),
        policy=policy,
        reference=reference,
        value=scalar(llama(2, vocab=policy.config.vocab_size)),
        sampling=Sampling(temperature=temperature, max_tokens=7),
        generator=rng(),
        dtype=FP32,
        micro_tokens=4096,
    )


def test_t12_the_ratio_is_1_on_the_first_minibatch_and_always_at_learning_rate_0(tmp_path: Path) -> None:
    first = learn(tmp_path / "a", steps=1, epochs=1, minibatch_size=6, lr=1e-2, temperature=0.7).metrics[0]
    assert first["ratio"] == pytest.approx(1, abs=1e-4)
    assert first["approx_kl"] == pytest.approx(0, abs=1e-6)
    for row in learn(tmp_path / "b", steps=2, epochs=3, lr=0.0, temperature=0.7).metrics:
        assert row["ratio"] == pytest.approx(1, abs=1e-4)
        assert row["approx_kl"] == pytest.approx(0, abs=1e-6)


def test_t13_dropout_is_off_everywhere() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=60, n_embd=16, n_layer=1, n_head=2, embd_pdrop=0.5, resid_pdrop=0.5, attn_pdrop=0.5, eos_token_id=1, bos_token_id=1
    )
    model = prepared(GPT2LMHeadModel(config).train())
    value = scalar(model)
    batch = pack(sequences([6, 9]))
    with torch.no_grad():
        assert torch.equal(logprobs(model, batch, dtype=FP32)[0], logprobs(model, batch, dtype=FP32)[0])
    assert not any(module.training for part in (model, value) for module in part.modules())
    assert sampled(model, PROMPTS).rows() == sampled(model, PROMPTS).rows()


def test_t14_policies_that_are_the_same_have_kl_0_at_any_temperature() -> None:
    rollout = roll(llama(1), llama(1), temperature=0.7)
    assert torch.allclose(rollout.logprobs, rollout.reference, atol=1e-5)
    assert rollout.logprob_gap < 1e-4
    cold = roll(llama(4), llama(1), temperature=0.7)
    at_one = roll(llama(4), llama(1))
    for policy, rows, temperature in ((llama(4), cold, 0.7), (llama(4), at_one, 1.0)):
        batch = pack([[*p, *r] for p, r in zip(rows.prompts, rows.responses, strict=True)], [len(r) for r in rows.responses])
        with torch.no_grad():
            assert torch.allclose(rows.logprobs[rows.keep], logprobs(policy, batch, dtype=FP32, temperature=temperature)[0], atol=1e-5)


def test_t15_t23_rollouts_take_no_filter_no_penalty_and_no_length_rule() -> None:
    """What would make the sampler's distribution another than the trainer's cannot be asked for."""
    names = {field.name for field in fields(PpoConfig)}
    assert not names & {"top_k", "top_p", "repetition_penalty", "min_tokens", "min_length", "no_repeat_ngram_size"}
    with pytest.raises(TypeError, match="top_p"):
        PpoConfig(top_p=0.9)  # type: ignore[call-arg]
    free = sampled(llama(1), PROMPTS, n=8).logprobs
    filtered = sampled(llama(1), PROMPTS, n=8, top_k=3).logprobs
    assert filtered.sum() > free.sum()


def test_t15_a_filtered_draws_logprob_is_under_the_filtered_distribution() -> None:
    drawn = sampled(llama(1), [PROMPTS[0]], n=400, max_tokens=1, top_k=2)
    seen = dict(zip(drawn.tokens[:, 0].tolist(), drawn.logprobs[:, 0].tolist(), strict=True))
    assert len(seen) == 2
    assert sum(torch.tensor(list(seen.values())).exp()).item() == pytest.approx(1, abs=1e-5)


class Lying:
    """A sampler whose log-probabilities are off, as an engine's with other numerics are."""

    def __init__(self, sampler: LocalSampler, by: float) -> None:
        self.sampler, self.by = sampler, by

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        drawn = self.sampler.sample(prompts, n=n, sampling=sampling, generator=generator)
        return replace(drawn, logprobs=drawn.logprobs - self.by * drawn.keep)

    def refresh(self) -> None:
        self.sampler.refresh()


def test_t16_t17_sampler_and_trainer_are_compared_every_step_and_a_gap_stops_the_run(tmp_path: Path) -> None:
    honest = learn(tmp_path / "a", steps=3)
    assert all(0 <= row["logprob_gap"] < 1e-4 for row in honest.metrics)
    off = learn(tmp_path / "b", sampler=lambda policy: Lying(LocalSampler(policy, stop=(1, 2), dtype=FP32), 0.05), gap_multiple=0.0)
    assert off.metrics[0]["logprob_gap"] == pytest.approx(0.05, abs=1e-3)
    with pytest.raises(RunError, match=r"differ by 0\.2 per token"):
        learn(tmp_path / "c", sampler=lambda policy: Lying(LocalSampler(policy, stop=(1, 2), dtype=FP32), 0.2), gap_multiple=0.0)


def test_t18_what_was_derived_from_old_weights_is_dropped_after_an_update(tmp_path: Path) -> None:
    """With a large step between them, a stale engine's log-probabilities would be far from the trainer's."""
    learned = learn(tmp_path, lr=5e-2, steps=4, logprob_gap=10.0)
    assert all(row["logprob_gap"] < 1e-4 for row in learned.metrics)
    assert abs(learned.metrics[-1]["kl_k1"]) > 0.1


class Listening:
    """A scorer that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        self.shown = [list(response) for response in responses]
        return torch.zeros(len(responses))


def test_t19_sampled_tokens_reach_reward_and_loss_as_they_are() -> None:
    scorer, policy = Listening(), llama(1)
    rollout = roll(policy, llama(1), scorer=scorer)
    drawn = LocalSampler(policy, stop=(1, 2, 3, 4), dtype=FP32).sample(PROMPTS, n=1, sampling=Sampling(max_tokens=7), generator=rng())
    assert scorer.shown == drawn.rows() == rollout.responses


def five() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(5, generator=rng(1)).requires_grad_(), torch.randn(5, generator=rng(2)).log_softmax(0)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def test_t20_the_penalty_in_the_reward_has_the_exact_gradient_where_k1_and_k3_as_losses_do_not() -> None:
    logits, reference = five()
    policy = logits.log_softmax(0)
    drawn = policy.detach().exp()
    exact = gradient((policy.exp() * (policy - reference)).sum(), logits)
    as_loss = {name: gradient((drawn * kl_estimate(policy - reference, name)).sum(), logits) for name in ("k1", "k2", "k3")}
    assert torch.allclose(as_loss["k1"], torch.zeros(5), atol=1e-6)
    assert not torch.allclose(as_loss["k3"], exact, atol=1e-2)
    assert torch.allclose(as_loss["k2"], exact, atol=1e-6)
    for name in ("k1", "k3"):
        penalty = kl_estimate(policy - reference, name).detach()
        in_reward = gradient((drawn * clipped_policy_loss(policy, policy.detach(), -penalty, 0.2)).sum(), logits)
        assert torch.allclose(in_reward, exact, atol=1e-6) is (name == "k1")


def test_t21_with_adapters_the_reference_is_the_sft_model_and_kl_starts_at_0(tmp_path: Path) -> None:
    """Also when the SFT model was itself trained by adapters: it is saved merged."""
    from tiny import chat

    sft = add_lora(llama(1, vocab=300), 2, rng(1))
    with torch.no_grad():
        for name, parameter in sft.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
    save_model(tmp_path / "sft", merge_lora(sft), chat().tokenizer)
    reference, policy = load_causal_lm(tmp_path / "sft"), add_lora(load_causal_lm(tmp_path / "sft"), 2, rng(2))
    rollout = roll(policy, reference)
    assert torch.allclose(rollout.logprobs, rollout.reference, atol=1e-4)
    with torch.no_grad():
        adapted = logprobs(sft, pack(PROMPTS), dtype=FP32)[0]
        assert torch.allclose(logprobs(reference, pack(PROMPTS), dtype=FP32)[0], adapted, atol=1e-4)
        assert not torch.allclose(logprobs(llama(1, vocab=300), pack(PROMPTS), dtype=FP32)[0], adapted, atol=1e-2)


def test_t22_k3_stands_beside_k1_and_is_never_negative(tmp_path: Path) -> None:
    rows = learn(tmp_path, policy=llama(4), steps=3, batch_size=24).metrics
    assert all(row["kl_k3"] >= 0 for row in rows)
    assert all(row["kl_k3"] != pytest.approx(row["kl_k1"], rel=1e-3) for row in rows)
    rollout = roll(llama(4), llama(1))
    log_ratio = (rollout.logprobs - rollout.reference)[rollout.keep]
    assert log_ratio.min() < 0
    assert kl_estimate(log_ratio, "k3").min() >= 0
