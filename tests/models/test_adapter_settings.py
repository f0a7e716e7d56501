"""Adapters as peft makes them: their scale, and the layers that they are put on, by name, by expression or all of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny import FP32, llama, rng, scalar, sequences

from accord.errors import UsageError
from accord.models.adapters import add_lora
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.quantised import quantised, weights_in
from accord.settings import DpoConfig, SftConfig

ROW = sequences([9])[0]


def filled(model: Any) -> Any:
    """Give every adapter weights that change the output."""
    generator = rng(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def plain(model: Any) -> Any:
    """The same weights in transformers' own model, whose attention nothing of ours has touched."""
    from transformers import LlamaForCausalLM

    copy = LlamaForCausalLM._from_config(deepcopy(model.config), attn_implementation="eager").eval()
    copy.load_state_dict(model.state_dict())
    return copy


def said(model: Any) -> torch.Tensor:
    """What transformers' forward pass says of each token of the row after the first."""
    with torch.no_grad():
        return model(torch.tensor([ROW])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(ROW)[1:, None])[:, 0]


def adapted(model: Any) -> set[str]:
    return {name for name, module in model.named_modules() if hasattr(module, "lora_A")}


@pytest.mark.parametrize(("rank", "alpha", "scale"), [(4, 0.0, 2.0), (4, 4.0, 1.0), (4, 2.0, 0.5), (8, 0.0, 2.0)])
def test_the_scale_is_alpha_over_rank_as_peft_has_it(rank: int, alpha: float, scale: float) -> None:
    """A model that peft itself adapted says the same with our weights. A scale of another size would be seen."""
    from peft import LoraConfig, inject_adapter_in_model

    ours = filled(add_lora(llama(), rank, rng(1), alpha=alpha))
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    theirs = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=int(scale * rank), target_modules=names), plain(llama())).eval()
    theirs.load_state_dict(ours.state_dict())
    found = logprobs(ours, pack([ROW]), dtype=FP32)[0]
    assert torch.allclose(found, said(theirs), atol=1e-5)
    assert (found - said(plain(llama()))).abs().max() > 1e-2, "the adapters say nothing, so a wrong scale would not be seen"


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("q_proj, v_proj", {"q_proj", "v_proj"}),
        ("q_proj v_proj", {"q_proj", "v_proj"}),
        ("down_proj", {"down_proj"}),
        (r".*self_attn\.[qk]_proj", {"q_proj", "k_proj"}),
        ("all-linear", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
    ],
)
def test_targets_are_names_or_an_expression_as_peft_takes_them(targets: str, names: set[str]) -> None:
    model = add_lora(llama(), 2, rng(1), targets=targets)
    assert {name.rpartition(".")[2] for name in adapted(model)} == names
    assert len(adapted(model)) == 2 * len(names), "in both layers"
    learns = {name.split(".lora_")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == adapted(model)


def test_one_layer_alone_can_be_named_by_an_expression() -> None:
    assert adapted(add_lora(llama(), 2, rng(1), targets=r"model\.layers\.0\.mlp\..*_proj")) == {
        f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")
    }


def test_the_fused_path_and_the_modules_agree_where_only_some_layers_are_adapted() -> None:
    fused, modules = (filled(add_lora(model, 2, rng(1), targets="v_proj, down_proj")) for model in (llama(), plain(llama())))
    assert torch.allclose(logprobs(fused, pack([ROW]), dtype=FP32)[0], said(modules), atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "part"),
    [
        ("query", "no layer of the model matches 'query'"),
        ("[", "is no regular expression"),
        ("lm_head", "lm_head takes no adapter"),
        ("embed_tokens", "embed_tokens takes no adapter"),
        (r".*norm", "takes no adapter"),
        (r"score", "score takes no adapter"),
    ],
)
def test_targets_that_cannot_be_are_refused_with_those_that_the_model_has(targets: str, part: str) -> None:
    model = scalar(llama()) if targets == "score" else llama()
    with pytest.raises(UsageError) as error:
        add_lora(model, 2, rng(1), targets=targets)
    assert part in error.value.what
    assert error.value.where == "lora_targets"
    assert targets == "[" or "q_proj" in error.value.hint


def test_settings_of_adapters_without_adapters_are_refused() -> None:
    for asked in ({"lora_alpha": 8.0}, {"lora_targets": "q_proj"}):
        with pytest.raises(UsageError, match="lora_rank is 0"):
            SftConfig(**asked)
    assert DpoConfig(lora_rank=4, lora_alpha=8.0, lora_targets="q_proj").lora_alpha == 8


def test_the_weights_of_a_model_are_counted_whether_they_are_in_four_bits_or_not() -> None:
    model = llama(layers=1)
    expected = model.num_parameters()
    assert weights_in(model) == expected
    assert weights_in(quantised(model)) == expected
