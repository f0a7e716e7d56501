"""Problems whose final answer is known, for the commands that check answers: star and solve. Loading this loads torch."""

from __future__ import annotations

from accord.algorithms.rewards import final_answer
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Split
from accord.runtime.project import Project

ADD_PROBLEMS = "add some with `accord problems`, or with `accord import --format gsm8k`"
"""The way out for whoever has no such problems."""


def problems_with_answers(project: Project, split: Split, kinds: str) -> list[Demonstration]:
    """Return the demonstrations of a split that end in ``####`` and a number, one per prompt.

    Args:
        kinds: the kinds of labelers that count.
    """
    with Store.open(project.store_url) as store:
        rows = said_by(store, store.demonstrations(split=split), kinds)
        return list({row.prompt.id: row for row in rows if final_answer(row.text) is not None}.values())
