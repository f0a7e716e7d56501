"""Two small operations of a decoder block with backward passes of their own: on a CPU they cost memory traffic and nothing else.

The values are those of torch's own operations, bit for bit. Their gradients need fewer passes over memory than autograd's, which goes
through each operation that a norm is composed of, and puts the halves of a split together again.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rms_norm(x: Float[Tensor, "tokens width"], weight: Float[Tensor, " width"], epsilon: float) -> Float[Tensor, "tokens width"]:
    """Return x / rms(x) * weight (Zhang and Sennrich 2019)."""
    if x.device.type == "cpu" and torch.is_grad_enabled():
        return cast("Any", _RmsNorm).apply(x, weight, epsilon)
    return F.rms_norm(x, (x.shape[-1],), weight, epsilon)


def gated(gate_up: Float[Tensor, "tokens both"]) -> Float[Tensor, "tokens inner"]:
    """Return silu(gate) * up (SwiGLU, Shazeer 2020) of the two laid side by side."""
    if gate_up.device.type == "cpu" and torch.is_grad_enabled():
        return cast("Any", _Gated).apply(gate_up)
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return F.rms_norm(x, (x.shape[-1],), weight, epsilon)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """With s = 1 / rms(x) and d the width: dx = s * (grad * weight) - x * s^3 / d * sum(x * grad * weight)."""
        x, weight = ctx.saved_tensors
        width = x.shape[-1]
        scale = torch.linalg.vector_norm(x, dim=-1).square_().div_(width).add_(ctx.epsilon).rsqrt_()
        products, held = grad * x, weight.to(x.dtype)
        of_weight = (scale @ products).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        along = (products @ held) * scale**3
        of_x = (grad * held).mul_(scale[:, None]).addcmul_(x, along[:, None], value=-1 / width)
        return of_x, of_weight, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:  # type: ignore[override]
        gate, up = gate_up.chunk(2, -1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        both = torch.empty_like(gate_up)
        of_gate, of_up = both.chunk(2, -1)
        torch.mul(grad, opened, out=of_up)
        cast("Any", torch.ops.aten.silu_backward).grad_input(grad * up, gate, grad_input=of_gate)
        return both
