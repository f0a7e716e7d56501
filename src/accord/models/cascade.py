"""Cascade attention on a CPU: K responses read the keys of their common prompt in place, and the prompt attends to itself once.

Rows with a common beginning are cut into segments: the beginning, and what is left of each row. Every segment attends to itself, causally.
The rests of a group then attend to their beginning in one call that needs no mask, since all of it precedes all of them. Each half is a
softmax over its own keys; the logarithms of their sums say what share each has in the whole (Milakov and Gimelshein 2018; for common
prompts Hydragen, Juravsky et al. 2024). A half's gradient is what the kernel's backward pass gives for the merged output and sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

_ATEN = cast("Any", torch.ops.aten)
FORWARD: Callable[..., tuple[Tensor, Tensor]] | None = getattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu", None)
"""What ``scaled_dot_product_attention`` calls on a CPU; it returns the sums too. None in a torch that has it no more: rows are then laid
out whole."""
BACKWARD: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = getattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


@dataclass(frozen=True)
class Stem:
    """A common beginning: its first slot, its length, and how many tokens follow it in all of its rows."""

    first: int
    length: int
    followers: int


@dataclass(frozen=True)
class Crossing:
    """The stems of a batch, and the slots of the tokens that follow them, stem by stem."""

    stems: tuple[Stem, ...]
    slots: Tensor

    def per_stem(self, x: Tensor) -> list[Tensor]:
        """Return what stands in the slots of each stem's followers."""
        return list(x.index_select(0, self.slots).split_with_sizes([stem.followers for stem in self.stems]))


@dataclass(frozen=True)
class Layout:
    """Where each token of a batch stands in rectangles of segments, right-padded and laid end to end. A place there is a slot."""

    shapes: list[tuple[int, int]]
    """Segments and slots a segment of each rectangle."""
    tokens: Tensor
    """The token in each slot; any token in a pad."""
    answers: Tensor
    """The slot of each token; of one that several segments hold, the first."""
    others: Tensor | None
    """The other slots of such tokens; None where there are none by design."""
    crossing: Crossing | None = None
    """Who reads a beginning in place; None where nobody does."""


def cascades() -> bool:
    """Return whether this torch has the kernel."""
    return FORWARD is not None and BACKWARD is not None


def rectangles(x: Tensor, layout: Layout) -> list[Tensor]:
    """Return what stands in the slots [slots, heads, ...] as rectangles [segments, heads, slots a segment, ...]."""
    parts = x.split_with_sizes([rows * steps for rows, steps in layout.shapes])
    return [part.view(*shape, *x.shape[1:]).transpose(1, 2) for part, shape in zip(parts, layout.shapes, strict=True)]


def gathered(grad: Tensor, layout: Layout) -> Tensor:
    """Return the gradient of each token from those of its slots. A pad has none."""
    own = grad.index_select(0, layout.answers)
    if layout.others is not None:
        own.index_add_(0, layout.tokens.index_select(0, layout.others), grad.index_select(0, layout.others))
    return own


def cascade(q: Tensor, k: Tensor, v: Tensor, layout: Layout, crossing: Crossing) -> Tensor:
    """Return the attention of float32 queries [tokens, heads, dim] to keys and values [tokens, kv heads, dim]."""
    return cast("Any", _Cascade).apply(q, k, v, layout, crossing)


def _flat(x: Tensor) -> Tensor:
    """Return a rectangle as slots."""
    return x.transpose(1, 2).flatten(0, 1)


def _row(x: Tensor) -> Tensor:
    """Return tokens [tokens, heads, ...] as a rectangle of one segment."""
    return x.transpose(0, 1)[None]


def _stem(x: Tensor, stem: Stem) -> Tensor:
    return x[stem.first : stem.first + stem.length]


class _Cascade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, crossing: Crossing) -> Tensor:  # type: ignore[override]
        assert FORWARD is not None
        q, k, v = (x.index_select(0, layout.tokens) for x in (q, k, v))
        own = [FORWARD(*part, 0.0, True) for part in zip(*(rectangles(x, layout) for x in (q, k, v)), strict=True)]
        out, total = (torch.cat([_flat(each[half]) for each in own]) for half in (0, 1))
        read = [
            FORWARD(_row(asked), _row(_stem(k, stem)), _row(_stem(v, stem)), 0.0, False)
            for asked, stem in zip(crossing.per_stem(q), crossing.stems, strict=True)
        ]
        before, sums = (torch.cat([_flat(each[half]) for each in read]) for half in (0, 1))
        after, mine = out.index_select(0, crossing.slots), total.index_select(0, crossing.slots)
        both = torch.logaddexp(mine, sums)
        share = (sums - both).exp_()[..., None]  # of what precedes, in the whole softmax
        out.index_copy_(0, crossing.slots, torch.lerp(after, before, share))
        total.index_copy_(0, crossing.slots, both)
        ctx.save_for_backward(q, k, v, out, total)
        ctx.layout, ctx.crossing = layout, crossing
        return out.index_select(0, layout.answers)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        assert BACKWARD is not None
        layout: Layout = ctx.layout
        crossing: Crossing = ctx.crossing
        q, k, v, out, total = ctx.saved_tensors
        whole = torch.zeros_like(out).index_copy_(0, layout.answers, grad)
        given = zip(*(rectangles(x, layout) for x in (whole, q, k, v, out, total)), strict=True)
        own = [BACKWARD(*part, 0.0, True) for part in given]
        of_q, of_k, of_v = (torch.cat([_flat(each[which]) for each in own]) for which in range(3))
        asked = list[Tensor]()
        followers = zip(*(crossing.per_stem(x) for x in (whole, q, out, total)), strict=True)
        for stem, (back, query, merged, sums) in zip(crossing.stems, followers, strict=True):
            keys, values = _row(_stem(k, stem)), _row(_stem(v, stem))
            grads = BACKWARD(_row(back), _row(query), keys, values, _row(merged), _row(sums), 0.0, False)
            asked.append(_flat(grads[0]))
            _stem(of_k, stem).add_(_flat(grads[1]))
            _stem(of_v, stem).add_(_flat(grads[2]))
        of_q.index_add_(0, crossing.slots, torch.cat(asked))
        return (*(gathered(x, layout) for x in (of_q, of_k, of_v)), None, None)
