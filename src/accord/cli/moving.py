"""What comes in and what goes out: import and export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.cli.app import AsJson, ProjectPath, app, say
from accord.errors import UsageError

Splits = Literal["auto", "train", "validation", "test"]


@app.command(name="import")
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
    json: AsJson = False,
) -> None:
    """Reads prompts, demonstrations, comparisons, ratings or raw text into the project; all of it, or nothing.

    Example: accord import my-project harmless-base-test.jsonl.gz --limit 500 --dry-run
    """
    from accord.data.sources import Source
    from accord.runtime.project import Project
    from accord.stages.importing import import_stage

    place, source = Project.open(project), Source(file, format, _columns(map), limit, sample, seed)
    fixed = None if split == "auto" else split
    if dry_run:
        from accord.stages.previewing import preview_stage, show

        figures, shown = preview_stage(place, source, split=fixed, skip_bad=skip_bad, model=model)
        if json:
            say("", {**figures, "rows": shown}, True)
        else:
            show(shown)
            say(f"would import {file.name}", _flat(figures), False)
        return
    figures = import_stage(place, source, split=fixed, skip_bad=skip_bad, quiet=json)
    say(f"imported {file.name}", figures if json else _flat(figures), json)


@app.command
def export(
    project: ProjectPath,
    *,
    what: Annotated[
        Literal["prompts", "demonstrations", "responses", "rankings", "comparisons", "thumbs", "labelers", "tasks", "answers", "audit"],
        Parameter(help="Which records."),
    ] = "rankings",
    format: Annotated[str, Parameter(help="jsonl keeps everything; other formats: see docs/import.md.")] = "jsonl",
    out: Annotated[Path | None, Parameter(help="File to write, whole or not at all; standard output when not given.")] = None,
) -> None:
    """Writes what the store holds, row by row; the same content gives the same bytes.

    Example: accord export my-project --what rankings --format trl-preference --out pairs.parquet
    """
    from accord.feedback.store import Store
    from accord.runtime.project import Project
    from accord.stages.exporting import export_stage

    with Store.open(Project.open(project).store_url) as store:
        export_stage(store, what, format, out)


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    columns = dict[str, str]()
    for pair in given:
        field, equals, column = pair.partition("=")
        if not field or not equals or not column:
            raise UsageError(f"{pair!r} is not field=column", where="--map", hint="e.g. --map prompt=question")
        columns[field] = column
    return columns


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for a table: what was dropped, and what was left out, by reason; kinds of which nothing is new are not named."""
    flat = dict[str, Any]()
    for key, value in figures.items():
        if value == 0 and key not in ("read", "kept"):
            continue
        words = key.replace("_", " ")
        flat.update({f"{words}: {reason}": n for reason, n in value.items()} if isinstance(value, dict) else {words: value})
    return flat
