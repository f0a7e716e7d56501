"""`accord prompts`: remove duplicate, unusable and leaked prompts, and tag the rest with language and use case.

Needs prompts. Leaves those that do not stay in the database, withdrawn with their reasons; a later run decides anew about them. Follows
Ouyang et al. 2022, section 3.2 and App. A; the rules are in data/pipeline.py.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Flat, ProjectPath
from accord.commands.data.prompts_records import count, read, write
from accord.data.archives import kind_of, text_lines
from accord.data.pipeline import Evaluation, curate, strings
from accord.data.row_reader import read_rows
from accord.errors import InputError
from accord.feedback.store import Store
from accord.runtime.files import TEMPORARY
from accord.runtime.progress import Track, track
from accord.runtime.project import Project
from accord.settings import PromptsConfig


def prompts(
    project: ProjectPath,
    *,
    against: Annotated[tuple[Path, ...], Parameter(help="Evaluation sets that no prompt may come from.", negative="")] = (),
    dry_run: Annotated[bool, Parameter(help="Count, and change nothing.", negative="")] = False,
    config: Annotated[PromptsConfig, Flat] = PromptsConfig(),
) -> dict[str, Any]:
    """Withdraw duplicates, prompts that are too long or too short, users' surplus and prompts of evaluation sets; tag the rest.

    Example: accord prompts my-project --against gsm8k/test.jsonl --per-user 200

    Args:
        against: evaluation sets in any format; every string in them counts.

    Returns:
        Counts: prompts read, kept, and dropped by reason; those kept also by split, language and use case.

    Raises:
        InputError: the project has no prompts, or an evaluation set cannot be read.
        StoreError: prompts came or went meanwhile; nothing was changed.
    """
    opened, started = Project.open(project), time.perf_counter()
    with Store.open(opened.store_url) as store:
        total = count(store)
        if not total:
            raise InputError("the project has no prompts", where=str(opened.path), hint="`accord import PROJECT FILE` reads some")
        evaluation = Evaluation.of(_strings(against), config.ngram) if against and config.ngram else None
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=opened.path) as folder, track(total, "looking at prompts") as bar:
            seen = hashlib.sha256()
            curated = curate(read(store, seen), config, Path(folder), evaluation=evaluation, track=_WithPace(bar))
        metrics = curated.metrics() | {"withdrawn": 0}
        if not dry_run:
            with track(total, "writing") as bar:
                metrics["withdrawn"] = write(store, curated, seen.hexdigest(), bar)
    seconds = time.perf_counter() - started
    return metrics | {"seconds": round(seconds, 1), "rows_per_second": round(total / seconds)}


class _WithPace:
    """A track that shows how many rows a second it takes."""

    def __init__(self, inner: Track) -> None:
        self.inner, self.done, self.started = inner, 0, time.perf_counter()

    def advance(self, n: int = 1, **metrics: float) -> None:
        self.done += n
        self.inner.advance(n, rows_per_second=self.done / (time.perf_counter() - self.started), **metrics)


def _strings(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        if kind_of(file) == ".txt":
            yield from text_lines(file)
        else:
            for row in read_rows(file):
                yield from strings(row.value)
