"""The form of a response in numbers, which a reward model may reward without anybody's intention.

A correlation is taken within prompts (scores and features minus their means over the prompt's responses), so
that prompts that ask for long answers do not make length look good. It is reported beside the labels' own
correlation. Both share the preference; the reward model's excess is bias.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from accord.evaluation.statistics import Floats

_WORDS, _SENTENCES = re.compile(r"\w+"), re.compile(r"[.!?。！？]+")
_SURE = re.compile(
    r"\b(certainly|definitely|obviously|clearly|of course|without doubt|everybody knows|experts?|research shows)\b|肯定|显然|专家", re.I
)
_COURTESY = re.compile(
    r"\b(hope that helps|happy to help|glad to|let me know|feel free|thank you|you are welcome|please)\b|希望对你有帮助|谢谢|请", re.I
)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _repetition(text: str) -> float:
    """Return the share of the word pairs that occurred before."""
    words = _words(text)
    pairs = list(pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


FEATURES: Mapping[str, Callable[[str], float]] = MappingProxyType(
    {
        "words": lambda text: float(len(_words(text))),
        "sentences": lambda text: float(len([part for part in _SENTENCES.split(text) if part.strip()])),
        "repetition": _repetition,
        "list": lambda text: float(len(re.findall(r"(?m)^\s*(?:[-*•]|\d+[.)])\s", text))),
        "commas": lambda text: float(text.count(",") + text.count("，")),
        "digits": lambda text: float(sum(char.isdigit() for char in text)),
        "questions": lambda text: float(text.count("?") + text.count("？")),
        "exclamations": lambda text: float(text.count("!") + text.count("！")),
        "markup": lambda text: float(len(re.findall(r"\*\*|__|^#+ |```", text, re.M))),
        "sure": lambda text: float(len(_SURE.findall(text))),
        "courtesy": lambda text: float(len(_COURTESY.findall(text))),
    }
)
"""Functions from a text to a number, by name."""


def within_prompts(features: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Return features and scores of all responses, each minus its mean over the prompt's responses, flat."""
    rows = [(_centred(f), _centred(s)) for f, s in zip(features, scores, strict=True) if len(f) > 1]
    if not rows:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([f for f, _ in rows]), np.concatenate([s for _, s in rows])


def _centred(values: Sequence[float]) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    return table - float(table.mean())


def correlation(features: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]) -> float | None:
    """Return Pearson's correlation within prompts; None where a feature or the scores never differ."""
    x, y = within_prompts(features, scores)
    spread = float(np.sqrt((x @ x) * (y @ y))) if len(x) else 0.0
    return float(x @ y) / spread if spread > 1e-12 else None


def form_of_scores(
    texts: Sequence[Sequence[str]], scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]]
) -> dict[str, dict[str, float | None]]:
    """Return per feature its correlation with the scores, with the labels (ranks, best highest), and the difference."""
    labels: list[list[float]] = []
    for row in ranks:
        labels.append([-float(rank) for rank in row])
    found: dict[str, dict[str, float | None]] = {}
    for name, feature in FEATURES.items():
        table: list[list[float]] = []
        for responses in texts:
            table.append([feature(text) for text in responses])
        score, label = correlation(table, scores), correlation(table, labels)
        found[name] = {"score": score, "labels": label, "excess": None if score is None or label is None else score - label}
    return found
