"""Problems whose final answer is known: what `accord star` learns from and `accord solve` checks by."""

from __future__ import annotations

from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Split, final_answer

NO_PROBLEMS = "`accord problems` adds some; `accord import --format gsm8k` reads others"
"""The way out for whoever has none."""


def with_answer_keys(store: Store, split: Split, kinds: str) -> list[Demonstration]:
    """Return the demonstrations of a split that end in ``####`` and a number, one per prompt.

    Args:
        kinds: kinds of labelers whose answers count, e.g. ``person simulated``.

    Raises:
        UsageError: there is no such kind of labeler.
    """
    rows = said_by(store, store.demonstrations(split=split), kinds)
    return list({row.prompt.id: row for row in rows if final_answer(row.text) is not None}.values())
