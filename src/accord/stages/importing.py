"""Import: from foreign files into a project, all of it or nothing, whatever breaks in between; and a look at it beforehand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from accord.data import spans
from accord.data.archives import bare_name
from accord.data.importers import Intake
from accord.data.mixtures import parts_of
from accord.data.rows import Fault
from accord.data.sources import Source, files_of
from accord.feedback.spool import Spool
from accord.feedback.store import Store
from accord.records import Split
from accord.runtime.files import clean, disk_errors, sync, temporary
from accord.runtime.progress import track
from accord.runtime.project import Project

REJECTS = "rejects"
"""The folder of a project with the rows that could not be used, a file for each source."""


def import_stage(
    project: Project, source: Source, *, split: Split | None = None, skip_bad: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Stores what a source holds, all of it or nothing; the same again adds nothing.

    Args:
        source: a file, a folder, a data set of the hub, or a mixture of them (.toml).
        split: the split of every prompt; by their users when None.
        skip_bad: write rows that cannot be used to rejects/, each with its reason, and go on.

    Raises:
        InputError: the source or a row of it cannot be used; names file, line and field. Nothing was stored.
        StoreError: a record is in the store with another content. Nothing was stored.
    """
    began, sources = time.perf_counter(), parts_of(source)
    with _workplace(project) as folder, Spool(folder) as spool:
        texts, marks = _Sheet(folder / "documents.jsonl"), _Sheet(folder / "spans.jsonl")
        rejects = _Rejects(folder / "rejects.jsonl")
        size = sum(file.stat().st_size for part in sources for file in files_of(part.path))
        with track(size, "reading (bytes)", quiet=quiet) as bar, texts, marks, rejects:
            intake = Intake(sources, split=split, reject=rejects.add if skip_bad else None, tell=bar.advance)
            for _, taken in intake.rows():
                spool.add(record for record in taken.records if not isinstance(record, spans.Span))
                marks.add(*(dataclasses.asdict(record) for record in taken.records if isinstance(record, spans.Span)))
                texts.add(*({"text": document} for document in taken.documents))
        added = _store(project, source, spool, texts, marks, quiet=quiet)
        found = {"rejects": str(rejects.keep(project, source.path))} if rejects.lines else {}
    seconds = time.perf_counter() - began
    pace = {"seconds": round(seconds, 2), "rows_per_second": round(intake.tally.read / seconds)}
    return {**intake.tally.figures, **added, **found, **pace}


def import_file(project: Project, path: Path, *, format: str = "auto", limit: int | None = None) -> dict[str, Any]:
    """Stores what a file holds; returns the figures without what the clock says."""
    figures = import_stage(project, Source(path, format, limit=limit), quiet=True)
    return {key: value for key, value in figures.items() if key not in ("seconds", "rows_per_second")}


def _store(project: Project, source: Source, spool: Spool, texts: _Sheet, marks: _Sheet, *, quiet: bool) -> dict[str, int]:
    """Rows in one transaction; files get their names last before it ends, and lose them again when it does not."""
    targets = {texts: project.path / "corpus", marks: project.path / spans.FOLDER}
    placed, fresh = list[Path](), dict.fromkeys(targets, 0)

    def place() -> None:
        for sheet, folder in targets.items():
            target = folder / f"{_stem(source.path)}-{sheet.digest[:8]}.jsonl"
            if sheet.lines and not target.exists():
                folder.mkdir(exist_ok=True)
                placed.append(sheet.path.rename(target))
                sync(folder)
                fresh[sheet] = sheet.lines

    try:
        with Store.open(project.store_url) as store, track(sum(spool.counts.values()), "storing", quiet=quiet) as bar:
            added = spool.store(store, before_commit=place, tell=bar.advance)
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise
    return {"documents": fresh[texts], **added, **({"spans": fresh[marks]} if marks.lines else {})}


def _stem(path: Path) -> str:
    """A source's name as a file's."""
    return re.sub(r"[^\w-]+", "-", bare_name(path).rsplit(".", 1)[0]).strip("-")[:60] or "source"


@contextmanager
def _workplace(project: Project) -> Generator[Path]:
    """An empty folder in the project, gone afterwards; what a killed import left is cleared first."""
    clean(project.path, "import")
    folder = temporary(project.path / "import")
    folder.mkdir()
    try:
        with disk_errors(project.path):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(eq=False)
class _Sheet:
    """JSON lines that are written as they come, with their number and digest."""

    path: Path
    lines: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _file: IO[bytes] | None = None

    def __enter__(self) -> _Sheet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            sync(self.path)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, *values: dict[str, Any]) -> None:
        for value in values:
            self._file = self._file or self.path.open("wb")
            line = (json.dumps(value, ensure_ascii=False) + "\n").encode(errors="backslashreplace")  # half a pair stays JSON's escape
            self._file.write(line)
            self._hash.update(line)
            self.lines += 1


class _Rejects(_Sheet):
    """Rows that could not be used, each with its reason."""

    def add(self, *values: Any) -> None:
        for fault in values:
            if isinstance(fault, Fault):
                error = fault.error
                super().add({"where": error.where, "why": error.what, "hint": error.hint, "row": fault.raw})

    def keep(self, project: Project, source: Path) -> Path:
        """Moves them to the project's rejects/ under the source's name; those of an earlier import of it make place."""
        target = project.path / REJECTS / f"{source.name.replace('/', '-')}.jsonl"
        target.parent.mkdir(exist_ok=True)
        return self.path.replace(target)
