"""Keys and values of sequences that come and go: a place a sequence, filled from slot 0 on, whoever stands beside it.

Unlike the rollout's cache (cache.py), whose rows share a clock, every place here has a length of its own. Widths are rounded up, so
that a sequence meets the same sums alone as in company: what is masked adds exact zeros, in the same order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

WIDTH = 64
"""Slots are read and allocated in multiples of this."""


def rounded(length: int, step: int = WIDTH) -> int:
    """The next multiple of ``step``."""
    return -(-length // step) * step


class Places:
    """Keys and values of all layers, [places, slots, kv heads, dim] each; the first ``count`` places are taken."""

    def __init__(self) -> None:
        self.count, self.rows, self.slots = 0, 0, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def reserve(self, rows: int, slots: int) -> None:
        """Makes room for this many places of this many slots; what is there stays."""
        rows, slots = max(rows, self.rows), max(rounded(slots), self.slots)
        if (rows, slots) == (self.rows, self.slots):
            return
        self.keys, self.values = [_grown(x, rows, slots) for x in self.keys], [_grown(x, rows, slots) for x in self.values]
        self.rows, self.slots = rows, slots

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values, allocated at its first use in the form of ``like`` [tokens, kv heads, dim]."""
        if index == len(self.keys):
            self.keys.append(like.new_zeros(self.rows, self.slots, *like.shape[1:]))
            self.values.append(like.new_zeros(self.rows, self.slots, *like.shape[1:]))
        return self.keys[index], self.values[index]

    def remove(self, place: int) -> int:
        """Frees a place by moving the last one into it; returns the place that moved."""
        self.count -= 1
        if place != self.count:
            for store in (*self.keys, *self.values):
                store[place].copy_(store[self.count])
        return self.count

    def take(self, other: Places, place: int, length: int) -> int:
        """Copies the first ``length`` slots of another's place into a new place here; returns it."""
        for index, (keys, values) in enumerate(zip(other.keys, other.values, strict=True)):
            mine = self.layer(index, keys[0])
            mine[0][self.count, :length], mine[1][self.count, :length] = keys[place, :length], values[place, :length]
        self.count += 1
        return self.count - 1

    def read(self, place: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """A copy of some slots of a place, [layers, slots, kv heads, dim]."""
        return torch.stack([k[place, start:end] for k in self.keys]), torch.stack([v[place, start:end] for v in self.values])

    def write(self, place: int, start: int, part: tuple[Tensor, Tensor]) -> None:
        """Puts back what ``read`` gave."""
        for index, (k, v) in enumerate(zip(*part, strict=True)):
            keys, values = self.layer(index, k)
            keys[place, start : start + len(k)], values[place, start : start + len(v)] = k, v


def _grown(old: Tensor, rows: int, slots: int) -> Tensor:
    new = old.new_zeros(rows, slots, *old.shape[2:])
    new[: old.shape[0], : old.shape[1]] = old
    return new


class Window:
    """Attention of the next ``steps`` tokens of the first places to everything that each place holds up to them.

    Args:
        starts: [rows] how many slots of each place are filled; the new tokens take the following ones.
        longest: the largest of them.
    """

    def __init__(self, places: Places, starts: Int[Tensor, " rows"], longest: int, steps: int) -> None:
        self.places, self.steps = places, steps
        slots = starts[:, None] + torch.arange(steps, device=starts.device)
        self.width = min(rounded(longest + steps), places.slots)
        rows = torch.arange(len(starts), device=starts.device)[:, None] * places.slots
        self.flat = (rows + slots).flatten()
        seen = torch.arange(self.width, device=starts.device) <= slots[..., None]
        self.mask = torch.where(seen, 0.0, -torch.inf)[:, None]
        self.rows, self.twin = len(starts), steps == 1 and torch.get_num_threads() > 1
        if self.twin:
            self.mask = self.mask.expand(-1, -1, 2, -1)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A lone query goes in twice: with several threads its own kernel sums in an order that depends on how many rows there are."""
        keys, values = self.places.layer(layer, k)
        for store, new in ((keys, k), (values, v)):
            store.view(-1, *store.shape[2:]).index_copy_(0, self.flat, new)
        queries = q.view(self.rows, self.steps, *q.shape[1:]).transpose(1, 2)
        queries = queries.expand(-1, -1, 2, -1) if self.twin else queries
        held = (store[: self.rows, : self.width].transpose(1, 2) for store in (keys, values))
        mask, grouped = self.mask.to(q.dtype), q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(queries, *held, attn_mask=mask, enable_gqa=grouped)
        return out[:, :, : self.steps].transpose(1, 2).reshape(q.shape)
