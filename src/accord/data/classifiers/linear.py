"""A linear classifier over letters, words and concepts: small enough to be shipped, and quick enough for every text of a project.

A text in its plain spelling has features: runs of one to five characters and words alone and in pairs, hashed into ``BUCKETS`` numbers,
and the concepts of its task alone and in pairs. A multinomial logistic regression gives each label a probability. The weights are
half-precision numbers in one safetensors file per task; ``benchmarks/train_classifiers.py`` made them from the sentences in ``sentences/``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accord.data.classifiers.concepts import CONCEPTS, concepts_in

Floats = NDArray[np.float64]
BUCKETS = 1 << 15
LONGEST_RUN = 5
CONCEPT_WEIGHT = 0.7
"""The value of a concept as a feature. The runs and words of a text together have length 1."""
_WORD = re.compile(r"[a-z0-9']{1,40}")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def concept_features(task: str) -> list[str]:
    """Return the names of a task's concept features: each concept, and each pair."""
    names = list(CONCEPTS[task])
    return [*names, *(f"{one} + {other}" for one, other in combinations(names, 2))]


def features(task: str, text: str) -> tuple[NDArray[np.int64], Floats]:
    """Return the indices and values of a text's features. The concepts' indices follow the buckets."""
    buckets, values = hashed(text)
    places = {name: BUCKETS + number for number, name in enumerate(concept_features(task))}
    found = concepts_in(task, text)
    there = [*found, *(f"{one} + {other}" for one, other in combinations(found, 2))]
    of_concepts = np.array([places[name] for name in there], dtype=np.int64)
    return np.concatenate([buckets, of_concepts]), np.concatenate([values, np.full(len(there), CONCEPT_WEIGHT)])


def hashed(text: str) -> tuple[NDArray[np.int64], Floats]:
    """Return the buckets of a text's runs and words, each once, with values of length 1 together."""
    buckets = np.unique(np.concatenate([_runs(text), _words(text)]))
    return buckets, np.full(len(buckets), 1.0 / max(1.0, np.sqrt(len(buckets))))


def _runs(text: str) -> NDArray[np.int64]:
    """Return the buckets of all runs of characters of a text, with a blank at either end."""
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    parts, state = list[NDArray[np.int64]](), np.zeros(len(codes), dtype=np.uint64)
    for length in range(1, min(LONGEST_RUN, len(codes)) + 1):
        state = state[: len(codes) - length + 1] * _MULTIPLIER + codes[length - 1 :] + np.uint64(length)
        parts.append(((state ^ (state >> np.uint64(29))) * _MULTIPLIER >> np.uint64(49)).astype(np.int64))
    return np.concatenate(parts)


def _words(text: str) -> NDArray[np.int64]:
    words = _WORD.findall(text)
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    return np.array([crc32(word.encode()) % BUCKETS for word in [*words, *pairs]], dtype=np.int64)


def probabilities(task: str, texts: Sequence[str], weights: Floats, bias: Floats) -> Floats:
    """Return [texts, labels] probabilities of texts in their plain spelling."""
    scores = np.empty((len(texts), len(bias)))
    for row, text in enumerate(texts):
        places, values = features(task, text)
        scores[row] = values @ weights[places] + bias
    scores -= scores.max(axis=1, keepdims=True)
    odds = np.exp(scores)
    return odds / odds.sum(axis=1, keepdims=True)
