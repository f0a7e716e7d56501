"""Automatic findings in a text for a human reviewer: signs of harm, prompt injections, noise.

These are pure functions. They find patterns and their positions; the reviewer judges. The caller passes a screen for personal data
(``accord.data.personal`` in the chat), which is removed from whatever becomes a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

What = Literal["personal", "harm", "injection", "noise"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A part of a text that a reviewer should look at."""

    what: What
    name: str
    """Name of the finding, for example ``email``; it replaces personal data in the text."""
    start: int
    end: int


Screen = Callable[[str], Sequence[Finding]]
"""A function that returns the findings in a text."""

HARM = {
    "self-harm": re.compile(r"\b(?:kill (?:myself|yourself)|suicide|self[- ]harm)\b|自杀|自残", re.I),
    "violence": re.compile(r"\b(?:how to (?:make|build) (?:a )?(?:bomb|explosive)|shoot up|poison (?:him|her|them|someone))\b|炸弹", re.I),
    "sexual": re.compile(r"\b(?:porn\w{0,30}|sex with (?:a )?(?:child|minor)\w{0,30})\b|色情", re.I),
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
    """Return harm, injections and noise, in order of position."""
    groups: tuple[tuple[What, dict[str, re.Pattern[str]]], ...] = (("harm", HARM), ("injection", INJECTION))
    found = list[Finding]()
    for what, patterns in groups:
        for name, pattern in patterns.items():
            found += [Finding(what, name, match.start(), match.end()) for match in pattern.finditer(text)]
    found += [Finding("noise", "repetition", match.start(), match.end()) for match in NOISE.finditer(text)]
    return apart(found)


def together(*screens: Screen) -> Screen:
    """Combine several screens into one."""
    return lambda text: apart(chain.from_iterable(screen(text) for screen in screens))


def remembered(screen: Screen) -> Screen:
    """Return a screen that looks at each text once."""
    known = dict[str, Sequence[Finding]]()

    def looked_up(text: str) -> Sequence[Finding]:
        if text not in known:
            known[text] = screen(text)
        return known[text]

    return looked_up


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in order of position; at one position personal data comes first, and each kind appears once."""
    kept: list[Finding] = []
    ends = dict[What, int]()
    for finding in sorted(findings, key=lambda f: (f.start, f.what != "personal", -f.end)):
        if finding.start >= ends.get(finding.what, 0):
            ends[finding.what] = max(finding.end, ends.get(finding.what, 0))
            kept.append(finding)
    return kept


def redacted(text: str, findings: Sequence[Finding]) -> str:
    """Return the text with personal data replaced by ``[email]`` and the like."""
    parts, at = list[str](), 0
    for finding in (f for f in findings if f.what == "personal"):
        parts += [text[at : finding.start], f"[{finding.name}]"]
        at = finding.end
    return "".join(parts) + text[at:]
