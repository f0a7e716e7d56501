"""The cards of classifiers as a project has them, for pages that show what a figure rests on."""

from __future__ import annotations

from pathlib import Path

from accord.data.classifiers.measure import Card as Card
from accord.data.classifiers.measure import Share as Share
from accord.data.classifiers.measure import cards
from accord.data.classifiers.project_set import MEASURED


def known_cards(project: Path) -> dict[str, Card]:
    """Return by ``TASK NAME`` the cards that come with Accord, and those of a project in their place; a broken file is left out."""
    try:
        return cards() | cards(project / MEASURED)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return cards()
