"""A ranking whose responses do not fit into one pass: the same loss and gradients as in one, and only a part's activations kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import FP32, llama, scalar, sequences
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from accord.algorithms import dpo, reward
from accord.algorithms.dpo import Known, ranked_responses
from accord.algorithms.reward import RankedRows
from accord.data.token_rows import RowWindow
from accord.models.adapters import add_lora
from accord.models.decoder import recomputing
from accord.runtime.seeds import generator
from accord.settings import DpoConfig

LENGTHS, RANKS = [12, 7, 9, 11, 5, 8, 10, 6, 9], [3, 1, 2, 2, 5, 4, 6, 7, 8]
LONGEST = 6 + max(LENGTHS)
ALL = sum(6 + length for length in LENGTHS)


def reward_loss(model: Any, micro_tokens: int) -> Tensor:
    rows = [[*sequences([6], seed=1)[0], *response] for response in sequences(LENGTHS, seed=2)]
    return sum(reward._accumulate(model, [RankedRows(rows, RANKS)], None, micro_tokens, FP32)[0], torch.zeros(()))


def dpo_loss(model: Any, micro_tokens: int) -> Tensor:
    ranked = ranked_responses(sequences([6], seed=1)[0], sequences(LENGTHS, seed=2), RANKS, RowWindow(64), "a")
    config = DpoConfig(micro_tokens=micro_tokens)
    losses = [part.loss for part in dpo._passes(config, model, [Known(ranked, torch.linspace(-9, -8, 9))], FP32)]
    for loss in losses:
        loss.backward()
    return sum((loss.detach() for loss in losses), torch.zeros(()))


def judge() -> Any:
    return scalar(llama())


def adapted(model: Any) -> Any:
    model = add_lora(model, 2, generator(0, "lora"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator(1, name))
    return model


MODELS: dict[str, Callable[[Any], Any]] = {"all weights": lambda model: model, "adapters": adapted, "recomputed": recomputing}


def measured(loss: Callable[[Any, int], Tensor], make: Callable[[], Any], micro_tokens: int) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss, the gradients, and the most numbers that were kept for the backward pass at once."""
    model, kept, most = make(), dict[int, int](), [0]

    def keep(tensor: Tensor) -> Tensor:
        kept[id(tensor)] = tensor.numel()
        most[0] = max(most[0], sum(kept.values()))
        return tensor

    def take(tensor: Tensor) -> Tensor:
        kept.pop(id(tensor), None)
        return tensor

    with saved_tensors_hooks(keep, take):
        found = loss(model, micro_tokens)
    return found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, most[0]


@pytest.mark.parametrize("how", MODELS)
@pytest.mark.parametrize(("loss", "base"), [(reward_loss, judge), (dpo_loss, llama)], ids=["reward", "dpo"])
def test_the_gradients_of_a_ranking_in_parts_are_those_of_the_whole(loss: Any, base: Any, how: str) -> None:
    whole, expected, _ = measured(loss, lambda: MODELS[how](base()), 10_000)
    for limit in (1, LONGEST, ALL // 2):
        value, found, _ = measured(loss, lambda: MODELS[how](base()), limit)
        torch.testing.assert_close(value, whole, rtol=1e-6, atol=1e-7)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("loss", "base"), [(reward_loss, judge), (dpo_loss, llama)], ids=["reward", "dpo"])
def test_the_forward_pass_of_parts_keeps_far_less(loss: Any, base: Any) -> None:
    _, _, whole = measured(loss, base, 10_000)
    _, _, part = measured(loss, base, LONGEST)
    assert part < whole / 2
