"""Attention within each sequence, while everything around it runs on tokens laid end to end.

A decoder's layers work on each token alone, except for attention. So a forward pass here takes flat tokens [tokens] and an
``Attend``, which is called with the layer's queries, keys and values and knows which token belongs to which sequence. Training,
prefill and decoding differ in nothing else. The same object reaches any architecture of transformers through its
AttentionInterface, where ``attend`` travels as a keyword.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.models.cascade import Crossing, Layout, Stem, cascade, cascades, gathered, rectangles
from accord.models.packing import Group

NAME = "accord"

PADDED = 2**12
"""Pairs of a query and a key (twice over) that the pads of a rectangle may cost. Fewer means more calls of the kernel."""
ON_A_DEVICE = 16
"""How many times as many an accelerator may take, which computes more of them while it is called once."""


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
        self,
        lengths: Int[Tensor, " rows"],
        device: torch.device | None = None,
        index: Int[Tensor, " laid"] | None = None,
        groups: Sequence[Group] = (),
    ) -> None:
        """Lay out the rectangles on the host, and move the layout to the device (by default that of ``lengths``). Give lengths on the CPU
        and a device: a device that holds them is asked for them.

        Args:
            index: which of the given tokens stands at each place of the rows laid end to end, on the CPU, where rows share some
                (``packing.Shared``); by default each has its own. A shared token is seen in each of its rows, and the first answers.
            groups: rows with a common beginning that is to be read in place. A device other than the CPU lays it out in each row.
        """
        device, lengths = device or lengths.device, lengths.cpu()
        if not len(lengths):  # `hidden` runs one token in place of none
            lengths = torch.ones(1, dtype=torch.long)
        self.lengths = lengths
        groups = groups if device.type == "cpu" and cascades() else ()
        self.layout = _laid_out(lengths, device, index, groups)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.layout.crossing:
            return cascade(q.float(), k.float(), v.float(), self.layout, self.layout.crossing).to(q.dtype)
        spread = (rectangles(_spread(x.float(), self.layout), self.layout) for x in (q, k, v))
        out = [_attend(*qkv) for qkv in zip(*spread, strict=True)]
        return torch.cat(out).index_select(0, self.layout.answers).to(q.dtype)


def _laid_out(lengths: Int[Tensor, " rows"], device: torch.device, index: Tensor | None, groups: Sequence[Group]) -> Layout:
    """Return the layout of rows, or of the segments that groups cut them into. Segments of like length share a rectangle."""
    ends = lengths.cumsum(0)
    starts, sizes, own = _segments(ends - lengths, lengths, groups)
    shapes, tokens, keeps = list[tuple[int, int]](), list[Tensor](), list[Tensor]()
    pads = PADDED if device.type == "cpu" else ON_A_DEVICE * PADDED
    for rows in [*_of_like_length(sizes[:own], pads), *(rows + own for rows in _of_like_length(sizes[own:], pads))]:
        steps = torch.arange(int(sizes[rows].max()))
        keep = steps < sizes[rows, None]
        shapes.append((len(rows), len(steps)))
        tokens.append(torch.where(keep, starts[rows, None] + steps, 0).flatten())
        keeps.append(keep.flatten())
    slots = torch.cat(keeps).nonzero().squeeze(1)
    flat = torch.cat(tokens)
    laid = flat if index is None else index.index_select(0, flat)
    owners = laid.index_select(0, slots)
    answers = torch.full((int(owners.max()) + 1,), len(flat)).scatter_reduce_(0, owners, slots, "amin")
    others = None if index is None else slots[answers.index_select(0, owners) != slots].to(device)
    layout = Layout(shapes, laid.to(device), answers.to(device), others)
    if not groups:
        return layout
    places = torch.zeros(len(index) if index is not None else int(ends[-1]), dtype=torch.long)
    places[flat.index_select(0, slots)] = slots  # the slot of each place of the rows that a segment holds
    crossing, stems = list[Tensor](), list[Stem]()
    for group in groups:
        begins = [int(ends[row] - lengths[row]) for row in group.rows]
        rests = torch.cat([places[begin + group.common : ends[row]] for begin, row in zip(begins, group.rows, strict=True)])
        if len(rests):  # no row of copies goes on
            crossing.append(rests)
            stems.append(Stem(int(places[begins[0]]), group.common, len(rests)))
    return replace(layout, crossing=Crossing(tuple(stems), torch.cat(crossing).to(device))) if stems else layout


def _segments(starts: Tensor, lengths: Tensor, groups: Sequence[Group]) -> tuple[Tensor, Tensor, int]:
    """Return the first place and the length of each segment, what is a row's own first, and how many those are. Then come the common
    beginnings of the groups."""
    if not groups:
        return starts, lengths, len(lengths)
    common = torch.zeros_like(lengths)
    for group in groups:
        common[list(group.rows)] = group.common
    first, own = torch.tensor([group.rows[0] for group in groups]), lengths > common
    sizes = torch.cat([(lengths - common)[own], common[first]])
    return torch.cat([(starts + common)[own], starts[first]]), sizes, int(own.sum())


def _of_like_length(sizes: Tensor, pads: int) -> list[Tensor]:
    """Return the numbers of the segments that share a rectangle. It is closed where one more segment would bring too many pads."""
    order = sizes.argsort(descending=True, stable=True)
    cuts, longest, padded = list[int](), 0, 0
    ordered: list[int] = sizes[order].tolist()
    for place, size in enumerate(ordered):
        padded += longest**2 - size**2
        if padded > pads or not place:
            cuts.append(place)
            longest, padded = size, 0
    return [order[cut:end] for cut, end in pairwise([*cuts, len(sizes)])]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).flatten(0, 1)


class _Spread(torch.autograd.Function):
    """Scatter tokens into slots. A pad gets no gradient, so a token's gradient is that of its own slot, and of the other slots of a token
    that rows share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout) -> Tensor:  # type: ignore[override]
        ctx.layout = layout
        return x.index_select(0, layout.tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gathered(grad, ctx.layout), None


def _spread(x: Tensor, layout: Layout) -> Tensor:
    return cast("Any", _Spread).apply(x, layout)


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
