"""`accord import`: read prompts, demonstrations, comparisons, ratings or raw text into the project.

Needs a file, a folder, a mixture (.toml) or a data set of the hub, in any format of docs/formats.md. Leaves records in the feedback
database, raw text in corpus/ and marked spans in annotations/: all of it or nothing, whatever breaks in between. The same source again
adds nothing. With `--skip-bad`, rows that cannot be used go to rejects/.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import ProjectPath, shows, table_of
from accord.commands.data.import_preview import preview, show_rows
from accord.data import spans
from accord.data.archives import bare_name
from accord.data.importers import Intake
from accord.data.json_lines import JsonLines, RejectedRows
from accord.data.mixtures import parts_of
from accord.data.sources import Source, files_of
from accord.errors import UsageError
from accord.feedback.spool import Spool
from accord.feedback.store import Store
from accord.records import Split
from accord.runtime.files import clean, disk_errors, sync, temporary
from accord.runtime.progress import track
from accord.runtime.project import Project

REJECTS = "rejects"
"""The folder of a project with the rows that could not be used, a file for each source."""
Splits = Literal["auto", "train", "validation", "test"]


def _show(metrics: Mapping[str, Any]) -> None:
    """Print the counts; kinds of which nothing is new are not named."""
    dry_run = "rows" in metrics
    if dry_run:
        show_rows(metrics["rows"])
    counts = {key: value for key, value in metrics.items() if key != "rows" and (value != 0 or key in ("read", "kept"))}
    table_of("would import" if dry_run else "imported", counts)


@shows(_show)
def import_(
    project: ProjectPath,
    file: Annotated[Path, Parameter(help="A file, a folder, a mixture (.toml), or a data set of the hub (owner/name).")],
    *,
    format: Annotated[str, Parameter(help="What it holds; auto looks at the first row.")] = "auto",
    map: Annotated[tuple[str, ...], Parameter(help="field=column: take a field from a column of another name.")] = (),
    limit: Annotated[int | None, Parameter(help="Read at most so many rows.")] = None,
    sample: Annotated[int | None, Parameter(help="Take so many rows, drawn at random.")] = None,
    seed: Annotated[int, Parameter(help="Of the sample.")] = 0,
    split: Annotated[Splits, Parameter(help="Split of every prompt; auto goes by the users.")] = "auto",
    skip_bad: Annotated[bool, Parameter(help="Store the rest; rows that cannot be used go to rejects/.", negative="")] = False,
    dry_run: Annotated[bool, Parameter(help="Show ten rows as they are learned, count, and store nothing.", negative="")] = False,
    model: Annotated[str, Parameter(help="Whose tokens a dry run shows; the project's SFT or base model when not given.")] = "",
    quiet: Annotated[bool, Parameter(parse=False, help="Show no progress; for Python callers.")] = False,
) -> dict[str, Any]:
    """Read prompts, demonstrations, comparisons, ratings or raw text into the project; all of it, or nothing.

    Example: accord import my-project harmless-base-test.jsonl.gz --limit 500 --dry-run

    Returns:
        Counts: rows read and kept, rows dropped by reason, and new records by kind; with ``dry_run`` the first rows as well.

    Raises:
        InputError: the source or a row of it cannot be used; names file, line and field. Nothing was stored.
        StoreError: a record is in the database with another content. Nothing was stored.
    """
    opened, source = Project.open(project), Source(Path(file), format, _columns(map), limit, sample, seed)
    fixed = None if split == "auto" else split
    if dry_run:
        return preview(opened, source, split=fixed, skip_bad=skip_bad, model=model)
    return _import(opened, source, split=fixed, skip_bad=skip_bad, quiet=quiet)


def _import(project: Project, source: Source, *, split: Split | None, skip_bad: bool, quiet: bool) -> dict[str, Any]:
    began, sources = time.perf_counter(), parts_of(source)
    with _unfinished_folder(project) as folder, Spool(folder) as spool:
        texts, marks = JsonLines(folder / "documents.jsonl"), JsonLines(folder / "spans.jsonl")
        rejects = RejectedRows(folder / "rejects.jsonl")
        size = sum(file.stat().st_size for part in sources for file in files_of(part.path))
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


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns = dict[str, str]()
    for pair in given:
        field, equals, column = pair.partition("=")
        if not field or not equals or not column:
            raise UsageError(f"{pair!r} is not field=column", where="--map", hint="e.g. --map prompt=question")
        columns[field] = column
    return columns


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
