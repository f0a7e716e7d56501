"""What a machine finds in a text before a person reviews it: marks of harm, orders to the model, mere noise.

Pure functions. They find what can be found by its form and say where; judging is the reviewer's. Personal data is found by a screen
that is handed in (``accord.data.personal`` in the chat), and is taken out of whatever becomes a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

What = Literal["personal", "harm", "injection", "noise"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a text that a reviewer should look at."""

    what: What
    name: str
    """e.g. ``email``; it stands in the text's place where personal data is taken out."""
    start: int
    end: int


Screen = Callable[[str], Sequence[Finding]]
"""Finds things in a text."""

HARM = {
    "self-harm": re.compile(r"\b(?:kill (?:myself|yourself)|suicide|self[- ]harm)\b|自杀|自残", re.I),
    "violence": re.compile(r"\b(?:how to (?:make|build) (?:a )?(?:bomb|explosive)|shoot up|poison (?:him|her|them|someone))\b|炸弹", re.I),
    "sexual": re.compile(r"\b(?:porn\w*|sex with (?:a )?(?:child|minor)\w*)\b|色情", re.I),
}
INJECTION = {
    "order-to-the-model": re.compile(
        r"\b(?:ignore|disregard|forget) (?:all |any )?(?:the |your )?(?:previous|above|prior|earlier) "
        r"(?:instructions?|prompts?|messages?)\b"
        r"|忽略(?:之前|以上|上面)的?(?:所有)?(?:指令|指示|提示)",
        re.I,
    ),
    "asks-for-the-system-prompt": re.compile(r"\b(?:reveal|print|show|repeat) (?:me )?(?:your|the) system (?:prompt|message)\b", re.I),
    "chat-marks": re.compile(r"<\|[\w/]{1,30}\|>|\[/?INST\]|<</?SYS>>"),
}
NOISE = re.compile(r"(\w.{0,19}?)\1{9,}", re.S)


def screen(text: str) -> list[Finding]:
    """Harm, orders and noise, in the order of the places."""
    groups: tuple[tuple[What, dict[str, re.Pattern[str]]], ...] = (("harm", HARM), ("injection", INJECTION))
    found = [
        Finding(what, name, match.start(), match.end())
        for what, patterns in groups
        for name, pattern in patterns.items()
        for match in pattern.finditer(text)
    ]
    found += [Finding("noise", "repetition", match.start(), match.end()) for match in NOISE.finditer(text)]
    return apart(found)


def together(*screens: Screen) -> Screen:
    """One screen out of several."""
    return lambda text: apart([finding for one in screens for finding in one(text)])


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in the order of their places; one of personal data goes before others of its place, and one of a kind is enough."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, f.what != "personal", -f.end)):
        if not any(finding.start < other.end and finding.what == other.what for other in kept):
            kept.append(finding)
    return kept


def redacted(text: str, findings: Sequence[Finding]) -> str:
    """The text with ``[email]`` and its like in the place of personal data."""
    parts, at = list[str](), 0
    for finding in (f for f in findings if f.what == "personal"):
        parts += [text[at : finding.start], f"[{finding.name}]"]
        at = finding.end
    return "".join(parts) + text[at:]
