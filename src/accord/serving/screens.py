"""The screen of a review: signs of harm, injections and noise, and personal data, which is removed from whatever becomes a record."""

from __future__ import annotations

from accord.data import personal
from accord.feedback.moderation import Finding, Screen, screen, together


def personal_data(text: str) -> list[Finding]:
    """Return personal data as findings of a review."""
    return [Finding("personal", found.kind.lower(), found.start, found.end) for found in personal.find(text)]


EVERYTHING: Screen = together(personal_data, screen)
