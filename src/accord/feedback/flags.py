"""Flags that mark a response as harmful. All flags are in ``accord.records``, their texts in web/translations.py."""

from __future__ import annotations

from accord.records import ResponseFlag

HARMFUL: tuple[ResponseFlag, ...] = (
    "sexual_content",
    "violent_content",
    "encourages_harm",
    "denigrates_protected_class",
    "gives_harmful_advice",
)
"""A response with one of these flags is sensitive."""
