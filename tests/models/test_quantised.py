"""Four-bit weights under adapters, and layers computed again: the levels, what a model in them says, gradients, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import FP32, chat, llama, rng, same, scalar, sequences, weights
from torch import Tensor

from accord.errors import UsageError
from accord.models.adapters import add_lora, merge_lora, sharing
from accord.models.decoder import recomputing
from accord.models.folders import load_causal_lm, save_model
from accord.models.packing import pack
from accord.models.policy import logprobs, mean_loss
from accord.models.quantised import BLOCK, Linear4, is_plain, levels, packed, quantised, unpacked
from accord.models.scalar import scores
from accord.settings import DpoConfig, PpoConfig

PAPER = [
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
]  # fmt: skip
"""Dettmers et al. 2023, appendix E."""
ROWS = sequences([5, 9, 2, 17])


def test_the_levels_are_the_papers() -> None:
    assert levels().tolist() == pytest.approx(PAPER, abs=2e-6)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
def test_a_weight_comes_back_as_its_nearest_level(rows: int, columns: int, seed: int) -> None:
    weight = torch.randn(rows, columns, generator=rng(seed))
    codes, scales = packed(weight)
    found = unpacked(codes, scales, weight.shape)
    of_block = scales.repeat_interleave(BLOCK)[: weight.numel()].view_as(weight)
    nearest = (weight[..., None] / of_block[..., None] - levels()).abs().amin(-1) * of_block
    assert torch.allclose((found - weight).abs(), nearest, atol=1e-6)
    again = packed(found)
    assert torch.equal(unpacked(*again, weight.shape), found)
    assert codes.dtype is torch.uint8
    assert len(codes) == len(scales) * BLOCK // 2


def test_a_body_takes_a_seventh_of_the_memory_and_says_nearly_the_same() -> None:
    def held(model: Any) -> int:
        every = {name: x for name, x in model.base_model.layers.state_dict().items() if "norm" not in name}
        return sum(x.numel() * x.element_size() for x in every.values())

    plain, small = llama(hidden=64, std=0.1), quantised(llama(hidden=64, std=0.1))
    assert held(small) < held(plain) / 7
    assert not any(isinstance(module, Linear4) for module in (small.lm_head, small.get_input_embeddings()))
    before, after = (mean_loss(model, ROWS, dtype=FP32) for model in (plain, small))
    assert 0 < abs(after - before) < 0.05


def said(model: Any) -> Tensor:
    return logprobs(model, pack(ROWS), dtype=FP32)[0]


def test_fresh_adapters_over_four_bits_are_the_reference_and_merged_they_are_the_policy(tmp_path: Path) -> None:
    """T21: the KL is 0 at step 0, because the reference is the same four-bit weights; and what is saved is what was trained."""
    reference = quantised(llama(vocab=300))
    policy = add_lora(sharing(reference), 2, rng(1))
    assert torch.equal(said(policy), said(reference))
    said(policy).mean().backward()
    learns = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert learns
    assert all("lora_" in name for name in learns)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng(len(name))))
    trained, before = said(policy).detach(), said(reference).detach()
    assert (trained - before).abs().max() > 0.01
    save_model(tmp_path / "m", merge_lora(policy), chat().tokenizer)
    assert torch.equal(said(reference), before)
    opened = load_causal_lm(tmp_path / "m")
    assert weights(opened).keys() == weights(llama(vocab=300)).keys()
    assert torch.allclose(said(opened), trained, atol=1e-5)


def test_a_reward_model_in_four_bits_still_trains_its_head() -> None:
    model = add_lora(quantised(scalar(llama())), 2, rng(1))
    scores(model, pack(ROWS), dtype=FP32).sum().backward()
    assert model.score.weight.grad.abs().max() > 0


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    from accord.models.folders import prepared

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=60, n_embd=16, n_layer=3, n_head=4, n_positions=64, eos_token_id=1, bos_token_id=1)
    return prepared(GPT2LMHeadModel(config))


MADE: dict[str, Any] = {
    "llama": lambda: llama(layers=3),
    "adapters": lambda: add_lora(llama(layers=3), 2, rng(1)),
    "four bits": lambda: add_lora(quantised(llama(layers=3)), 2, rng(1)),
    "gpt2": gpt2,
}


def learned(model: Any) -> tuple[Tensor, dict[str, Tensor], int]:
    """Log-probabilities, gradients, and the bytes that were kept between the two passes beside the parameters."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found = said(model)
    (found * torch.linspace(-1, 1, len(found))).sum().backward()
    return found.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("name", MADE)
def test_layers_computed_again_give_the_same_gradients_out_of_less_memory(name: str) -> None:
    plain, again = learned(MADE[name]()), learned(recomputing(MADE[name]()))
    assert torch.equal(plain[0], again[0])
    assert plain[1].keys() == again[1].keys()
    for parameter, grad in plain[1].items():
        assert torch.allclose(grad, again[1][parameter], atol=1e-6, rtol=1e-5), parameter
    assert again[2] < plain[2] / 2


def test_a_folder_is_quantised_out_of_the_precision_it_is_stored_in(tmp_path: Path) -> None:
    """The same bits as by way of float32, of which the body never takes the memory."""
    save_model(tmp_path / "m", llama(vocab=300).bfloat16(), chat().tokenizer)
    direct, by_way = load_causal_lm(tmp_path / "m", bits=4), quantised(load_causal_lm(tmp_path / "m"))
    assert same(direct.state_dict(), by_way.state_dict())
    assert torch.equal(said(direct), said(by_way))


def test_a_body_without_linear_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="no linear layers"):
        quantised(gpt2())


@pytest.mark.parametrize(
    ("kind", "asked", "part"),
    [(DpoConfig, {"lora_bits": 8, "lora_rank": 2}, "lora_bits is 8"), (PpoConfig, {"lora_bits": 4}, "lora_rank 0")],
)
def test_settings_that_cannot_work_are_refused(kind: Any, asked: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        kind(**asked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_linear_layer_of_another_class_is_plain_if_it_returns_its_product(dtype: torch.dtype) -> None:
    from transformers.models.falcon.modeling_falcon import FalconLinear
    from transformers.models.llama4.modeling_llama4 import Llama4Router, Llama4TextConfig

    assert is_plain(FalconLinear(64, 64).to(dtype))
    assert not is_plain(Llama4Router(Llama4TextConfig(hidden_size=64, num_local_experts=4)).to(dtype))
