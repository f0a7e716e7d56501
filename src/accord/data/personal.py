"""Personal data in text: detected by rules, then replaced, or the text dropped or marked for review. No torch, no model, no download,
unless the caller brings a model that finds more.

Finds names, e-mail, phone, postal and IP addresses, ID and card numbers (with their checksums), keys and tokens, in English and Chinese.
docs/redact.md gives the recall on a labeled set and lists the data that is not looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from accord.data.names import names
from accord.data.patterns import KINDS, RULES, Kind
from accord.records import Message

Mode = Literal["replace", "drop", "review"]
_LEADS = ("住址", "地址", "住在", "位于", "寄到", "寄往", "送到", "在", "到", "于", "址", "是", "为", "往", "从", "给", "和")
"""Words that precede an address in a Chinese sentence without a space."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of personal data: ``text[start:end]``."""

    kind: Kind
    start: int
    end: int
    text: str
    rule: str
    """The rule that found it, for example ``resident id``."""


More = Callable[[str], Iterable[Finding]]
"""Finds what the rules do not, such as a model that knows names."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text after redaction."""

    text: str
    """With ``replace`` the text with tags such as ``[EMAIL_1]`` in place of the findings, otherwise the text unchanged."""
    kept: bool
    """False when the mode is ``drop`` and something was found."""
    findings: tuple[Finding, ...]
    """The findings, with positions in the original text."""


def find(text: str, kinds: Collection[Kind] = KINDS, more: More | None = None) -> list[Finding]:
    """Return the personal data in a text, in order. Where two overlap, the kind earlier in ``KINDS`` wins, then the longer.

    Args:
        kinds: the kinds to look for.
        more: finds more, beside the rules.
    """
    candidates = [*_candidates(text, kinds), *(found for found in (more(text) if more else ()) if found.kind in kinds)]
    found = sorted(candidates, key=lambda f: (KINDS.index(f.kind), f.start - f.end, f.start))
    taken: list[Finding] = []
    covered = bytearray(len(text))  # a mark per character, so that many findings are as cheap each as few
    for one in found:
        if covered.find(1, one.start, one.end) < 0:
            covered[one.start : one.end] = b"\1" * (one.end - one.start)
            taken.append(one)
    return sorted(taken, key=lambda f: f.start)


def redact(text: str, mode: Mode = "replace", kinds: Collection[Kind] = KINDS, more: More | None = None) -> Redacted:
    """Redact a text: replace its personal data, drop the text, or only report the findings.

    The same datum gets the same tag throughout, so that a text stays readable: ``[NAME_1] wrote to [NAME_2]``.
    """
    return redact_all([text], mode, kinds, more)[0]


def redact_all(texts: Sequence[str], mode: Mode = "replace", kinds: Collection[Kind] = KINDS, more: More | None = None) -> list[Redacted]:
    """Redact the texts of one conversation: a datum has the same tag in all of them, and one finding drops them all."""
    found = [tuple(find(text, kinds, more)) for text in texts]
    if mode != "replace":
        kept = mode == "review" or not any(found)
        return [Redacted(text, kept, findings) for text, findings in zip(texts, found, strict=True)]
    tags = _tags(finding for findings in found for finding in findings)
    return [Redacted(_replaced(text, findings, tags), True, findings) for text, findings in zip(texts, found, strict=True)]


def redact_messages(messages: Sequence[Message], kinds: Collection[Kind] = KINDS) -> tuple[tuple[Message, ...], list[Finding]]:
    """Return a conversation with its personal data replaced, and the findings."""
    done = redact_all([message.content for message in messages], "replace", kinds)
    clean = tuple(replace(message, content=each.text) for message, each in zip(messages, done, strict=True))
    return clean, [finding for each in done for finding in each.findings]


def _candidates(text: str, kinds: Collection[Kind]) -> Iterator[Finding]:
    marks = set(text)
    for rule in RULES:
        if rule.kind not in kinds or (rule.needs and marks.isdisjoint(rule.needs)):
            continue
        for match in rule.pattern.finditer(text):
            start, end = match.span("it" if "it" in rule.pattern.groupindex else 0)
            if rule.unless and rule.unless.search(text, max(0, start - 40), start):
                continue
            if rule.valid(text[start:end]):
                start += _lead(text[start:end]) if rule.name.startswith("chinese") else 0
                yield Finding(rule.kind, start, end, text[start:end], rule.name)
    if "name" in kinds:
        yield from (Finding("name", start, end, text[start:end], rule) for start, end, rule in names(text))


def _lead(address: str) -> int:
    """Return the number of characters before a Chinese address that belong to the sentence; place names contain none of these words."""
    head = address[:8]
    return max((head.rfind(lead) + len(lead) for lead in _LEADS if 0 <= head.rfind(lead) <= 5), default=0)


def _tags(findings: Iterable[Finding]) -> dict[tuple[Kind, str], str]:
    tags, counts = dict[tuple[Kind, str], str](), dict[Kind, int]()
    for finding in findings:
        if (finding.kind, finding.text) not in tags:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
            tags[finding.kind, finding.text] = f"[{finding.kind.upper()}_{counts[finding.kind]}]"
    return tags


def _replaced(text: str, findings: Sequence[Finding], tags: dict[tuple[Kind, str], str]) -> str:
    parts, at = list[str](), 0
    for finding in findings:
        parts += [text[at : finding.start], tags[finding.kind, finding.text]]
        at = finding.end
    return "".join(parts) + text[at:]
