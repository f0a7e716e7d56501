"""Guidelines for the pages: the one in force, and what changed in it since a labeler last read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from accord.feedback import guidelines
from accord.feedback.accounts import Account
from accord.feedback.guidelines import Change
from accord.feedback.web.access import Site
from accord.feedback.web.languages import Language, guideline_language
from accord.records import Guideline, GuidelineSet

AROUND = 1
"""Unchanged lines shown beside a change."""


@dataclass(frozen=True, slots=True)
class Guide:
    """A guideline as it is shown."""

    reference: Guideline
    text: str
    """Markdown, in the reader's language."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of what changed; a gap stands for unchanged lines that are left out."""

    kind: Literal["added", "removed", "same", "gap"]
    text: str


def current(site: Site, set: GuidelineSet, language: Language) -> Guide:
    """The guideline in force."""
    return Guide(guidelines.reference(set, site.folder), guidelines.load(set, guideline_language(language), site.folder))


def changed(site: Site, account: Account, set: GuidelineSet) -> bool:
    """Whether this person has read an earlier version and not the one in force."""
    read = guidelines.last_read(site.store, account.id, set)
    return read is not None and read != guidelines.reference(set, site.folder)


def changes(site: Site, account: Account, guideline: Guideline, language: Language) -> list[Line]:
    """What changed since this person last read the set, with a line around it; empty when nothing did."""
    return shortened(guidelines.changes_since_read(site.store, account.id, guideline, guideline_language(language)))


def shortened(lines: Sequence[Change]) -> list[Line]:
    """The changed lines with ``AROUND`` unchanged ones on each side; empty lines are left out."""
    lines = [line for line in lines if line.line.strip()]
    near = {at + by for at, line in enumerate(lines) if line.kind != "same" for by in range(-AROUND, AROUND + 1)}
    found: list[Line] = []
    for at, line in enumerate(lines):
        if at in near:
            found.append(Line(line.kind, line.line))
        elif found and found[-1].kind != "gap":
            found.append(Line("gap", "…"))
    return found


def mark_read(site: Site, account: Account, version: str, set: GuidelineSet, now: datetime) -> None:
    """Notes that this person has read the guideline in force; an older page notes nothing."""
    if guidelines.keep(site.store, set, now=now, project=site.folder).version == version:
        guidelines.mark_read(site.store, account.id, Guideline(set, version), now=now)
