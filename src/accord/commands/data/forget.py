"""`accord forget`: erase a person's prompts and answers, and name the models that learned from them.

Needs the person's name as the prompts or the chat have it. Leaves emptied rows in the database, runs without the person's rows, and the
audit log, which holds that somebody was forgotten and not who. There is no way back; the weights of models keep what they learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why, shows, table_of
from accord.feedback import copies, erasure
from accord.feedback.apps import pseudonym
from accord.feedback.audit import OPERATOR
from accord.feedback.privacy import clear_log
from accord.feedback.store import Store
from accord.runtime.lineage import models_that_learned
from accord.runtime.project import Project


def _show(metrics: Mapping[str, Any]) -> None:
    table_of("forgotten", metrics)
    if not metrics["log_cleared"]:
        print("feedback.db-wal still holds the erased text: another program reads the database in a long transaction.")
        print("The file goes when every program has closed the database.")
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
        write-ahead log was cleared.

    Raises:
        StoreError: the database holds nothing of that user.
    """
    opened, now = Project.open(project), datetime.now(UTC)
    with Store.open(opened.store_url) as store:
        with store.write() as connection:
            named = pseudonym(connection, app, user) if app else user
        person = erasure.person(store, named)
        found = erasure.traces(opened.path / "runs", person)
        snapshots = [trace for trace in found if trace.path.name != "samples.jsonl"]
        digests, runs = {trace.digest for trace in snapshots}, {trace.path.parent.name for trace in snapshots}
        models = models_that_learned(opened, digests, runs)
        # The copies lose their rows first: when this is stopped in between, the next run still finds the user.
        others = copies.copies(opened.path, person, {trace.path.parent.name for trace in found})
        if not keep_copies:
            copies.remove_copies(others, person)
        removed = 0 if keep_copies else erasure.remove(found, person, now=now)
        emptied = erasure.forget(store, person, by=OPERATOR, why=why, now=now)
        cleared = clear_log(store)
    files = {f"{trace.path.parent.name}/{trace.path.name}": trace.rows for trace in found}
    copied = [str(path.relative_to(opened.path)) for path in others]
    return {
        **emptied,
        "rows_in_runs": sum(files.values()),
        "rows_removed_from_runs": removed,
        "files": files,
        "copies": copied,
        "models": models,
        "log_cleared": cleared,
    }
