"""The KV cache for continuous batching: one slot per sequence, filled from position 0 on, independently of its neighbours.

Unlike the rollout's cache (cache.py), whose rows share a clock, every slot here has a length of its own. Widths are
rounded up, so that a sequence meets the same sums alone as in company: masked positions add exact zeros, in the same order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

WIDTH = 64
"""The number of positions read or allocated is a multiple of this."""


def rounded(length: int, step: int = WIDTH) -> int:
    """Return the next multiple of ``step``."""
    return -(-length // step) * step


class Slots:
    """Keys and values of all layers, [slots, positions, kv heads, dim] each; the first ``count`` slots are in use.

    Args:
        dtype: what they are held in; None takes them as they come.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.count, self.rows, self.positions = 0, 0, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def reserve(self, rows: int, positions: int) -> None:
        """Make room for this many slots of this many positions. Existing content stays."""
        rows, positions = max(rows, self.rows), max(rounded(positions), self.positions)
        if (rows, positions) == (self.rows, self.positions):
            return
        self.keys, self.values = [_grown(x, rows, positions) for x in self.keys], [_grown(x, rows, positions) for x in self.values]
        self.rows, self.positions = rows, positions

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, allocated at first use with the shape of ``like`` [tokens, kv heads, dim]."""
        if index == len(self.keys):
            for store in (self.keys, self.values):
                store.append(like.new_zeros(self.rows, self.positions, *like.shape[1:], dtype=self.dtype or like.dtype))
        return self.keys[index], self.values[index]

    def remove(self, slot: int) -> int:
        """Free a slot by moving the last one into it, and return the old index of the one that moved."""
        self.count -= 1
        if slot != self.count:
            for store in (*self.keys, *self.values):
                store[slot].copy_(store[self.count])
        return self.count

    def take(self, other: Slots, slot: int, length: int) -> int:
        """Copy the first ``length`` positions of another cache's slot into a new slot, and return its index."""
        for index, (keys, values) in enumerate(zip(other.keys, other.values, strict=True)):
            mine = self.layer(index, keys[0])
            mine[0][self.count, :length], mine[1][self.count, :length] = keys[slot, :length], values[slot, :length]
        self.count += 1
        return self.count - 1

    def read(self, slot: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Return a copy of some positions of a slot, [layers, positions, kv heads, dim]."""
        return torch.stack([k[slot, start:end] for k in self.keys]), torch.stack([v[slot, start:end] for v in self.values])

    def write(self, slot: int, start: int, part: tuple[Tensor, Tensor]) -> None:
        """Write keys and values as ``read`` returned them."""
        for index, (k, v) in enumerate(zip(*part, strict=True)):
            keys, values = self.layer(index, k)
            keys[slot, start : start + len(k)], values[slot, start : start + len(v)] = k, v


def _grown(old: Tensor, rows: int, positions: int) -> Tensor:
    new = old.new_zeros(rows, positions, *old.shape[2:])
    new[: old.shape[0], : old.shape[1]] = old
    return new


class Window:
    """Attention of the next ``steps`` tokens of the first slots to everything in each slot up to them.

    Args:
        starts: [rows] number of filled positions in each slot. The new tokens take the following ones.
        longest: the largest of them.
    """

    def __init__(self, slots: Slots, starts: Int[Tensor, " rows"], longest: int, steps: int) -> None:
        self.slots, self.steps = slots, steps
        positions = starts[:, None] + torch.arange(steps, device=starts.device)
        self.width = min(rounded(longest + steps), slots.positions)
        rows = torch.arange(len(starts), device=starts.device)[:, None] * slots.positions
        self.flat = (rows + positions).flatten()
        seen = torch.arange(self.width, device=starts.device) <= positions[..., None]
        self.mask = torch.where(seen, 0.0, -torch.inf)[:, None]
        self.rows, self.twin = len(starts), steps == 1 and torch.get_num_threads() > 1
        if self.twin:
            self.mask = self.mask.expand(-1, -1, 2, -1)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store the new keys and values, and return the attention of the queries, shaped like ``q``."""
        keys, values = self.slots.layer(layer, k)
        for store, new in ((keys, k), (values, v)):
            store.view(-1, *store.shape[2:]).index_copy_(0, self.flat, new.to(store.dtype))
        queries = q.to(keys.dtype).view(self.rows, self.steps, *q.shape[1:]).transpose(1, 2)
        # With several threads the kernel for a lone query sums in an order that depends on the number of rows. Two
        # identical queries take another kernel, whose order is always the same.
        queries = queries.expand(-1, -1, 2, -1) if self.twin else queries
        held = (store[: self.rows, : self.width].transpose(1, 2) for store in (keys, values))
        mask, grouped = self.mask.to(keys.dtype), q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(queries, *held, attn_mask=mask, enable_gqa=grouped)
        return out[:, :, : self.steps].transpose(1, 2).reshape(q.shape).to(q.dtype)
