"""Our forward pass against transformers' own, packed against alone, and the log-probabilities against the full softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from decoders import BROAD, architectures, plain_copy
from tiny import FP32, VOCAB, llama, rng, scalar, sequences
from torch.utils.flop_counter import FlopCounterMode

from accord.errors import InputError, ModelError
from accord.models.adapters import add_lora
from accord.models.attention import PackedAttention
from accord.models.decoder import hidden, is_llama_shaped, recomputing
from accord.models.folders import prepared
from accord.models.heads import Head, head_of
from accord.models.packing import by_tokens, pack, pad
from accord.models.policy import logprobs, mean_loss, next_token_loss, token_logprobs
from accord.models.scalar import RewardModel, scores


@pytest.mark.parametrize("name", list(architectures()))
def test_states_are_those_of_transformers_own_forward(name: str) -> None:
    torch.manual_seed(5)
    model, short = architectures()[name]
    with torch.no_grad():
        for parameter in model.parameters():  # biases start as zeros and norms as ones; neither may hide a mistake
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng(1)))
    plain = plain_copy(model)
    model = prepared(model)
    assert is_llama_shaped(model.base_model) is short
    rows = sequences([5, 9, 2, 17, 9])
    batch = pack(rows)
    with torch.no_grad():
        ours = hidden(model.base_model, batch.tokens, batch.positions, PackedAttention(batch.lengths), FP32)
        theirs = torch.cat([plain.base_model(torch.tensor([row]), use_cache=False).last_hidden_state[0] for row in rows])
        assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-5), (ours - theirs).abs().max()
        full = torch.cat(
            [plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(row)[1:, None])[:, 0] for row in rows]
        )
        assert torch.allclose(logprobs(model, batch, dtype=FP32)[0], full, atol=5e-5)


@pytest.mark.parametrize("name", ["llama", "llama grouped", "qwen2 bias", "gpt neox"])
def test_gradients_are_those_of_transformers_own_forward(name: str) -> None:
    torch.manual_seed(5)
    model, _ = architectures()[name]
    plain, rows = plain_copy(model), sequences([5, 9, 2, 17, 9] * 5)
    next_token_loss(prepared(model), pack(rows), dtype=FP32).backward()
    count = sum(len(row) - 1 for row in rows)
    for row in rows:
        logits = plain(torch.tensor([row]), use_cache=False).logits[0, :-1]
        (torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="sum") / count).backward()
    theirs = dict(plain.named_parameters())
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, theirs[key].grad, atol=1e-5, rtol=1e-3), key


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", ["llama", "llama grouped", "gpt neox"])
def test_states_at_some_places_are_those_of_transformers_and_cost_the_last_block_less(name: str, again: bool) -> None:
    torch.manual_seed(5)
    model, short = architectures()[name]
    plain, rows = plain_copy(model), sequences([5, 19, 2, 17])
    model = prepared(model)
    body = recomputing(model).base_model if again else model.base_model
    batch, at = pack(rows), torch.tensor([42, 3, 3, 23, 6])  # in no order, one twice, of the third row none
    weight = torch.randn(len(at), plain.base_model.config.hidden_size, generator=rng(4))

    def asked(places: torch.Tensor | None) -> torch.Tensor:
        return hidden(body, batch.tokens, batch.positions, PackedAttention(batch.lengths), FP32, places)

    theirs = torch.cat([plain.base_model(torch.tensor([row]), use_cache=False).last_hidden_state[0] for row in rows])[at]
    (theirs * weight).sum().backward()
    with FlopCounterMode(display=False) as few:
        ours = asked(at)
        assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-5)
        (ours * weight).sum().backward()
    gradients = dict(plain.base_model.named_parameters())
    for key, parameter in body.named_parameters():
        assert torch.allclose(parameter.grad, gradients[key].grad, atol=1e-5, rtol=1e-3), key
    with FlopCounterMode(display=False) as all_of_them:
        (asked(None)[at] * weight).sum().backward()
    assert (few.get_total_flops() < 0.9 * all_of_them.get_total_flops()) is short


def test_a_packed_batch_has_the_losses_and_gradients_of_its_rows_alone() -> None:
    rows = sequences([5, 30, 2, 17, 9])
    packed, alone = llama(), llama()
    next_token_loss(packed, pack(rows * 8), dtype=FP32).backward()  # enough rows for several rectangles
    count = sum(len(row) - 1 for row in rows)
    for row in rows:
        (next_token_loss(alone, pack([row]), dtype=FP32) * (len(row) - 1) / count).backward()
    for one, other in zip(packed.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("elements", [180, 40, 2**21])  # several tiles across the vocabulary, in both directions, and one alone
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logprobs_are_the_full_softmax_with_its_gradients(temperature: float, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.models.policy.CHUNK_ELEMENTS", elements)
    states, head = torch.randn(10, 8, generator=rng(1)), torch.randn(VOCAB, 8, generator=rng(2))
    targets, weight = torch.randint(VOCAB, (10,), generator=rng(3)), torch.randn(10, generator=rng(4))
    grads: list[tuple[torch.Tensor, ...]] = []
    for full in (False, True):
        s, h = states.clone().requires_grad_(), head.clone().requires_grad_()
        if full:
            values = ((s @ h.T) / temperature).log_softmax(-1).gather(1, targets[:, None])[:, 0]
        else:
            values, _ = token_logprobs(s, Head(h), targets, temperature)
        (values * weight).sum().backward()
        assert s.grad is not None
        assert h.grad is not None
        grads.append((values.detach(), s.grad, h.grad))
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_entropy_is_that_of_the_full_distribution() -> None:
    states, head = torch.randn(4, 8, generator=rng(1)), torch.randn(VOCAB, 8, generator=rng(2))
    _, entropy = token_logprobs(states, Head(head), torch.zeros(4, dtype=torch.long), 0.7)
    full = (states @ head.T / 0.7).log_softmax(-1)
    assert torch.allclose(entropy, -(full.exp() * full).sum(-1), atol=1e-5)


def test_scores_do_not_depend_on_who_else_is_in_the_batch() -> None:
    model = scalar(llama())
    rows = sequences([7, 20, 3, 12] * 10)
    together = scores(model, pack(rows), dtype=FP32)
    alone = torch.cat([scores(model, pack([row]), dtype=FP32) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)
    assert alone.std() > 0.1


def test_a_scorer_keeps_the_order_and_the_right_end() -> None:
    model = scalar(llama())
    prompts, responses = sequences([9, 2, 5]), sequences([3, 8, 1], seed=9)
    scorer = RewardModel(model, dtype=FP32, max_tokens=6, batch_tokens=8)
    (long, _, third), (three, eight, one) = prompts, responses
    ends = [[*long[-3:], *three], [prompts[1][-1], *eight], [*third, *one]]  # a prompt is cut on its left, a response never
    assert torch.allclose(scorer.score(prompts, responses), scores(model, pack(ends), dtype=FP32), atol=1e-5)


def test_mean_loss_weights_tokens_not_rows() -> None:
    model, rows = llama(), sequences([3, 25, 8])
    each = [next_token_loss(model, pack([row]), dtype=FP32).item() for row in rows]
    by_tokens_ = sum(loss * (len(row) - 1) for loss, row in zip(each, rows, strict=True)) / sum(len(row) - 1 for row in rows)
    assert mean_loss(model, rows, dtype=FP32, batch_tokens=20) == pytest.approx(by_tokens_, rel=1e-5)


def test_bf16_products_stay_near_fp32() -> None:
    model, batch = llama(std=0.1), pack(sequences([20, 30]))
    with torch.no_grad():
        exact, rough = logprobs(model, batch, dtype=FP32)[0], logprobs(model, batch, dtype=torch.bfloat16)[0]
    assert 0 < (exact - rough).abs().mean() < 0.03


def test_bf16_logits_are_divided_by_the_temperature_in_float32() -> None:
    """As the sampler does it; divided in bfloat16, they would be rounded twice, and the two would differ by a hundredth of a nat."""
    states, head = (4 * torch.randn(rows, 8, generator=rng(rows)).to(torch.bfloat16) for rows in (12, VOCAB))
    targets = torch.randint(VOCAB, (12,), generator=rng(3))
    found, entropy = token_logprobs(states, Head(head), targets, 0.7)
    expected = ((states @ head.T).float() / 0.7).log_softmax(-1)
    assert torch.allclose(found, expected.gather(1, targets[:, None])[:, 0], atol=1e-4)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-4)


@pytest.mark.parametrize("elements", [40, 2**21])
@pytest.mark.parametrize(("scale", "cap"), [(0.25, 0.0), (1.0, 3.0), (2.0, 1.5)])
def test_a_head_with_bias_scale_and_soft_cap_is_the_full_softmax_with_its_gradients(
    scale: float, cap: float, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.models.policy.CHUNK_ELEMENTS", elements)
    drawn = [torch.randn(shape, generator=rng(i)) for i, shape in enumerate([(10, 8), (VOCAB, 8), (VOCAB,)])]
    targets, weight = torch.randint(VOCAB, (10,), generator=rng(3)), torch.randn(10, generator=rng(4))
    found: list[list[torch.Tensor]] = []
    for full in (False, True):
        states, head, bias = (x.clone().requires_grad_() for x in drawn)
        if full:
            logits = (states @ head.T + bias) * scale
            logits = torch.tanh(logits / cap) * cap if cap else logits
            values = (logits / 0.7).log_softmax(-1).gather(1, targets[:, None])[:, 0]
        else:
            values, _ = token_logprobs(states, Head(head, bias, scale, cap), targets, 0.7)
        (values * weight).sum().backward()
        found.append([values.detach(), *(x.grad for x in (states, head, bias) if x.grad is not None)])
    assert len(found[0]) == 4
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def heads() -> dict[str, tuple[Any, float, float]]:
    """Models whose heads are more than a matrix, each with its scale and its soft cap."""
    import transformers as t

    gated = {**BROAD, "intermediate_size": 24}
    return {
        "granite": (t.GraniteForCausalLM(t.GraniteConfig(**gated, logits_scaling=4.0)), 0.25, 0.0),
        "hyperclovax": (t.HyperCLOVAXForCausalLM(t.HyperCLOVAXConfig(**gated, logits_scaling=4.0)), 4.0, 0.0),
        "cohere": (t.CohereForCausalLM(t.CohereConfig(**gated, logit_scale=0.0625)), 0.0625, 0.0),
        "gemma2": (t.Gemma2ForCausalLM(t.Gemma2Config(**gated, final_logit_softcapping=30.0)), 1.0, 30.0),
        "llama": (t.LlamaForCausalLM(t.LlamaConfig(**gated, final_logit_softcapping=30.0)), 1.0, 0.0),
    }


@pytest.mark.parametrize("name", list(heads()))
def test_a_heads_numbers_are_those_that_the_model_heeds(name: str) -> None:
    model, scale, cap = heads()[name]
    head = head_of(prepared(model))
    assert (head.scale, head.cap) == (scale, cap)


def test_a_heads_numbers_are_found_in_bfloat16_too() -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    model = GraniteForCausalLM(GraniteConfig(**BROAD, intermediate_size=24, logits_scaling=3.0)).to(torch.bfloat16)
    assert head_of(model).scale == pytest.approx(1 / 3)


def test_a_head_that_is_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    forward = type(model).forward

    def squared(self: Any, **given: Any) -> Any:
        out = forward(self, **given)
        return type(out)(logits=out.logits**2)

    monkeypatch.setattr(type(model), "forward", squared)
    with pytest.raises(ModelError, match="llama: this architecture's head is more than"):
        head_of(model)


def test_a_first_token_cannot_be_learned() -> None:
    with pytest.raises(InputError, match="sequence 1"):
        pack([[1, 2], [3, 4]], [1, 2])
    with pytest.raises(InputError, match="sequence 0"):
        pack([[]])


def test_padding_and_grouping_lose_nothing() -> None:
    flat, lengths = torch.arange(6.0), torch.tensor([2, 0, 4])
    assert pad(flat, lengths).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [2, 3, 4, 5]]
    groups = list(by_tokens([5, 50, 3, 8, 4], 10))
    assert sorted(index for group in groups for index in group) == [0, 1, 2, 3, 4]
    assert all(len(group) == 1 or sum([5, 50, 3, 8, 4][i] for i in group) <= 10 for group in groups)


def adapted_pair() -> tuple[Any, Any]:
    """A model with adapters that say something, and the same as transformers and peft run it themselves."""
    torch.manual_seed(5)
    model, plain = (add_lora(model, 4, rng(1)) for model in (llama(), plain_copy(llama())))
    for one in (model, plain):
        with torch.no_grad():
            for name, parameter in one.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng(len(name))))
    return model, plain


def test_adapters_take_the_short_path_with_the_states_and_gradients_of_pefts_own_forward() -> None:
    model, plain = adapted_pair()
    assert is_llama_shaped(model.base_model)
    rows = sequences([5, 9, 2, 17])
    ours = logprobs(model, pack(rows), dtype=FP32)[0]
    logits = [plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1) for row in rows]
    theirs = torch.cat([one.gather(1, torch.tensor(row)[1:, None])[:, 0] for one, row in zip(logits, rows, strict=True)])
    assert torch.allclose(ours, theirs, atol=5e-5)
    ours.mean().backward()
    theirs.mean().backward()
    wanted = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.requires_grad}
    assert wanted
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, wanted[name], atol=1e-5, rtol=1e-4), name


def test_fresh_adapters_are_the_reference_to_the_last_bit_in_bfloat16() -> None:
    batch = pack(sequences([5, 9, 2, 17]))
    reference = logprobs(llama(), batch, dtype=torch.bfloat16)[0]
    assert torch.equal(logprobs(add_lora(llama(), 4, rng(1)), batch, dtype=torch.bfloat16)[0], reference)
