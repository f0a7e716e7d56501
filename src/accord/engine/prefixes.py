"""The prefix cache: keys and values of earlier prompts in pieces of a few tokens.

A conversation's next turn computes only its new tokens. A piece is named by a hash over itself, everything before it, and the
adapter that read it. The least recently used pieces are dropped first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from accord.engine.cache_slots import Slots


class Prefixes:
    """A cache of prompt pieces of ``size`` tokens each, ``most`` tokens in all."""

    def __init__(self, size: int, most: int) -> None:
        self.size, self.most = size, most // size
        self._parts: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parts)

    def restore(self, tokens: Sequence[int], slots: Slots, slot: int, adapter: str = "") -> int:
        """Copy a prompt's cached prefix into a slot, and return its length in tokens, always less than the prompt's."""
        filled = 0
        for start, name in self._names(tokens[:-1], adapter):
            part = self._parts.get(name)
            if part is None:
                break
            self._parts.move_to_end(name)
            slots.write(slot, start, part)
            filled = start + self.size
        return filled

    def keep(self, tokens: Sequence[int], slots: Slots, slot: int, adapter: str = "") -> None:
        """Cache every whole piece of the tokens in a slot."""
        for start, name in self._names(tokens, adapter) if self.most else ():
            if name not in self._parts:
                self._parts[name] = slots.read(slot, start, start + self.size)
            self._parts.move_to_end(name)
        while len(self._parts) > self.most:
            self._parts.popitem(last=False)

    def _names(self, tokens: Sequence[int], adapter: str) -> list[tuple[int, bytes]]:
        names, name = list[tuple[int, bytes]](), adapter.encode()
        for start in range(0, len(tokens) - self.size + 1, self.size):
            words = ",".join(map(str, tokens[start : start + self.size]))
            name = hashlib.blake2b(name + words.encode(), digest_size=16).digest()
            names.append((start, name))
        return names
