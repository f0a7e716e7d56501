"""`accord undo`: take an import back, and name the models that learned from it.

Needs the import's number. Leaves its records in the database, withdrawn, so that nothing learns from them; its raw text moves to undone/.
Importing the same file again brings them back. The weights of models keep what they learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why, shows, table_of
from accord.feedback.audit import OPERATOR
from accord.feedback.imports import Undone
from accord.feedback.imports import undo as undo_import
from accord.feedback.placed import mark, settle
from accord.feedback.removals import models_of
from accord.feedback.store import Store
from accord.runtime.project import Project


def _show(metrics: Mapping[str, Any]) -> None:
    table_of(f"import {metrics['import']} was taken back", {key: value for key, value in metrics.items() if key != "import"})
    if metrics["kept"]:
        print("What was kept has something resting on it that the import did not bring: sampled responses, labels or tasks.")
    if metrics["models"]:
        print("The weights of these models keep what they learned: train them again from what is left, or remove them.")


@shows(_show)
def undo(
    project: ProjectPath, number: Annotated[int, Parameter(help="Of the import, as `accord imports` lists it.")], *, why: Why = ""
) -> dict[str, Any]:
    """Take an import back: nothing learns from its records any more. What other imports brought as well, or labels rest on, stays.

    Example: accord undo my-project 3 --why "wrong column"

    Returns:
        ``withdrawn``: number of records by kind; ``handed_over``: how many stay since another import brought them too; ``kept``: how
        many stay since something else rests on them; and the ``models`` that learned from the import.

    Raises:
        StoreError: there is no such import, or it was taken back before.
    """
    opened = Project.open(project)

    def marked(done: Undone) -> None:
        mark(file for name in done.files if (file := opened.path / name).is_file())

    with Store.open(opened.store_url) as store:
        settle(store, opened.path)
        try:
            done = undo_import(store, number, by=OPERATOR, why=why, now=datetime.now(UTC), before_commit=marked)
        finally:
            settle(store, opened.path)  # the database decides where the files belong, also when its answer to the commit was lost
        models = models_of(opened, store, done.withdrawn)
    told = {"handed_over": done.handed_over, "kept": done.kept, "changed_back": done.changed_back, "files": list(done.files)}
    return {"import": number, "withdrawn": {kind: len(ids) for kind, ids in done.withdrawn.items() if ids}, **told, "models": models}
