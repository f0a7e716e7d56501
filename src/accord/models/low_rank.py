"""A product with a weight that low-rank adapters were added to (Hu et al. 2021), with a backward pass that knows them.

The forward pass multiplies once, with W + scale * B A. Autograd would make the gradient of that whole weight to get at those of the two
factors, a third of the work of training. They follow from the product's input x and its output's gradient g alone: scale * g' (x A') for B,
and scale * (g B)' x for A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """An adapter of some of a product's outputs."""

    first: int
    """Its first output."""
    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]
    scale: float


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Sequence[LowRank]) -> Tensor:
    """Return the product with a weight that the adapters are part of already."""
    if not adapters:
        return F.linear(x, weight, bias)
    factors = [factor for adapter in adapters for factor in (adapter.a, adapter.b)]
    places = [(adapter.first, adapter.scale) for adapter in adapters]
    return cast("Any", _Adapted).apply(x, weight, bias, places, *factors)


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, places: Sequence[tuple[int, float]], *factors: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight, *factors)
        ctx.places = places
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, *factors = ctx.saved_tensors
        a, b = ([factor.to(x.dtype) for factor in factors[half::2]] for half in (0, 1))
        ranks = [len(each) for each in a]
        read = (x @ torch.cat(a).T).split(ranks, 1)
        of_b, back = list[Tensor](), list[Tensor]()
        for (first, scale), factor, seen in zip(ctx.places, b, read, strict=True):
            part = grad[:, first : first + len(factor)]
            of_b.append(scale * (part.T @ seen))
            back.append(scale * (part @ factor))
        of_a = (torch.cat(back, 1).T @ x).split(ranks)
        of_factors = [each.to(factor.dtype) for pair in zip(of_a, of_b, strict=True) for each, factor in zip(pair, factors, strict=False)]
        of_x = grad @ weight if ctx.needs_input_grad[0] else None
        of_weight = grad.T @ x if ctx.needs_input_grad[1] else None
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None, *of_factors
