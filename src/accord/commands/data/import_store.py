"""The storing of an import: rows go to a spool, then into the database in one transaction, and files get their names last."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from accord.data import spans
from accord.data.archives import bare_name
from accord.data.importers import Intake, media_of
from accord.data.json_lines import JsonLines, RejectedRows
from accord.data.mixtures import parts_of
from accord.data.pictures import Gathered
from accord.data.sources import Source, files_of
from accord.errors import AccordError
from accord.feedback.leaks import leaks
from accord.feedback.placed import Placed, settle
from accord.feedback.removals import models_of
from accord.feedback.spool import About, Spool, Stored
from accord.feedback.store import Store
from accord.records import Split
from accord.runtime.files import clean, disk_errors, temporary
from accord.runtime.progress import track
from accord.runtime.project import Project

Wanted = Split | Literal["keep"] | None
"""The split that is wanted for every prompt; None goes by the users."""
REJECTS = "rejects"
"""The folder of a project with the rows that could not be used, a file for each source."""


def import_source(project: Project, source: Source, *, split: Wanted, skip_bad: bool, quiet: bool) -> dict[str, Any]:
    """Read a source into the project and return the counts. Rows are spooled to disk first, so that a bad row stores nothing.

    Raises:
        InputError: the source or a row of it cannot be used.
        StoreError: a record is in the database with another content.
    """
    began, sources = time.perf_counter(), parts_of(source)
    with _unfinished_folder(project) as folder, Spool(folder, split_given=split is not None) as spool:
        texts, marks = JsonLines(folder / "documents.jsonl"), JsonLines(folder / "spans.jsonl")
        rejects = RejectedRows(folder / "rejects.jsonl")
        pictures, shown = Gathered(folder / "media"), dict[str, None]()
        files, size = list[Path](), 0
        for part in sources:
            files += files_of(part.path)
        size = sum(file.stat().st_size for file in files)
        with track(size, "reading (bytes)", quiet=quiet) as bar, texts, marks, rejects:
            intake = Intake(sources, split=split, reject=rejects.reject if skip_bad else None, tell=bar.advance, pictures=pictures)
            for _, taken in intake.rows():
                shown |= media_of(taken.records)
                spool.add((record for record in taken.records if not isinstance(record, spans.Span)), measured=taken.measured)
                marks.add(*(dataclasses.asdict(record) for record in taken.records if isinstance(record, spans.Span)))
                texts.add(*({"text": document} for document in taken.documents))
        counts = intake.tally.metrics
        about = About(str(source.path), _digest(files), counts["format"], f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", counts)
        spool.media = (file for digest in shown if (file := pictures.file(digest)) is not None)
        added = _store(project, source, spool, about, texts, marks, quiet=quiet)
        kept_rejects = {"rejects": str(rejects.keep(project.path / REJECTS, source.path))} if rejects.lines else {}
    seconds = time.perf_counter() - began
    pace = {"seconds": round(seconds, 2), "rows_per_second": round(intake.tally.read / seconds)}
    return {**counts, **added, **kept_rejects, **pace}


def _digest(files: Sequence[Path]) -> str:
    """Return the sha256 of a file, or over the names and digests of several."""
    digests = dict[str, str]()
    for path in files:
        with path.open("rb") as file:
            digests[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(files) == 1:
        return digests[str(files[0])]
    return hashlib.sha256("".join(f"{Path(path).name}\0{digest}\n" for path, digest in digests.items()).encode()).hexdigest()


def _store(
    project: Project, source: Source, spool: Spool, about: About, texts: JsonLines, marks: JsonLines, *, quiet: bool
) -> dict[str, Any]:
    """Store the rows in one transaction; files get their names last before it ends, and lose them again when it does not."""
    placed, new_lines, committing = Placed(), {"documents": 0, "spans": 0}, False

    def place(stored: Stored) -> dict[str, Any]:
        nonlocal committing
        said = _on_stored_responses(marks, stored.moved)
        files = list[str]()
        for kind, lines, folder in (("documents", texts, "corpus"), ("spans", said, spans.FOLDER)):
            target = project.path / folder / f"{_stem(source.path)}-{lines.digest[:8]}.jsonl"
            if lines.lines:
                files.append(f"{folder}/{target.name}")
            if lines.lines and not target.exists():
                placed.put(lines.path, target)
                new_lines[kind] = lines.lines
        committing = True
        return {"files": files, **{kind: count for kind, count in new_lines.items() if count}}

    # ``place`` runs last in the transaction, so the files are there only if the rows are; a failing commit takes them back.
    try:
        with Store.open(project.store_url) as store, track(sum(spool.counts.values()), "storing", quiet=quiet) as bar:
            gone = settle(store, project.path)
            stored = spool.store(store, about, before_commit=place, tell=bar.advance)
    except BaseException:
        if committing:
            # The commit may have arrived although its answer did not, so the database decides; if it is out of reach, the next import.
            with suppress(AccordError), Store.open(project.store_url) as store:
                settle(store, project.path)
        else:
            placed.take_back()
        raise
    placed.keep()
    with Store.open(project.store_url) as store:
        leaked, held_out = len(leaks(store)), stored.arrivals.held_out
        learned = models_of(project, store, {"prompt": held_out}) if held_out else {}
    new_spans = {"spans": new_lines["spans"]} if marks.lines else {}
    contaminated = {"contaminated": leaked} if leaked else {}
    models = {"models_that_learned": learned} if learned else {}
    killed = {"left_by_a_killed_import": gone} if gone else {}
    return {"documents": new_lines["documents"], **stored.metrics, **new_spans, **contaminated, **models, **killed, "import": stored.number}


def _on_stored_responses(marks: JsonLines, moved: Mapping[str, str]) -> JsonLines:
    """Return spans that name the stored responses, where those of the import were there under other ids."""
    if not marks.lines or not moved:
        return marks
    rewritten = JsonLines(marks.path.with_name("spans-moved.jsonl"))
    with rewritten, marks.path.open("rb") as lines:
        for line in lines:
            span = json.loads(line)
            rewritten.add(span | {"response_id": moved.get(span["response_id"], span["response_id"])})
    return rewritten


def _stem(path: Path) -> str:
    """A source's name as a file's."""
    return re.sub(r"[^\w-]+", "-", bare_name(path).rsplit(".", 1)[0]).strip("-")[:60] or "source"


@contextmanager
def _unfinished_folder(project: Project) -> Generator[Path]:
    """An empty folder in the project, gone afterwards. Remains of an import that was killed are cleared first."""
    clean(project.path, "import")
    folder = temporary(project.path / "import")
    try:
        with disk_errors(project.path):
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
