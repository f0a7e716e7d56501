"""Guidelines for the pages: the current one, and its changes since a labeler last read it.

A page shows what is stored. While the project's text cannot be used, such as one that is being edited, the version before it stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from markupsafe import Markup

from accord.errors import InputError
from accord.feedback import guidelines
from accord.feedback.accounts import Account
from accord.feedback.guidelines import Change
from accord.feedback.refusals import Refused
from accord.feedback.tasks import Leased
from accord.feedback.web.access import Site
from accord.feedback.web.languages import Language, guideline_language
from accord.feedback.web.markdown import prose
from accord.records import Guideline, GuidelineSet

log = logging.getLogger("accord.site")
AROUND = 1
"""Unchanged lines shown around a change."""


@dataclass(frozen=True, slots=True)
class Guide:
    """A guideline as it is shown."""

    reference: Guideline
    html: Markup
    """The text in the reader's language, with its pictures."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a comparison; a gap stands for omitted unchanged lines."""

    kind: Literal["added", "removed", "same", "gap"]
    text: str


def in_force(site: Site, set: GuidelineSet, now: datetime) -> Guideline:
    """Return the current guideline after storing it, so that an answer may name the version that its page had.

    Raises:
        InputError: the project's text cannot be used, and there is none before it.
    """
    try:
        return guidelines.keep(site.store, set, now=now, project=site.folder, reader=site.pictures)
    except InputError as error:
        former = guidelines.latest(site.store, set)
        if former is None:
            raise
        log.error("%s; version %s of the guideline stays", error, former.version)
        return former


def shown(site: Site, set: GuidelineSet, now: datetime, language: Language) -> Guide:
    """Return the current guideline as a page has it."""
    guideline, spoken = in_force(site, set, now), guideline_language(language)
    text = guidelines.text_of(site.store, guideline, spoken) or guidelines.load(set, spoken, site.folder)
    return Guide(guideline, prose(text, guidelines.pictures_of(site.store, guideline)))


def named(site: Site, leased: Leased, version: str, now: datetime) -> Guideline:
    """Return the version that an answer names: the one in force, or one that was in force since the labeler got the task.

    Raises:
        Refused: the page of this task cannot have shown it.
    """
    guideline = Guideline(leased.task.guideline, version)
    if guideline != in_force(site, guideline.set, now) and not guidelines.stood(site.store, guideline, since=leased.given):
        raise Refused("other_guideline", detail=f"no page of this task had version {version[:40]!r}")
    return guideline


def changed(site: Site, account: Account, set: GuidelineSet, now: datetime) -> bool:
    """Return whether this person has read an earlier version and not the current one."""
    read = guidelines.last_read(site.store, account.id, set)
    return read is not None and read != in_force(site, set, now)


def changes(site: Site, account: Account, guideline: Guideline, language: Language) -> list[Line]:
    """Return the changes since this person last read the set, with the lines around them; empty when there are none."""
    return shortened(guidelines.changes_since_read(site.store, account.id, guideline, guideline_language(language)))


def shortened(lines: Sequence[Change]) -> list[Line]:
    """Return the changed lines with ``AROUND`` unchanged ones on each side; empty lines are left out."""
    lines = [line for line in lines if line.line.strip()]
    near = set[int]()
    for at, line in enumerate(lines):
        if line.kind != "same":
            near.update(range(at - AROUND, at + AROUND + 1))
    found: list[Line] = []
    for at, line in enumerate(lines):
        if at in near:
            found.append(Line(line.kind, line.line))
        elif found and found[-1].kind != "gap":
            found.append(Line("gap", "…"))
    return found


def mark_read(site: Site, account: Account, version: str, set: GuidelineSet, now: datetime) -> None:
    """Record that this person has read the current guideline; a page with an older version records nothing."""
    if in_force(site, set, now).version == version:
        guidelines.mark_read(site.store, account.id, Guideline(set, version), now=now)
