"""Guidelines for the pages: the one in force, what a labeler read last, and what changed between the two."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, select

from accord.feedback import guidelines, schema
from accord.feedback.accounts import Account
from accord.feedback.web.languages import Language, guideline_language
from accord.feedback.web.visiting import Site
from accord.records import Guideline, GuidelineSet

SETS: tuple[GuidelineSet, ...] = ("training", "evaluation")
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
    """A line of what changed."""

    kind: Literal["added", "removed", "same", "gap"]
    text: str


def current(site: Site, set: GuidelineSet, language: Language) -> Guide:
    """The guideline in force."""
    return Guide(guidelines.reference(set), guidelines.load(set, guideline_language(language)))


def last_read(site: Site, account: Account, set: GuidelineSet) -> str:
    """The version that this person said to have read last; empty when none."""
    r = schema.guidelines_read
    query = select(r.c.version).where(r.c.labeler == account.id, r.c.set == set).order_by(r.c.at.desc()).limit(1)
    with site.store.read() as connection:
        return connection.scalar(query) or ""


def changed(site: Site, account: Account, set: GuidelineSet) -> bool:
    """Whether this person has read an earlier version and not the one in force."""
    return last_read(site, account, set) not in ("", guidelines.reference(set).version)


def mark_read(site: Site, account: Account, guideline: Guideline, now: datetime) -> None:
    """Notes that this person has read the guideline, and keeps its text, so that a later version can be compared with it."""
    r, g = schema.guidelines_read, schema.guidelines
    if guideline != guidelines.reference(guideline.set):
        return
    with site.store.write() as connection:
        for language in ("en", "zh"):
            kept = (g.c.set == guideline.set, g.c.version == guideline.version, g.c.language == language)
            if connection.scalar(select(g.c.at).where(*kept)) is None:
                text = guidelines.load(guideline.set, language)
                values = {"set": guideline.set, "version": guideline.version, "language": language, "text": text, "at": now.isoformat()}
                connection.execute(insert(g).values(values))
        if (
            connection.scalar(select(r.c.at).where(r.c.labeler == account.id, r.c.set == guideline.set, r.c.version == guideline.version))
            is None
        ):
            connection.execute(insert(r).values(labeler=account.id, set=guideline.set, version=guideline.version, at=now.isoformat()))


def old_text(site: Site, set: GuidelineSet, version: str, language: Language) -> str:
    """The text of an earlier version; empty when it was not kept."""
    g = schema.guidelines
    query = select(g.c.text).where(g.c.set == set, g.c.version == version, g.c.language == guideline_language(language))
    with site.store.read() as connection:
        return connection.scalar(query) or ""


def changes(old: str, new: str) -> list[Line]:
    """What was added and removed from one text to the other, with a line around it; empty when they are the same."""
    before, after = _lines(old), _lines(new)
    found: list[Line] = []
    for group in difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(AROUND):
        if found:
            found.append(Line("gap", "…"))
        for tag, i, j, k, m in group:
            if tag == "equal":
                found += [Line("same", text) for text in before[i:j]]
            else:
                found += [Line("removed", text) for text in before[i:j]] + [Line("added", text) for text in after[k:m]]
    return found


def _lines(text: str) -> list[str]:
    return list(_joined(text))


def _joined(text: str) -> Iterator[str]:
    """Sentences, list items and headings, one a line however the file is wrapped."""
    held = ""
    for line in text.splitlines():
        starts = not line.strip() or line.lstrip().startswith(("#", "-", "*", "|")) or line.lstrip()[:2].rstrip(".").isdigit()
        if starts and held:
            yield held
            held = ""
        held = f"{held} {line.strip()}".strip()
        if line.startswith("#"):
            yield held
            held = ""
    if held:
        yield held
