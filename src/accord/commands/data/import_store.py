"""The storing of an import: rows go to a spool, then into the database in one transaction, and files get their names last."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accord.data import spans
from accord.data.archives import bare_name
from accord.data.importers import Intake
from accord.data.json_lines import JsonLines, RejectedRows
from accord.data.mixtures import parts_of
from accord.data.sources import Source, files_of
from accord.feedback.spool import Spool
from accord.feedback.store import Store
from accord.records import Split
from accord.runtime.files import clean, disk_errors, sync, temporary
from accord.runtime.progress import track
from accord.runtime.project import Project

REJECTS = "rejects"
"""The folder of a project with the rows that could not be used, a file for each source."""


def import_source(project: Project, source: Source, *, split: Split | None, skip_bad: bool, quiet: bool) -> dict[str, Any]:
    """Read a source into the project and return the counts. Rows are spooled to disk first, so that a bad row stores nothing.

    Raises:
        InputError: the source or a row of it cannot be used.
        StoreError: a record is in the database with another content.
    """
    began, sources = time.perf_counter(), parts_of(source)
    with _unfinished_folder(project) as folder, Spool(folder) as spool:
        texts, marks = JsonLines(folder / "documents.jsonl"), JsonLines(folder / "spans.jsonl")
        rejects = RejectedRows(folder / "rejects.jsonl")
        size = 0
        for part in sources:
            size += sum(file.stat().st_size for file in files_of(part.path))
        with track(size, "reading (bytes)", quiet=quiet) as bar, texts, marks, rejects:
            intake = Intake(sources, split=split, reject=rejects.reject if skip_bad else None, tell=bar.advance)
            for _, taken in intake.rows():
                spool.add(record for record in taken.records if not isinstance(record, spans.Span))
                marks.add(*(dataclasses.asdict(record) for record in taken.records if isinstance(record, spans.Span)))
                texts.add(*({"text": document} for document in taken.documents))
        added = _store(project, source, spool, texts, marks, quiet=quiet)
        kept_rejects = {"rejects": str(rejects.keep(project.path / REJECTS, source.path))} if rejects.lines else {}
    seconds = time.perf_counter() - began
    pace = {"seconds": round(seconds, 2), "rows_per_second": round(intake.tally.read / seconds)}
    return {**intake.tally.metrics, **added, **kept_rejects, **pace}


def _store(project: Project, source: Source, spool: Spool, texts: JsonLines, marks: JsonLines, *, quiet: bool) -> dict[str, int]:
    """Store the rows in one transaction; files get their names last before it ends, and lose them again when it does not."""
    targets = {texts: project.path / "corpus", marks: project.path / spans.FOLDER}
    placed, new_lines = list[Path](), dict.fromkeys(targets, 0)

    def place() -> None:
        for lines, folder in targets.items():
            target = folder / f"{_stem(source.path)}-{lines.digest[:8]}.jsonl"
            if lines.lines and not target.exists():
                folder.mkdir(exist_ok=True)
                placed.append(lines.path.rename(target))
                sync(folder)
                new_lines[lines] = lines.lines

    # ``place`` runs last in the transaction, so the files are there only if the rows are; a failing commit takes them back.
    try:
        with Store.open(project.store_url) as store, track(sum(spool.counts.values()), "storing", quiet=quiet) as bar:
            added = spool.store(store, before_commit=place, tell=bar.advance)
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise
    new_spans = {"spans": new_lines[marks]} if marks.lines else {}
    return {"documents": new_lines[texts], **added, **new_spans}


def _stem(path: Path) -> str:
    """A source's name as a file's."""
    return re.sub(r"[^\w-]+", "-", bare_name(path).rsplit(".", 1)[0]).strip("-")[:60] or "source"


@contextmanager
def _unfinished_folder(project: Project) -> Generator[Path]:
    """An empty folder in the project, gone afterwards. Remains of an import that was killed are cleared first."""
    clean(project.path, "import")
    folder = temporary(project.path / "import")
    folder.mkdir()
    try:
        with disk_errors(project.path):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
