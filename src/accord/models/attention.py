"""Attention within each sequence, while everything around it runs on tokens laid end to end.

A decoder's layers work on each token alone, except for attention. So a forward pass here takes flat tokens [tokens] and an
``Attend``, which is called with the layer's queries, keys and values and knows which token belongs to which sequence. Training,
prefill and decoding differ in nothing else. The same object reaches any architecture of transformers through its
AttentionInterface, where ``attend`` travels as a keyword.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

NAME = "accord"

ROWS = 8
"""Sequences per rectangle. Fewer means less padding but more kernel calls."""


class Attend(Protocol):
    """Attention of one forward pass."""

    def __call__(
        self, layer: int, q: Float[Tensor, "tokens heads dim"], k: Float[Tensor, "tokens kv dim"], v: Float[Tensor, "tokens kv dim"]
    ) -> Float[Tensor, "tokens heads dim"]: ...


class PackedAttention:
    """Causal attention within each of the sequences laid end to end.

    Sequences of similar length share a rectangle, right-padded: under a causal mask no real query can see a pad, so no mask is
    needed at all, and it does not matter what a pad holds. In float32, because bf16 attention's backward pass is slow on CPU.
    """

    def __init__(
        self, lengths: Int[Tensor, " rows"], device: torch.device | None = None, index: Int[Tensor, " laid"] | None = None
    ) -> None:
        """Lay out the rectangles on the host, and move the layout to the device (by default that of ``lengths``). Give lengths on the CPU
        and a device: a device that holds them is asked for them.

        Args:
            index: which of the given tokens stands at each place of the rows laid end to end, on the CPU, where rows share some
                (``packing.Shared``); by default each has its own. A shared token is seen in each of its rows, and the first answers.
        """
        device, lengths = device or lengths.device, lengths.cpu()
        if not len(lengths):  # `hidden` runs one token in place of none
            lengths = torch.ones(1, dtype=torch.long)
        self.lengths = lengths
        starts = lengths.cumsum(0) - lengths
        order = lengths.argsort(stable=True)
        groups = min(max(len(order) // ROWS, 1), 8)
        self.shapes: list[tuple[int, int]] = []
        tokens, keeps = list[Tensor](), list[Tensor]()
        for rows in order.tensor_split(groups):
            steps = torch.arange(int(lengths[rows].max()))
            keep = steps < lengths[rows, None]
            self.shapes.append((len(rows), len(steps)))
            tokens.append(torch.where(keep, starts[rows, None] + steps, 0).flatten())
            keeps.append(keep.flatten())
        slots = torch.cat(keeps).nonzero().squeeze(1)
        flat = torch.cat(tokens)
        if index is not None:
            flat = index.index_select(0, flat)
        owners = flat.index_select(0, slots)
        answers = torch.full((int(owners.max()) + 1,), len(flat)).scatter_reduce_(0, owners, slots, "amin")
        self.tokens = flat.to(device)
        """The token in each slot of the rectangles, laid end to end; any token in a pad."""
        self.slots = answers.to(device)
        """The slot of each token; of one that rows share, the first."""
        self.others = None if index is None else slots[answers.index_select(0, owners) != slots].to(device)
        """The other slots of shared tokens."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        spread = (self._rectangles(x.float()) for x in (q, k, v))
        out = [_attend(*qkv) for qkv in zip(*spread, strict=True)]
        return torch.cat(out).index_select(0, self.slots).to(q.dtype)

    def _rectangles(self, x: Tensor) -> list[Tensor]:
        spread = _spread(x, self.tokens, self.slots, self.others)
        parts = spread.split_with_sizes([rows * steps for rows, steps in self.shapes])
        return [part.view(*shape, *x.shape[1:]).transpose(1, 2) for part, shape in zip(parts, self.shapes, strict=True)]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).flatten(0, 1)


class _Spread(torch.autograd.Function):
    """Scatter tokens into slots. A pad gets no gradient, so a token's gradient is that of its own slot, and of the other slots of a token
    that rows share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, slots: Tensor, others: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.tokens, ctx.slots, ctx.others = tokens, slots, others
        return x.index_select(0, tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        own = grad.index_select(0, ctx.slots)
        if ctx.others is not None:
            own.index_add_(0, ctx.tokens.index_select(0, ctx.others), grad.index_select(0, ctx.others))
        return own, None, None, None


def _spread(x: Tensor, tokens: Tensor, slots: Tensor, others: Tensor | None) -> Tensor:
    return cast("Any", _Spread).apply(x, tokens, slots, others)


def _attend_for_transformers(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, attend: Attend, **others: Any
) -> tuple[Tensor, None]:
    """Serve as the attention function that transformers calls in every layer. Shapes there are [1, heads, tokens, dim]."""
    scaling = others.get("scaling")
    natural = query.shape[-1] ** -0.5
    if scaling is not None and abs(scaling - natural) > 1e-9:
        query = query * (scaling / natural)
    layer = int(getattr(module, "layer_idx"))  # noqa: B009 - an attribute of every architecture's attention that nn.Module does not type
    out = attend(layer, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
    return out[None], None


def register() -> str:
    """Register ``attend`` with transformers under the name returned here, and hide transformers' own progress bars.

    No mask function is registered under that name: transformers then builds no mask, and does not look at positions for one.
    """
    from transformers import AttentionInterface
    from transformers.utils import logging

    logging.disable_progress_bar()

    AttentionInterface.register(NAME, _attend_for_transformers)
    return NAME
