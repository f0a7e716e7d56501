"""Demonstrations whose answer can be checked."""

from __future__ import annotations

from accord.algorithms.rewards import final_answer
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Split


def with_answer_keys(store: Store, split: Split, kinds: str) -> list[Demonstration]:
    """Return the demonstrations of a split that end in ``####`` and a number, one per prompt."""
    by_prompt: dict[str, Demonstration] = {}
    for row in said_by(store, store.demonstrations(split=split), kinds):
        if final_answer(row.text) is not None:
            by_prompt[row.prompt.id] = row
    return list(by_prompt.values())
