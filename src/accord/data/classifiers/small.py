"""The shipped classifiers: a linear model per task (``linear``), asked about the sentences or the passages of a text.

A refusal stands in the opening of an answer, an admission anywhere in it. Of harm, injections and toxicity the worst part of a text
counts. Quotations are left out where the answer's own voice is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from accord.data.classifiers.interface import LABELS, NONE, Task, Text, Verdict, words_of
from accord.data.classifiers.linear import probabilities
from accord.data.refusal import refuses
from accord.data.spelling import plain

WEIGHTS = Path(__file__).parent / "weights"
OPENING = 300
"""Characters within which a refusal begins. A reservation at the end of a long answer is not a refusal."""
PASSAGE = 240
"""Characters of a passage; shorter sentences are read together with their neighbours."""
MOST = 60
"""Parts of a text that are looked at: the first half of them and the last."""
LONGEST_PART = 400
_QUOTED = re.compile(r"“[^“”]{0,2000}”|\"[^\"\n]{0,2000}\"|「[^「」]{0,2000}」")
_CHAT_MARKS = re.compile(r"<\|[\w/]{1,30}\|>|\[/?INST\]|<</?SYS>>")
"""Marks of chat templates, which nobody writes by chance."""
_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？；])|\n")


@dataclass(frozen=True)
class Small:
    """A shipped classifier."""

    task: Task

    def __call__(self, texts: Sequence[Text]) -> list[Verdict]:
        """Return the verdict on each text."""
        return [self._one(words_of(text)) for text in texts]

    def _one(self, text: str) -> Verdict:
        if self.task == "injection" and _CHAT_MARKS.search(text):
            return Verdict("injection", 1.0)
        return _stance(text) if self.task == "stance" else _worst(self.task, LABELS[self.task], text)


def stances(text: str) -> list[tuple[int, str, float]]:
    """Return for each sentence of a response its place, its label and that label's probability."""
    said = own_words(text)
    found, at = list[tuple[int, str, float]](), 0
    for sentence in _sentences(said):
        at = max(at, said.find(sentence, at))
        label, probability = _told("stance", sentence)
        found.append((at, label, probability))
    return found


def _stance(text: str) -> Verdict:
    """Return the stance of a response: a refusal in its opening, else an admission or a hedge anywhere, else a claim.

    A refusal in the usual words is one whatever the model says: it doubted "I cannot help with that.", and the rules err on next to none.
    """
    best: dict[str, float] = {"refusal": 1.0} if refuses(text) else {}
    for at, label, probability in stances(text):
        if label != "refusal" or at < OPENING:
            best[label] = max(best.get(label, 0.0), probability)
    for label in LABELS["stance"]:
        if label in best:
            return Verdict(label, best[label])
    return Verdict("claim", 1.0)


def _worst(task: Task, labels: tuple[str, ...], text: str) -> Verdict:
    """Return the verdict on the part of a text that is least likely harmless."""
    worst = Verdict(NONE, 1.0)
    for part in _passages(text) if task != "injection" else _sentences(text):
        label, probability = _told(task, part)
        if label != NONE and (worst.label == NONE or probability > worst.probability):
            worst = Verdict(label, probability)
        elif label == NONE and worst.label == NONE:
            worst = Verdict(NONE, min(worst.probability, probability))
    return worst


def own_words(text: str) -> str:
    """Return a text without quotations; one that is nothing but a quotation is kept."""
    text = text.strip()
    return _QUOTED.sub(" ", text).strip(" .!。！") or text


@lru_cache(20_000)
def _told(task: Task, part: str) -> tuple[str, float]:
    """Return the label of a part and its probability; where harm is less likely than the task's threshold, that of ``none``."""
    weights, bias, threshold = _weights(task)
    chances = probabilities(task, [plain(part)[:LONGEST_PART]], weights, bias)[0]
    labels = LABELS[task]
    if task == "stance":
        best = int(chances.argmax())
        return labels[best], float(chances[best])
    harmful = 1.0 - float(chances[-1])
    return (labels[int(chances[:-1].argmax())], harmful) if harmful >= threshold else (NONE, 1.0 - harmful)


@cache
def _weights(task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    held = load_file(WEIGHTS / f"{task}.safetensors")
    return held["weights"].astype(np.float64), held["bias"].astype(np.float64), float(held["threshold"][0])


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text; of a very long one those at its beginning and its end."""
    found = [part for piece in _END.split(text) if (part := piece.strip())]
    cut = [part[start : start + LONGEST_PART] for part in found for start in range(0, len(part), LONGEST_PART)]
    return cut if len(cut) <= MOST else [*cut[: MOST // 2], *cut[-MOST // 2 :]]


def _passages(text: str) -> list[str]:
    passages = list[str]()
    for sentence in _sentences(text):
        if passages and len(passages[-1]) + len(sentence) < PASSAGE:
            passages[-1] += f" {sentence}"
        else:
            passages.append(sentence)
    return passages
