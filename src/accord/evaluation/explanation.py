"""An answer in sentences, and what one answer says that another does not: the plain arithmetic of `accord explain`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accord.data.retrieval import COVERED, covered
from accord.evaluation.form import FEATURES

_BLANKS = re.compile(r"\s*")
_END = re.compile(r"(?:[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』）]*|\n+|$)")
_GOES_ON = re.compile(r"(?:^\(?\d{1,3}|(?:^|[\s(])(?:[A-Z]|e\.g|i\.e|Mr|Mrs|Ms|Dr|Prof|St|vs|cf))\.$")
"""A number of a list, an initial or an abbreviation: its full stop ends no sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence of a text, with the blanks behind it: ``text[start:end]``. A text is exactly its spans, end to end."""

    start: int
    end: int
    text: str
    """Without the blanks around it."""


def spans(text: str) -> list[Span]:
    """Return the sentences of a text. A decimal point, an initial or an abbreviation ends none; a line end does."""
    ends = list[int]()
    for match in _END.finditer(text):
        begin = ends[-1] if ends else 0
        said = text[begin : match.end()]
        if not said.strip() or (said.rstrip(" ").endswith(".") and _GOES_ON.search(said.strip())):
            continue
        behind = _BLANKS.match(text, match.end())
        ends.append(behind.end() if behind else match.end())
    if text and (not ends or ends[-1] < len(text)):
        ends.append(len(text))
    found, start = list[Span](), 0
    for end in ends:
        if end > start:
            found.append(Span(start, end, text[start:end].strip()))
            start = end
    return found


def sentence_of(start: int, token: str, sentences: Sequence[Span]) -> int:
    """Return the index of the sentence that a token belongs to: by its first letter, since many tokens begin with a blank.

    A token of blanks alone, and one behind the text such as the stop token, belongs to the sentence before it.
    """
    place = start + len(token) - len(token.lstrip())
    for index, sentence in enumerate(sentences):
        if place < sentence.end:
            return index if token.strip() else max(index - (start < sentence.start), 0)
    return len(sentences) - 1


def by_sentence(tokens: Sequence[str], starts: Sequence[int], gains: Sequence[float], sentences: Sequence[Span]) -> list[float]:
    """Return the sum of the token gains of each sentence. All of them together are the sum of all gains."""
    sums = [0.0] * len(sentences)
    for token, start, gain in zip(tokens, starts, gains, strict=True):
        if sentences:
            sums[sentence_of(start, token, sentences)] += gain
    return sums


def without(text: str, sentence: Span) -> str:
    """Return the text with a sentence left out."""
    return (text[: sentence.start] + text[sentence.end :]).strip()


def lacking(sentences: Sequence[Span], other: str) -> list[int]:
    """Return the indices of the sentences whose content words another text has to less than half. One without content words is had."""
    found = list[int]()
    for index, sentence in enumerate(sentences):
        if covered(sentence.text, sentence.text) and covered(sentence.text, other) < COVERED:
            found.append(index)
    return found


def form_differences(text: str, other: str) -> Mapping[str, tuple[float, float]]:
    """Return the measures of form in which two texts differ, by name, each for both."""
    both = {name: (measure(text), measure(other)) for name, measure in FEATURES.items()}
    return {name: (one, two) for name, (one, two) in both.items() if one != two}
