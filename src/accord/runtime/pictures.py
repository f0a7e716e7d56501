"""Pictures in rows of token ids: how one is named there.

A picture takes as many tokens of a row as the model reads of it. In our rows each of them is one id that names the picture by its
digest, far beyond every vocabulary. So rows of pictures are rows of integers like all others: they are joined, packed, compared and
remembered as such, two prompts that differ in a picture alone are different rows, and only the forward pass puts the model's own
token and the picture's pixels in their place (``models.pictures``).
"""

from __future__ import annotations

from collections.abc import Iterable

FIRST = 1 << 48
"""The least id that names a picture."""
NAMED = 12
"""Hexadecimal digits of a digest that name a picture."""


_DIGESTS: dict[int, str] = {}
"""The pictures that were named in this process: a reward model is given the rows that the policy's format wrote."""


def picture_id(digest: str) -> int:
    """Return the id that stands for a picture in a row of token ids."""
    id = FIRST + int(digest[:NAMED], 16)
    _DIGESTS[id] = digest
    return id


def digest_named(id: int) -> str:
    """Return the digest of the picture that an id stands for; empty for one that was never named here."""
    return _DIGESTS.get(id, "")


def words_of(tokens: Iterable[int]) -> list[int]:
    """Return a row's tokens without those of pictures."""
    return [token for token in tokens if token < FIRST]


def shows(tokens: Iterable[int]) -> bool:
    """Return whether a picture, or a part of one, is among a row's tokens."""
    return any(token >= FIRST for token in tokens)
