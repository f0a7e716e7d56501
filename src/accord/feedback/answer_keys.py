"""Problems with a known final answer: `accord star` learns from them and `accord solve` checks models by them."""

from __future__ import annotations

from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Split, final_answer

NO_PROBLEMS = "`accord problems` adds some; `accord import --format gsm8k` reads others"
"""The hint for a project that has no problems."""


def with_answer_keys(store: Store, split: Split, kinds: str) -> list[Demonstration]:
    """Return the demonstrations of a split that end in ``####`` and a number, one per prompt.

    Args:
        kinds: labeler kinds whose answers to use, for example ``person simulated``.

    Raises:
        UsageError: there is no such kind of labeler.
    """
    rows = said_by(store, store.demonstrations(split=split), kinds)
    return list({row.prompt.id: row for row in rows if final_answer(row.text) is not None}.values())
