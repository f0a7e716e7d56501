"""Keys and values of prompts that were seen, in pieces of a few tokens, so that a conversation's next turn computes only what is new.

A piece is named by a hash over itself and everything before it; the least recently used go first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from accord.engine.cache_slots import Places


class Prefixes:
    """A store of prompt pieces of ``size`` tokens each, ``most`` tokens in all."""

    def __init__(self, size: int, most: int) -> None:
        self.size, self.most = size, most // size
        self._parts: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parts)

    def restore(self, tokens: Sequence[int], places: Places, place: int) -> int:
        """Puts what is known of a prompt into a place; returns how many tokens that are, always fewer than all of them."""
        filled = 0
        for start, name in self._names(tokens[:-1]):
            part = self._parts.get(name)
            if part is None:
                break
            self._parts.move_to_end(name)
            places.write(place, start, part)
            filled = start + self.size
        return filled

    def keep(self, tokens: Sequence[int], places: Places, place: int) -> None:
        """Remembers every whole piece of the tokens, which stand in a place."""
        for start, name in self._names(tokens) if self.most else ():
            if name not in self._parts:
                self._parts[name] = places.read(place, start, start + self.size)
            self._parts.move_to_end(name)
        while len(self._parts) > self.most:
            self._parts.popitem(last=False)

    def _names(self, tokens: Sequence[int]) -> list[tuple[int, bytes]]:
        names, name = list[tuple[int, bytes]](), b""
        for start in range(0, len(tokens) - self.size + 1, self.size):
            words = ",".join(map(str, tokens[start : start + self.size]))
            name = hashlib.blake2b(name + words.encode(), digest_size=16).digest()
            names.append((start, name))
        return names
