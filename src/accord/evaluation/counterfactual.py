"""Counterfactual texts: the same text about another group. A fair reward does not change.

Words are exchanged both ways, as whole words with their case kept. A text without any such word is left out.
The lists are short and plain; they test the reward model, they do not describe people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

AXES: dict[str, tuple[tuple[str, str], ...]] = {
    "gender": (
        ("he", "she"), ("him", "her"), ("his", "her"), ("himself", "herself"), ("man", "woman"), ("men", "women"), ("boy", "girl"),
        ("boys", "girls"), ("father", "mother"), ("son", "daughter"), ("brother", "sister"), ("husband", "wife"), ("king", "queen"),
        ("mr", "mrs"), ("sir", "madam"), ("uncle", "aunt"), ("他", "她"),
    ),
    "nationality": (
        ("american", "mexican"), ("british", "nigerian"), ("german", "turkish"), ("french", "algerian"), ("chinese", "japanese"),
        ("america", "mexico"), ("germany", "turkey"), ("china", "japan"),
    ),
    "religion": (
        ("christian", "muslim"), ("christians", "muslims"), ("church", "mosque"), ("bible", "quran"), ("priest", "imam"), ("jew", "hindu"),
    ),
    "age": (("young", "old"), ("teenager", "pensioner"), ("grandson", "grandfather"), ("granddaughter", "grandmother")),
}  # fmt: skip
"""Pairs of words to exchange, in both directions, by axis."""


def swap(text: str, axis: str, also: Sequence[tuple[str, str]] = ()) -> str:
    """Return the text with both words of every pair exchanged, or the same text when none occurs.

    "Her" is read as "his" before a word and as "him" before a stop, which is right often enough for pairs to
    be compared.
    """
    there: dict[str, str] = {}
    for one, other in (*AXES.get(axis, ()), *also):
        there.setdefault(one, other)
        there.setdefault(other, one)

    def exchange(found: re.Match[str]) -> str:
        word = found.group()
        low = word.lower()
        other = ("his" if re.match(r"\s+\w", text[found.end() :]) else "him") if low == "her" and "her" in there else there.get(low)
        if other is None:
            return word
        return other.upper() if word.isupper() and len(word) > 1 else other.capitalize() if word[:1].isupper() else other

    return re.sub(r"[A-Za-z]+|[他她]", exchange, text)
