"""A classifier that is learned where it is used: from a project's own tagged prompts, in about a second, without a model's weights.

A multinomial logistic regression over the hashed runs of characters and words of ``linear``, by averaged stochastic gradient descent. The
order of the rows is seeded, so that equal rows give equal weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accord.data.classifiers.interface import Text, Verdict, words_of
from accord.data.classifiers.linear import BUCKETS, Floats, hashed
from accord.data.spelling import plain

PASSES = 12
RATE = 4.0
"""Step size; the features of a text have length 1."""
LONGEST = 2_000
"""Characters of a text that are read, from its beginning."""
MOST = 4_000
"""Texts that are learned from."""


class Learned:
    """Tells the labels of the texts that it was made from.

    Args:
        texts: to learn from; of more than ``MOST`` a seeded choice.
        labels: one to each.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str], *, seed: int = 0) -> None:
        self.labels = sorted(set(labels))
        order = np.random.default_rng(seed)
        chosen = [int(row) for row in order.permutation(len(texts))[:MOST]]
        rows = [hashed(_read(texts[row])) for row in chosen]
        right = [self.labels.index(labels[row]) for row in chosen]
        self._weights, self._bias = np.zeros((BUCKETS, len(self.labels))), np.zeros(len(self.labels))
        weights, bias = self._weights.copy(), self._bias.copy()
        for number in range(PASSES):
            for row in order.permutation(len(rows)):
                places, values = rows[row]
                error = _softmax(values @ weights[places] + bias)
                error[right[row]] -= 1.0
                step = RATE / (1 + number)
                weights[places] -= step * values[:, None] * error
                bias -= 0.1 * step * error
            if number >= PASSES // 2:
                self._weights += weights / (PASSES - PASSES // 2)
                self._bias += bias / (PASSES - PASSES // 2)

    def __call__(self, texts: Sequence[Text]) -> list[Verdict]:
        """Return the likeliest label of each text."""
        verdicts: list[Verdict] = []
        for text in texts:
            places, values = hashed(_read(words_of(text)))
            chances = _softmax(values @ self._weights[places] + self._bias)
            best = int(chances.argmax())
            verdicts.append(Verdict(self.labels[best], float(chances[best])))
        return verdicts


def _read(text: str) -> str:
    return plain(text[:LONGEST])


def _softmax(scores: Any) -> Floats:
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()
