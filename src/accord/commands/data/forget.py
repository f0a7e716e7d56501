"""`accord forget`: erase a person's prompts and answers, and name the models that learned from them.

Needs the person's name as the prompts or the chat have it. Leaves emptied rows in the database, runs without the person's rows, and the
audit log, which holds that somebody was forgotten and not who. There is no way back; the weights of models keep what they learned. When
it is killed, the same command finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why, shows, table_of
from accord.feedback import erasure, erasure_plan
from accord.feedback.apps import pseudonym
from accord.feedback.audit import OPERATOR
from accord.feedback.privacy import clear_log
from accord.feedback.store import Store
from accord.runtime.project import Project


def _show(metrics: Mapping[str, Any]) -> None:
    table_of("forgotten", metrics)
    if not metrics["log_cleared"]:
        print("feedback.db-wal still holds the erased text: another program reads the database in a long transaction.")
        print("The file goes when every program has closed the database.")
    if metrics.get("resumed"):
        print("An interrupted run was finished. The files and models are those of both runs, the emptied rows those that were left.")
    if metrics.get("interrupted"):
        print(f"The erasure of {', '.join(metrics['interrupted'])} was interrupted, or is going on: run it again.")
    if metrics["models"]:
        print("The weights of these models keep what they learned: train them again from what is left, or remove them.")


@shows(_show)
def forget(
    project: ProjectPath,
    *,
    user: Annotated[str, Parameter(help="Who, as the prompts name them, or as the chat does.")],
    app: Annotated[str, Parameter(help="The app (a key's name) whose name for an end user this is.")] = "",
    keep_copies: Annotated[bool, Parameter(help="Leave the rows in runs as they are.", negative="")] = False,
    why: Why = "",
) -> dict[str, Any]:
    """Erase what a person asked and said, and name the models that learned from it. There is no way back.

    Example: accord forget my-project --user user-042 --why "asked for it"

    Returns:
        Emptied rows by kind; files of runs with the person's rows, and how many rows were removed; other files and folders with
        copies, which were removed or cleaned; the models that learned from them, or descend from such a model; and whether SQLite's
        write-ahead log was cleared. ``resumed`` where an interrupted run was finished: its files and models are among these, and the
        emptied rows are those that it had left. ``interrupted`` names users whose erasure was begun and is not done.

    Raises:
        StoreError: the database holds nothing of that user.
    """
    opened, now = Project.open(project), datetime.now(UTC)
    with Store.open(opened.store_url) as store:
        with store.write() as connection:
            named = pseudonym(connection, app, user) if app else user
        found = erasure_plan.write_plan(opened, store, named)
        if not keep_copies:
            erasure_plan.remove_files(opened, found, now=now)
        emptied = erasure.forget(store, found.person, by=OPERATOR, why=why, now=now)
        cleared = clear_log(store)
        others = erasure_plan.finish(opened, store, found, by=OPERATOR, why=why, now=now)
    return {
        **emptied,
        "rows_in_runs": sum(found.files.values()),
        "rows_removed_from_runs": 0 if keep_copies else sum(found.files.values()),
        "files": found.files,
        "copies": found.copies,
        "models": found.models,
        "log_cleared": cleared,
        **({"resumed": True} if found.resumed else {}),
        **({"interrupted": others} if others else {}),
    }
