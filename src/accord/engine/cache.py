"""The static KV cache: all rows share a clock, so a step writes one column for all of them.

Prompts are right-aligned in the first ``width`` positions, each new token takes the next position in every row, and a
row sees positions from its own start on. Finished rows are dropped by keeping the others.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from accord.models.attention import PackedAttention


def held_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype | None:
    """Return the dtype that keys and values are held in: that of the products on an accelerator, which halves them in bfloat16. On a CPU
    they stay as they come, since attention is computed in float32 there; None says so."""
    return None if device.type == "cpu" else dtype


def kv_bytes(config: Any, dtype: torch.dtype | None = None) -> int:
    """Return the bytes of one token's keys and values in all layers; without a dtype in float32."""
    config = config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0) or 1  # a state-space model has none, and states of a few times its width
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    size = (dtype or torch.float32).itemsize
    return 2 * size * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * dim


class Cache:
    """Keys and values of all layers, [rows, kv heads, positions, dim] each, allocated once.

    Args:
        dtype: what they are held in; None takes them as they come.
    """

    def __init__(
        self,
        lengths: Int[Tensor, " prompts"],
        n: int,
        steps: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype
        self.lengths, self.prompt_lengths, self.n = lengths.to(device), lengths.cpu(), n
        self.width = int(lengths.max())
        self.positions = self.width + steps
        self.clock = self.width
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        starts = (self.width - lengths).repeat_interleave(n)
        self.padded = int(lengths.min()) < self.width
        self.visible = (torch.arange(self.positions) >= starts[:, None]).to(device)

    def fill(self, k: Tensor, v: Tensor) -> None:
        """Write a layer's keys and values [tokens, kv heads, dim] of the prompts, repeated for all n rows of each prompt."""
        prompts = len(self.lengths)
        rows = torch.arange(prompts, device=k.device).repeat_interleave(self.lengths, output_size=len(k))
        ends = self.lengths.cumsum(0)
        position = torch.arange(len(k), device=k.device) + (self.width - ends).repeat_interleave(self.lengths, output_size=len(k))
        for store, x in ((self.keys, k), (self.values, v)):
            block = x.new_zeros(prompts, self.positions, *x.shape[1:], dtype=self.dtype or x.dtype)
            block[rows, position] = x.to(block.dtype)
            store.append(block.transpose(1, 2).repeat_interleave(self.n, 0).contiguous())

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows and drop all others. They are named on the CPU."""
        rows = rows.to(self.visible.device, non_blocking=True)
        for layer in range(len(self.keys)):  # one at a time, so that only one is held twice
            self.keys[layer] = self.keys[layer].index_select(0, rows)
            self.values[layer] = self.values[layer].index_select(0, rows)
        self.visible = self.visible.index_select(0, rows)


class Prefill:
    """Attention of the prompts to themselves, which fills the cache on the way."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.packed = cache, PackedAttention(cache.prompt_lengths, cache.lengths.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.fill(k, v)
        return self.packed(layer, q, k, v)


class Decode:
    """Attention of one new token per row to everything that its row has in the cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        end = cache.clock + 1
        self.mask = torch.where(cache.visible[:, None, None, :end], 0.0, -torch.inf) if cache.padded else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        now, end = self.cache.clock, self.cache.clock + 1
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[:, :, now], values[:, :, now] = k, v
        mask, grouped = None if self.mask is None else self.mask.to(keys.dtype), q.shape[1] != k.shape[1]
        query = q[:, :, None].to(keys.dtype)
        out = F.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end], attn_mask=mask, enable_gqa=grouped)
        return out.squeeze(2).to(q.dtype)
