"""The memory plan against what models really hold: weights, adapters, and what the forward pass keeps for the backward pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import FP32, rng
from torch import Tensor

from accord.models.adapters import add_lora, trainable
from accord.models.decoder import recomputing
from accord.models.folders import prepared, scalar_from
from accord.models.memory import PLANNED, PROCESS, Load, Plan, Shape, plan, shape_in
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.quantised import quantised
from accord.models.scalar import new_head
from accord.runtime.project import sections
from accord.settings import DistillConfig, DpoConfig, GrpoConfig, OnlineDpoConfig, PpoConfig, RewardConfig, SftConfig

ROWS, LENGTH = 8, 64
BACKWARD = "the backward pass begins"


def made(kind: str, layers: int = 2) -> Any:
    import transformers as hf

    torch.manual_seed(0)
    sizes = {"vocab_size": 2000, "hidden_size": 128, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 320, "tie_word_embeddings": kind != "untied", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    match kind:
        case "gpt2":
            ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
            model: Any = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=2000, n_embd=128, n_layer=layers, n_head=4, n_inner=320, **ends))
        case "qwen2":
            model = hf.Qwen2ForCausalLM(hf.Qwen2Config(**sizes))
        case "mixtral":
            model = hf.MixtralForCausalLM(hf.MixtralConfig(**sizes, num_local_experts=4, num_experts_per_tok=2))
        case _:
            model = hf.LlamaForCausalLM(hf.LlamaConfig(**sizes))
    return prepared(model)


KINDS = ["llama", "untied", "qwen2", "gpt2", "mixtral"]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:The following rank_pattern")
@pytest.mark.parametrize("kind", KINDS)
def test_it_counts_the_weights_of_a_model_and_of_its_adapters(kind: str) -> None:
    model = made(kind)
    shape = shape_in(model)
    assert shape.weights == sum(parameter.numel() for parameter in model.parameters())
    assert shape.body == sum(parameter.numel() for parameter in model.base_model.parameters())
    if kind != "mixtral":
        assert trainable(add_lora(model, 3, rng())) == 3 * shape.sides


def kept(model: Any, dtype: torch.dtype, rows: int) -> int:
    """The bytes that a forward pass keeps beside the parameters."""
    held: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    alive: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        alive.append(x)
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        logprobs(model, pack([list(range(5 + row, 5 + row + LENGTH)) for row in range(rows)]), dtype=dtype)
    return sum(held.values())


def sft(rows: int, **asked: Any) -> SftConfig:
    return SftConfig(batch_size=rows, max_tokens=LENGTH, micro_tokens=rows * LENGTH, ptx_tokens=0, **asked)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("dtype", [FP32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_activations_and_casts_are_those_that_the_forward_pass_keeps(kind: str, dtype: torch.dtype, again: bool) -> None:
    """Two more layers and twice the tokens, so that what is kept once cancels out."""

    def measured(layers: int, rows: int) -> int:
        model = made(kind, layers)
        return kept(recomputing(model) if again else model, dtype, rows)

    def planned(layers: int, rows: int) -> float:
        shape = shape_in(made(kind, layers))
        parts = plan(shape, Load("sft", sft(rows, recompute=again), dtype.itemsize)).parts
        return parts["activations"] + (0 if again else parts.get("casts", 0))

    def slope(of: Any) -> float:
        return (of(4, 2 * ROWS) - of(2, 2 * ROWS)) - (of(4, ROWS) - of(2, ROWS))

    assert slope(planned) == pytest.approx(slope(measured), rel=0.05)
    if not again and kind != "mixtral":
        assert planned(4, ROWS) - planned(2, ROWS) == pytest.approx(measured(4, ROWS) - measured(2, ROWS), rel=0.05)


def test_four_bits_take_what_a_quantised_model_takes() -> None:
    model = made("llama")
    shape, load = shape_in(model), Load("sft", sft(8, lora_rank=1, lora_bits=4))
    small = quantised(model)
    held = sum(x.numel() * x.element_size() for x in (*small.parameters(), *small.buffers()))
    assert plan(shape, load).parts["policy"] - 4 * shape.sides == pytest.approx(held, rel=0.01)


def test_the_models_of_a_method_are_those_that_its_command_holds() -> None:
    shape = shape_in(made("llama"))
    lm, scalar = 4 * shape.weights, 4 * (shape.body + shape.width)
    assert sum(p.numel() for p in scalar_from(made("llama"), new_head(128, rng())).parameters()) * 4 == scalar
    rollout: dict[str, Any] = {"batch_size": 8, "minibatch_size": 8}

    def held(method: str, config: Any) -> float:
        parts = plan(shape, Load(method, config)).parts
        return sum(parts.get(name, 0) for name in ("policy", "reference", "value model", "reward model", "reward models"))

    assert held("dpo", DpoConfig()) == lm
    assert held("reward", RewardConfig()) == scalar
    assert held("ppo", PpoConfig(**rollout)) == 2 * lm + 2 * scalar
    assert held("grpo", GrpoConfig(**rollout)) == 2 * lm + scalar
    assert held("ppo", PpoConfig(**rollout, lora_rank=1)) == lm + scalar + 2 * 4 * shape.sides


def test_a_teacher_is_held_beside_the_student_and_may_be_in_four_bits() -> None:
    shape = shape_in(made("llama"))
    teacher = replace(shape, matrices=10 * shape.matrices)
    alone, beside = (plan(shape, Load("distill", DistillConfig(), teacher=each)) for each in (None, teacher))
    assert (alone.parts["teacher"], beside.parts["teacher"]) == (4 * shape.weights, 4 * teacher.weights)
    assert alone.parts["policy"] == beside.parts["policy"] == 4 * shape.weights
    assert "reference" not in alone.parts
    small = plan(shape, Load("distill", DistillConfig(teacher_bits=4), teacher=teacher), advise=True)
    held = sum(x.numel() * x.element_size() for x in (lambda model: (*model.parameters(), *model.buffers()))(quantised(made("llama"))))
    own = plan(shape, Load("distill", DistillConfig(teacher_bits=4)))
    assert own.parts["teacher"] == pytest.approx(held, rel=0.01)
    assert small.total < beside.total
    assert not any("teacher-bits" in change for change, _ in small.advice)
    assert "drawing responses" not in plan(shape, Load("distill", DistillConfig(on_policy=0))).moments


def total(shape: Shape, load: Load, **change: Any) -> Plan:
    return plan(shape, replace(load, config=replace(load.config, **change)), advise=True)


@pytest.mark.parametrize("method", PLANNED)
def test_every_method_has_a_plan_whose_advice_makes_it_smaller(method: str) -> None:
    shape = shape_in(made("llama"))
    load = Load(method, sections()[method]())
    found = total(shape, load)
    assert found.total == max(found.moments.values()) > PROCESS["cpu"]
    assert found.advice
    assert all(saved > 0 for _, saved in found.advice)
    for change in ({"recompute": True}, {"micro_tokens": 1024}):
        assert total(shape, load, **change).moments[BACKWARD] < found.moments[BACKWARD]
    assert "memory: about" in found.line()


def test_advice_on_smaller_batches_keeps_a_minibatch_of_pairs_within_them() -> None:
    config = OnlineDpoConfig(batch_size=32, minibatch_size=16)
    assert total(shape_in(made("llama")), Load("online-dpo", config)).advice
