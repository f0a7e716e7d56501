"""`accord import`: read prompts, demonstrations, comparisons, ratings or raw text into the project.

Needs a file, a folder, a mixture (.toml) or a data set of the hub, in any format of docs/formats.md. Leaves records in the feedback
database, raw text in corpus/ and marked spans in annotations/: all of it or nothing, whatever breaks in between. The same source again
adds nothing. With `--skip-bad`, rows that cannot be used go to rejects/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import ProjectPath, shows, table_of
from accord.commands.data.import_preview import preview, show_columns, show_rows
from accord.commands.data.import_store import import_source
from accord.data.archives import Encoding
from accord.data.sources import Source
from accord.errors import UsageError
from accord.runtime.project import Project

Splits = Literal["auto", "keep", "train", "validation", "test"]


def _show(metrics: Mapping[str, Any]) -> None:
    """Print the counts; kinds of which nothing is new are not named."""
    dry_run = "rows" in metrics
    if dry_run:
        show_rows(metrics["rows"])
        show_columns(metrics["columns"], metrics["stops"])
    told = ("rows", "columns", "stops", "unread", "extra", "left_by_a_killed_import")
    counts = {key: value for key, value in metrics.items() if key not in told and (value != 0 or key in ("read", "kept"))}
    for key, title in (("unread", "columns not read"), ("extra", "columns kept with the prompt")):
        if metrics.get(key):
            counts[title] = ", ".join(metrics[key])
    table_of("would import" if dry_run else "imported", counts)
    if not dry_run:
        print(f"This is import {metrics['import']}; `accord undo PROJECT {metrics['import']}` takes it back.")
    if metrics.get("left_by_a_killed_import"):
        print(f"Removed what an import left that was killed: {', '.join(metrics['left_by_a_killed_import'])}.")
    if metrics.get("held_out"):
        print(f"{metrics['held_out']} prompts left the training split: they are questions of an evaluation set.")
    if metrics.get("models_that_learned"):
        print(f"Trained on them before: {', '.join(metrics['models_that_learned'])}. What these models score on them says nothing.")
    if metrics.get("user_in_two_splits"):
        print(f"{metrics['user_in_two_splits']} prompts got a user whose other prompts are in another split; they stay where they are.")
    if metrics.get("contaminated"):
        print(f"Contamination: {metrics['contaminated']} conversations are in more than one split. `accord inspect` lists them,")
        print("`accord prompts` withdraws the copies.")


@shows(_show)
def import_(
    project: ProjectPath,
    file: Annotated[Path, Parameter(help="A file, a folder, a mixture (.toml), or a data set of the hub (owner/name).")],
    *,
    format: Annotated[str, Parameter(help="What it holds; auto goes by the fields of the rows.")] = "auto",
    map: Annotated[tuple[str, ...], Parameter(help="field=column: take a field from a column of another name.")] = (),
    drop: Annotated[tuple[str, ...], Parameter(help="Leave a column out, whatever it says.", negative="")] = (),
    keep_extra: Annotated[bool, Parameter(help="Keep columns that the format does not read with the prompt.", negative="")] = False,
    encoding: Annotated[Encoding, Parameter(help="Of text and tables; gb18030 reads GBK and GB2312 too.")] = "utf-8",
    limit: Annotated[int | None, Parameter(help="Read at most so many rows.")] = None,
    sample: Annotated[int | None, Parameter(help="Take so many rows, drawn at random.")] = None,
    seed: Annotated[int, Parameter(help="Of the sample.")] = 0,
    split: Annotated[Splits, Parameter(help="Split of every prompt; auto goes by the users, keep by the publisher.")] = "auto",
    skip_bad: Annotated[bool, Parameter(help="Store the rest; rows that cannot be used go to rejects/.", negative="")] = False,
    dry_run: Annotated[bool, Parameter(help="Show ten rows as they are learned, count, and store nothing.", negative="")] = False,
    model: Annotated[str, Parameter(help="Whose tokens a dry run shows; the project's SFT or base model when not given.")] = "",
    quiet: Annotated[bool, Parameter(parse=False, help="Show no progress; for Python callers.")] = False,
) -> dict[str, Any]:
    """Read prompts, demonstrations, comparisons, ratings or raw text into the project; all of it, or nothing.

    Example: accord import my-project harmless-base-test.jsonl.gz --limit 500 --dry-run

    Returns:
        Counts: rows read and kept, rows dropped by reason, columns that were not read, and new records by kind; with ``dry_run`` the
        first rows as well, what each column became, and in ``stops`` why the import would be refused.

    Raises:
        InputError: the source or a row of it cannot be used, or a column that carries a judgement is read by nobody; names file, line
            and field. Nothing was stored.
        StoreError: a record is in the database with another content. Nothing was stored.
    """
    opened, source = Project.open(project), _source(Path(file), format, map, drop, keep_extra, limit, sample, seed, encoding=encoding)
    fixed = None if split == "auto" else split
    if dry_run:
        return preview(opened, source, split=fixed, skip_bad=skip_bad, model=model)
    return import_source(opened, source, split=fixed, skip_bad=skip_bad, quiet=quiet)


def _source(path: Path, format: str, map: Sequence[str], drop: tuple[str, ...], keep_extra: bool, *rows: Any, encoding: Encoding) -> Source:
    return Source(path, format, _columns(map), *rows, drop=drop, keep_extra=keep_extra, encoding=encoding)


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns = dict[str, str]()
    for pair in given:
        field, equals, column = pair.partition("=")
        if not field or not equals or not column:
            raise UsageError(f"{pair!r} is not field=column", where="--map", hint="e.g. --map prompt=question")
        columns[field] = column
    return columns
