"""`accord remove`: take one record out of what is learned from: a prompt, response, ranking, demonstration or thumb.

Needs its id. Leaves it in the database, withdrawn, with the reason in the audit log. The weights of models keep what they learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why, shows, table_of
from accord.feedback.audit import OPERATOR
from accord.feedback.imports import remove as remove_record
from accord.feedback.removals import models_of
from accord.feedback.store import Store
from accord.runtime.project import Project


def _show(metrics: Mapping[str, Any]) -> None:
    table_of("removed", metrics)
    if metrics["models"]:
        print("The weights of these models keep what they learned: train them again from what is left, or remove them.")


@shows(_show)
def remove(
    project: ProjectPath,
    id: Annotated[str, Parameter(help="Of a prompt, response, ranking, demonstration or thumb, as `accord export` shows it.")],
    *,
    why: Why = "",
) -> dict[str, Any]:
    """Take one record out of what is learned from, with what cannot be without it.

    A prompt takes its demonstrations, rankings and thumbs along. A response takes the thumbs on it along, and leaves its rankings.

    Example: accord remove my-project p-9aa7f139c31c112235ad --why "a customer's name"

    Returns:
        ``withdrawn``: number of records by kind; and the ``models`` that learned from them.

    Raises:
        StoreError: there is no such record, or it is withdrawn.
    """
    opened = Project.open(project)
    with Store.open(opened.store_url) as store:
        withdrawn = remove_record(store, id, by=OPERATOR, why=why, now=datetime.now(UTC))
        models = models_of(opened, store, withdrawn)
    return {"withdrawn": {kind: len(ids) for kind, ids in withdrawn.items() if ids}, "models": models}
