"""Drift: how far new prompts are from those that a model was trained on. Words and counts only; NumPy alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError

Floats = NDArray[np.float64]
WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
"""A word of letters and digits, or one Chinese character."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance between two sets of texts, and the distance that chance alone gives."""

    bits: float
    """Jensen-Shannon divergence of their words, 0 (alike) to 1."""
    expected: float
    """The expected divergence: that of as many known texts, drawn at random."""
    p: float
    """Share of the draws with at least this distance, at least 1 / (draws + 1)."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; Chinese characters count one by one."""
    return WORD.findall(text.lower())


def divergence(one: Counter[str], other: Counter[str]) -> float:
    """Return the Jensen-Shannon divergence of two counts of words, in bits (Lin 1991). Raises InputError when
    one is empty."""
    if not one or not other:
        raise InputError("no words to compare", where="drift")
    names = sorted({*one, *other})
    p, q = _shares(one, names), _shares(other, names)
    middle = (p + q) / 2
    return float(sum(np.sum(part[part > 0] * np.log2(part[part > 0] / middle[part > 0])) for part in (p, q)) / 2)


def _shares(counts: Counter[str], names: Sequence[str]) -> Floats:
    return np.array([counts[name] for name in names], dtype=np.float64) / sum(counts.values())


def drift(new: Sequence[str], known: Sequence[str], *, draws: int = 200, seed: int = 0) -> Drift:
    """Measure how far the words of new texts are from those of known ones, and whether that is more than chance.

    Args:
        draws: how often as many of the known texts are drawn, with replacement, for comparison.

    Raises:
        InputError: there is no word on one side.
    """
    counted = [Counter(words(text)) for text in known]
    total = sum(counted, Counter[str]())
    bits = divergence(sum((Counter(words(text)) for text in new), Counter[str]()), total)
    rng = np.random.default_rng(seed)

    def drawn() -> Counter[str]:
        return sum((counted[i] for i in map(int, rng.integers(0, len(known), len(new)))), Counter[str]())

    chance = [divergence(drawn(), total) for _ in range(draws)]
    return Drift(bits, float(np.mean(chance)), (1 + sum(value >= bits for value in chance)) / (draws + 1))


class Likeness:
    """Similarity of texts to known ones: cosine of TF-IDF vectors."""

    def __init__(self, known: Sequence[str]) -> None:
        self.count = len(known)
        texts = [Counter(words(text)) for text in known]
        held = Counter[str]()
        for text in texts:
            held.update(text.keys())  # once per text, however often the word stands there
        self._idf = {word: log((1 + len(known)) / (1 + number)) + 1 for word, number in held.items()}
        # An inverted index: a text is compared only with the known texts that share a word with it.
        indices, weights = dict[str, list[int]](), dict[str, list[float]]()
        for index, text in enumerate(texts):
            for word, weight in self._vector(text).items():
                indices.setdefault(word, []).append(index)
                weights.setdefault(word, []).append(weight)
        self._postings = {word: (np.array(indices[word]), np.array(weights[word])) for word in indices}

    def to(self, text: str) -> Floats:
        """Return the cosine of a text with each known one, [known]."""
        cosines = np.zeros(self.count)
        for word, weight in self._vector(Counter(words(text))).items():
            if word in self._postings:
                indices, weights = self._postings[word]
                cosines[indices] += weight * weights
        return cosines

    def _vector(self, text: Counter[str]) -> dict[str, float]:
        unseen = log(1 + self.count) + 1
        raw = {word: number * self._idf.get(word, unseen) for word, number in text.items()}
        norm = sum(value * value for value in raw.values()) ** 0.5 or 1.0
        return {word: value / norm for word, value in raw.items()}


def unlike(new: Sequence[str], known: Sequence[str], *, level: float = 0.05, sample: int = 300, seed: int = 0) -> float:
    """Return the share of new texts that are further from all known texts than all but ``level`` of the known
    texts are from each other."""
    likeness, rng = Likeness(known), np.random.default_rng(seed)
    chosen = rng.permutation(len(known))[:sample]
    own = [float(np.max(np.delete(likeness.to(known[i]), i), initial=0.0)) for i in map(int, chosen)]
    limit = float(np.quantile(own, level))
    return float(np.mean([float(np.max(likeness.to(text), initial=0.0)) < limit for text in new]))


def topics(new: Sequence[str], known: Sequence[str], labels: Sequence[str], *, neighbours: int = 5) -> list[str]:
    """Return for each new text the commonest label of its nearest known texts; "other" if none shares a word."""
    likeness = Likeness(known)
    found: list[str] = []
    for text in new:
        cosines = likeness.to(text)
        weights: dict[str, float] = {}
        for i in map(int, np.argsort(-cosines, kind="stable")[:neighbours]):
            if cosines[i] > 0:
                weights[labels[i]] = weights.get(labels[i], 0.0) + float(cosines[i])
        found.append(max(weights, key=weights.__getitem__) if weights else "other")
    return found
