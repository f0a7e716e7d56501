"""The rules: combinations of words, for a machine without a model. Their cards say how much they miss."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from accord.data import languages, machine_written, personal, refusal, toxicity
from accord.data.classifiers.concepts import concepts_in
from accord.data.classifiers.interface import NONE, Task, Text, Verdict, words_of
from accord.data.spelling import plain

SURE = 1.0
"""Rules know no probability."""
_COMMANDS = re.compile(r"[.!?。！？\n]")
_COMBINED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "self-harm": (("self", "ask"),),
    "sexual": (("minor", "sex"),),
    "violence": (("weapon", "ask"), ("kill", "person", "ask"), ("kill", "evade")),
    "hate": (("group", "hateful"),),
    "crime": (("steal", "ask"), ("fraud", "ask"), ("cyber", "ask"), ("drug", "ask"), ("steal", "evade")),
    "privacy": (("stalk", "person"), ("stalk", "ask")),
}
"""Concepts that make a request harmful when a text has all of one row and no benign one."""
_INJECTED: tuple[tuple[str, ...], ...] = (
    ("ignore", "orders", "earlier"),
    ("ignore", "orders", "system"),
    ("reveal", "system", "orders"),
    ("unbound", "role"),
    ("unbound", "orders"),
    ("marks",),
    ("model", "favour"),
)


def _stance(text: str) -> str:
    if refusal.refuses(text):
        return "refusal"
    if refusal.admits_ignorance(text):
        return "admission"
    return "hedge" if {"maybe", "think"} & {*concepts_in("stance", plain(text))} else "claim"


def _harm(text: str) -> str:
    found = {*concepts_in("harm", plain(text))}
    if "benign" not in found:
        for label, rows in _COMBINED.items():
            if any(found.issuperset(row) for row in rows):
                return label
    return NONE


def injected(text: str) -> bool:
    """Return whether a sentence of a text gives orders to the model, by its combination of words."""
    for sentence in _COMMANDS.split(plain(text)):
        found = {*concepts_in("injection", sentence)}
        if "harmless" not in found and any(found.issuperset(row) for row in _INJECTED):
            return True
    return False


_RULES: Mapping[Task, Callable[[str], str]] = {
    "stance": _stance,
    "harm": _harm,
    "injection": lambda text: "injection" if injected(text) else NONE,
    "toxicity": lambda text: "toxic" if toxicity.is_toxic(plain(text)) else NONE,
    "language": languages.by_words,
    "personal": lambda text: "personal" if personal.find(text) else NONE,
    "written": lambda text: "machine-written" if machine_written.evidence(text) else NONE,
}


def by_rules(task: Task) -> Callable[[Sequence[Text]], list[Verdict]]:
    """Return the classifier of a task by rules."""
    rule = _RULES[task]
    return lambda texts: [Verdict(rule(words_of(text)), SURE) for text in texts]
