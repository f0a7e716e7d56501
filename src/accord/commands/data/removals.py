"""What `accord undo` and `accord remove` share: the models that learned from withdrawn records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from accord.feedback.imports import as_rows_show
from accord.feedback.store import Store
from accord.runtime.lineage import models_that_learned
from accord.runtime.project import Project

NOT_LEARNED = ("metrics.jsonl", "samples.jsonl")
"""Files of a run that no model learned from."""


def models_of(project: Project, store: Store, withdrawn: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the models that learned from withdrawn records, and their descendants, each with how.

    Args:
        withdrawn: ids by kind.
    """
    records, digests, runs = as_rows_show(store, withdrawn), set[str](), set[str]()
    for path in sorted((project.path / "runs").glob("*/*.jsonl")):
        if path.name in NOT_LEARNED:
            continue
        with path.open(encoding="utf-8", newline="\n") as lines:
            if any(records.in_row(json.loads(line)) for line in lines if line.startswith("{")):
                digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
                runs.add(path.parent.name)
    return models_that_learned(project, digests, runs)
