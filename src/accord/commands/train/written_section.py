"""The section of a run's data card on machine-written text: how many rows have the hint, and how often the hint is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from accord.data import written_hints
from accord.data.classifiers.project_set import PAGE, of_folder
from accord.data.classifiers.registry import OFF
from accord.errors import StoreError
from accord.feedback.data_card import Section
from accord.feedback.store import Store
from accord.runtime.project import Project


def hints_section(project: Project, folder: Path, data: Mapping[str, str]) -> list[Section]:
    """Return the section for a run that learned from demonstrations by people; none for another, or where hints are off.

    Args:
        folder: of the run, with its snapshots.
        data: what snapshots there are.
    """
    path, classifiers = folder / "demonstrations.jsonl", of_folder(project.path)
    if "demonstrations" not in data or not path.is_file() or classifiers.name("written") == OFF:
        return []
    try:
        with Store.open(project.store_url) as store:
            models = {person.id for person in store.labelers() if person.kind in ("model", "simulated")}
    except StoreError:  # a database that cannot be read costs the run nothing
        return []
    with path.open(encoding="utf-8", newline="\n") as lines:
        rows = [row for line in lines if (row := json.loads(line)).get("labeler") not in models]
    if not rows:
        return []
    flagged = sum(map(bool, written_hints.reasons(classifiers, [str(row["text"]) for row in rows])))
    people = written_hints.in_ten(classifiers)
    wrong = (
        f"where it errs most, people wrote {people} of 10 texts with this hint"
        if people is not None
        else "how often it errs was never measured"
    )
    text = f"Rows by people that a model may have written. A hint is no verdict, and nothing was left out: {wrong} ({PAGE}#written)."
    return [Section("Hints of machine-written text", text, ("rows by people", "with the hint"), [(len(rows), flagged)])]
