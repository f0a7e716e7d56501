"""Banned words as tokens: what a restricted action space, or a server, leaves out of every draw.

A mask bans single tokens: the word itself as the vocabulary has it, with and without a blank before it and in any case. A word that the
vocabulary has in pieces alone is refused, for its pieces belong to other words too. A model may still spell a banned word in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accord.errors import UsageError

EXAMPLE = "'yes, no, id:17'"


def banned_tokens(words: str, tokenizer: Any, stop: Sequence[int], where: str) -> tuple[int, ...]:
    """Return the token ids of banned words, sorted.

    Args:
        words: separated by commas; ``id:17`` is the token of that number.
        stop: tokens that end a response, which cannot be banned.
        where: the setting, for errors.

    Raises:
        UsageError: a word is no single token, there is no such token, or it ends responses.
    """
    size, found = len(tokenizer), set[int]()
    spelled: dict[str, list[int]] = {}
    asked = list(dict.fromkeys(part.strip() for part in words.split(",") if part.strip()))
    if any(not word.startswith("id:") for word in asked):
        for token in range(size):
            spelled.setdefault(tokenizer.decode([token]).strip().casefold(), []).append(token)
    for word in asked:
        if word.startswith("id:"):
            number = word.removeprefix("id:")
            if not number.isdecimal() or int(number) >= size:
                raise UsageError(f"there is no token {number!r}", where=where, hint=f"tokens go from 0 to {size - 1}")
            found.add(int(number))
            continue
        tokens = spelled.get(word.casefold(), [])
        if not tokens:
            pieces = tokenizer.encode(word, add_special_tokens=False)
            what = f"{word!r} is {len(pieces)} tokens of this tokenizer, and a mask bans single ones"
            raise UsageError(what, where=where, hint=f"ban a part of it, or tokens by number, for example {EXAMPLE}; or reward against it")
        found.update(tokens)
    if ends := sorted(found.intersection(stop)):
        raise UsageError(f"the token {ends[0]} ends responses", where=where, hint="leave it out: without it no response would end")
    return tuple(sorted(found))
