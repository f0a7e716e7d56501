"""The lead's own fields of labelers' profiles: read from accord.toml, and what labelers told in them. All of it is voluntary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from accord.feedback import accounts
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings.profile import SECTION, fields
from accord.settings.questions import Question

LONGEST = 80
"""Maximum length in characters of what is told in one field."""
FEWEST = 3
"""Labelers who told the same before it is counted outside the labeling site: one alone would be known by it."""
NOT_SAID = "(not said)"
FEW = f"(fewer than {FEWEST} labelers)"


def fields_of(folder: Path | None) -> dict[str, Question]:
    """Return the fields of a project, as accord.toml has them now; a site without a project has none.

    Raises:
        UsageError: accord.toml cannot be used.
    """
    if folder is None:
        return {}
    return fields(Project.open(folder).settings.get(".".join(SECTION), {}))


def told(store: Store, field: str) -> dict[str, str]:
    """Return what each labeler told in a field; those who told nothing are missing."""
    said = {account.id: account.profile.get(field, "") for account in accounts.people(store)}
    return {id: value for id, value in said.items() if isinstance(value, str) and value}


def without_few(said: Mapping[str, str]) -> dict[str, str]:
    """Return the same with what fewer than ``FEWEST`` labelers told as one value."""
    count = Counter(said.values())
    return {id: value if count[value] >= FEWEST else FEW for id, value in said.items()}
