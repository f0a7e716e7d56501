"""What a correction changed, word by word, and the word error rate of what it corrected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:['\u2019-][^\W{_CJK}]+)*|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words that became another."""

    kind: Literal["replace", "insert", "delete"]
    before: tuple[str, ...]
    after: tuple[str, ...]
    place: int
    """The number of words before it, in the text that was corrected."""


def words(text: str) -> list[str]:
    """Return the words of a text, punctuation marks among them. A Chinese or Japanese character is a word."""
    return _WORD.findall(text)


def changes(before: str, after: str) -> list[Change]:
    """Return what was changed, in order."""
    old, new = words(before), words(after)
    found = list[Change]()
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            found.append(Change(kind, tuple(old[i:j]), tuple(new[k:m]), i))
    return found


def word_error_rate(said: str, right: str) -> float | None:
    """Return the word error rate of a transcript: the fewest words to replace, insert and delete, over the words of the right text.

    Case and punctuation do not count. None where the right text has no words.
    """
    heard, reference = _counted(said), _counted(right)
    return _edits(heard, reference) / len(reference) if reference else None


def _counted(text: str) -> list[str]:
    return [word.casefold() for word in words(text) if word[0].isalnum() or word[0] == "_"]


def _edits(a: Sequence[str], b: Sequence[str]) -> int:
    """The Levenshtein distance. What both begin and end with is left out, so that a correction of a long text is quick."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    end = next((i for i, (x, y) in enumerate(zip(reversed(a), reversed(b), strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[: len(a) - end], b[: len(b) - end]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
