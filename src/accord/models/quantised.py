"""Frozen weights in four bits under adapters: QLoRA's NormalFloat (Dettmers et al. 2023, sections 3 and appendix
E), in plain torch.

Except: the scale of each block of 64 weights stays float32 (4.5 bits per weight, without the paper's second
quantisation of scales). A product restores the weights to float32 first, so that every device computes the same
result. Only torch is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from accord.errors import UsageError

BLOCK = 64
"""Weights that share one scale."""
EDGE = 0.9677083
"""The outermost quantile: halfway between those that 15 and 16 levels of equal probability would have."""


@cache
def levels() -> Float[Tensor, " 16"]:
    """Return the sixteen values that a weight divided by its block's maximum can take.

    They are quantiles of the normal distribution, with 0 and both ends among them.
    """
    above = torch.special.ndtri(torch.linspace(EDGE, 0.5, 9, dtype=torch.float64))[:-1]
    below = -torch.special.ndtri(torch.linspace(EDGE, 0.5, 8, dtype=torch.float64))[:-1]
    found = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return (found / found.max()).float()


def packed(weight: Float[Tensor, "out in"]) -> tuple[UInt8[Tensor, " bytes"], Float[Tensor, " blocks"]]:
    """Return the weight as its nearest levels, two per byte, and each block's largest magnitude. The last block
    is padded with zeros."""
    flat = weight.detach().float().flatten()
    blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    known = levels().to(weight.device)
    between = (known[1:] + known[:-1]) / 2
    codes = torch.bucketize(blocks / scales.clamp(min=1e-12)[:, None], between).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], scales


def unpacked(codes: UInt8[Tensor, " bytes"], scales: Float[Tensor, " blocks"], shape: torch.Size) -> Float[Tensor, "out in"]:
    """Return the weights that ``packed`` encoded."""
    both = torch.stack([codes >> 4, codes & 15], 1).flatten().int()
    weights = levels().to(codes.device).index_select(0, both).view(-1, BLOCK) * scales[:, None]
    return weights.flatten()[: shape.numel()].view(shape)


class Linear4(nn.Linear):
    """A linear layer whose frozen weight is stored in four bits; ``weight`` restores it. The bias stays as it was."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        codes, scales = packed(linear.weight)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_parameter("bias", linear.bias)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The restored weight [out, in], float32."""
        codes, scales = self.get_buffer("codes"), self.get_buffer("scales")
        return unpacked(codes, scales, torch.Size((self.out_features, self.in_features)))

    def plain(self) -> nn.Linear:
        """Return an ordinary linear layer with exactly the weights that this one computes with."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device=self.get_buffer("scales").device)
        layer.weight = nn.Parameter(self.weight)
        layer.bias = self.bias
        return layer


def quantised(model: Any) -> Any:
    """Quantise the linear layers of the model's body to four bits, in place. Embeddings, head and norms stay as they are.

    Raises:
        UsageError: its body has no linear layers.
    """
    body = model.base_model
    linear = [(name, module) for name, module in body.named_modules() if isinstance(module, nn.Linear) and is_plain(module)]
    if not linear:
        raise UsageError(f"lora_bits: a {type(body).__name__} has no linear layers to quantise to four bits", hint="leave it at 0")
    for name, module in linear:
        _put(body, name, module if isinstance(module, Linear4) else Linear4(module))
    return model


def weights_in(model: nn.Module) -> int:
    """Return the number of a model's weights; those in four bits count like any others."""
    packed_away = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear4))
    return packed_away + sum(parameter.numel() for parameter in model.parameters())


def is_plain(linear: nn.Linear) -> bool:
    """Return whether a linear layer returns its product and nothing else; some routers are linear layers that choose experts."""
    if type(linear).forward is nn.Linear.forward:
        return True
    x = torch.randn(2, linear.in_features, generator=torch.Generator().manual_seed(0)).to(linear.weight)
    with torch.no_grad():
        try:
            found: Any = linear(x)
        except Exception:
            return False
        wanted = F.linear(x, linear.weight, linear.bias)
    near = 1e-4 if wanted.dtype is torch.float32 else 0.02  # the weights may be held in bfloat16
    return isinstance(found, Tensor) and found.shape == wanted.shape and bool((found - wanted).abs().max() <= near * wanted.abs().max())


def restored(model: Any) -> Any:
    """Restore ordinary linear layers, in place. A model without four-bit layers is returned as it is."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear4):
            _put(model, name, module.plain())
    return model


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
