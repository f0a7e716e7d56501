"""What our numbers are compared with TRL's on: rows, rewards, the same weights in transformers' own forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import chat, llama, rng, sequences, weights
from torch import Tensor

SPOKEN = chat()
VOCAB = len(SPOKEN.tokenizer)
PROMPTS = [row for row in sequences([4, 6], seed=1, vocab=VOCAB) for _ in range(3)]
RESPONSES = sequences([3, 5, 2, 7, 1, 4], seed=9, vocab=VOCAB)
REWARDS = torch.randn(6, generator=rng(4))


def plain(seed: int) -> Any:
    """Our tiny model's weights in transformers' own forward pass."""
    from transformers import LlamaForCausalLM

    ours = llama(seed, vocab=VOCAB)
    config = ours.config.__class__.from_dict({**ours.config.to_dict()})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    model.load_state_dict(ours.state_dict())
    return model


def agree(loss: float, grads: dict[str, Tensor], other: float, expected: dict[str, Tensor]) -> None:
    assert loss == pytest.approx(other, rel=1e-5, abs=1e-5)
    assert grads.keys() == expected.keys() <= weights(llama(1, vocab=VOCAB)).keys()
    for name, grad in grads.items():
        assert torch.allclose(grad, expected[name], rtol=1e-4, atol=1e-5), name
    assert max(grad.abs().max().item() for grad in grads.values()) > 1e-3
