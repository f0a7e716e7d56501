"""The models that learned from records, by the snapshots in the runs' folders: for `accord undo`, `accord remove` and a record's page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from accord.feedback.imports import Records, as_rows_show
from accord.feedback.store import Store
from accord.runtime.lineage import models_that_learned
from accord.runtime.project import Project

NOT_LEARNED = ("metrics.jsonl", "samples.jsonl")
"""Files of a run that no model learned from."""
FEW = 50
"""Records of which the ids are looked for in a line before it is parsed."""


def models_of(project: Project, store: Store, withdrawn: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the models that learned from records, and their descendants, each with how.

    Args:
        withdrawn: ids by kind.
    """
    records, digests, runs = as_rows_show(store, withdrawn), set[str](), set[str]()
    words = _words(records)
    for path in sorted((project.path / "runs").glob("*/*.jsonl")):
        if path.name in NOT_LEARNED:
            continue
        with path.open(encoding="utf-8", newline="\n") as lines:
            rows = (line for line in lines if line.startswith("{") and (words is None or any(word in line for word in words)))
            if any(records.in_row(json.loads(line)) for line in rows):
                digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
                runs.add(path.parent.name)
    return models_that_learned(project, digests, runs)


def _words(records: Records) -> list[str] | None:
    """Return words of which a line with one of the records has at least one; None where every line has to be parsed."""
    words = [*records.ids, *(next(iter(responses), "") for _, responses in records.judged)]
    # JSON may write other characters in several ways.
    plain = all(word.isascii() and word.isprintable() and not {'"', "\\", "/"} & set(word) for word in words)
    return words if plain and len(words) <= FEW else None
