"""Attention within each sequence, while everything around it runs on tokens laid end to end.

A decoder's layers work on each token alone, except for attention. So a forward pass here takes flat tokens [tokens] and an
``Attend``, which is called with the layer's queries, keys and values and knows which token belongs to which sequence. Training,
prefill and decoding differ in nothing else. The same object reaches any architecture of transformers through its
AttentionInterface, where ``attend`` travels as a keyword.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

NAME = "accord"


class Attend(Protocol):
    """Attention of one forward pass."""

    def __call__(
        self, layer: int, q: Float[Tensor, "tokens heads dim"], k: Float[Tensor, "tokens kv dim"], v: Float[Tensor, "tokens kv dim"]
    ) -> Float[Tensor, "tokens heads dim"]: ...


class RaggedAttention:
    """Causal attention within each of the sequences laid end to end.

    Sequences of similar length share a rectangle, right-padded: under a causal mask no real query can see a pad, so no mask is
    needed at all. In float32, because bf16 attention's backward pass is slow on CPU.
    """

    def __init__(self, lengths: Int[Tensor, " rows"]) -> None:
        starts = lengths.cumsum(0) - lengths
        order = lengths.argsort()
        groups = min(max(len(order) // 16, 1), 8)
        self.rectangles = [_Rectangle(starts[rows], lengths[rows]) for rows in order.tensor_split(groups)]
        self.back = torch.cat([rectangle.tokens for rectangle in self.rectangles]).argsort()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dtype = q.dtype
        out = torch.cat([rectangle.attend(q.float(), k.float(), v.float()) for rectangle in self.rectangles])
        return out.index_select(0, self.back).to(dtype)


class _Rectangle:
    def __init__(self, starts: Tensor, lengths: Tensor) -> None:
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        keep = steps < lengths[:, None]
        self.tokens = (starts[:, None] + steps)[keep]
        self.slots = keep.flatten().nonzero().squeeze(1)
        self.shape = keep.shape

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(self._pad(q), self._pad(k), self._pad(v), is_causal=True, enable_gqa=grouped)
        return out.transpose(1, 2).flatten(0, 1).index_select(0, self.slots)

    def _pad(self, x: Tensor) -> Tensor:
        rows, steps = self.shape
        padded = x.new_zeros(rows * steps, *x.shape[1:]).index_copy(0, self.slots, x.index_select(0, self.tokens))
        return padded.view(rows, steps, *x.shape[1:]).transpose(1, 2)


def _attend_for_transformers(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, attend: Attend, **others: Any
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; shapes there are [1, heads, tokens, dim]."""
    scaling = others.get("scaling")
    natural = query.shape[-1] ** -0.5
    if scaling is not None and abs(scaling - natural) > 1e-9:
        query = query * (scaling / natural)
    layer = int(getattr(module, "layer_idx"))  # noqa: B009 - an attribute of every architecture's attention that nn.Module does not type
    out = attend(layer, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
    return out[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """What transformers builds instead of a mask: nothing."""


def register() -> str:
    """Makes ``attend`` known to transformers under the name it returns, and keeps its own progress bars out of ours."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.utils import logging

    logging.disable_progress_bar()

    AttentionInterface.register(NAME, _attend_for_transformers)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME
