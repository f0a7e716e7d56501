"""Imports every file of the shared data folder into a new project, and writes the table that stands in docs/import.md.

    python runs/import_check.py ../shared/data            # prints it
    python runs/import_check.py ../shared/data --write    # into the page

Reads nothing else, and nothing depends on that folder: it says so when it is not there. Fails when a count is not as SOURCE.txt says,
or when importing a file again adds something.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from accord import AccordError, Project, import_

KINDS = ("prompts", "demonstrations", "responses", "rankings", "documents", "spans")
HEAD = "| file | rows in SOURCE.txt | format | read | kept | dropped; left out | becomes |\n|---|---|---|---|---|---|---|"
PAGE = Path(__file__).parent.parent / "docs" / "import.md"
BEGIN, END = "<!-- table of runs/import_check.py -->", "<!-- end -->"
REFUSED = {"judge_prompts.jsonl", "occupations-stats.tsv"}
"""Templates of a judge, and statistics of occupations: files that hold nothing to ask, to learn or to rank."""
FORMATS = {"seed_tasks.jsonl": "self-instruct-written"}


def main(root: Path, *, write: bool) -> int:
    if not root.is_dir():
        print(f"{root}: no such folder; nothing was checked")
        return 0
    folders = sorted(path for path in root.iterdir() if (path / "SOURCE.txt").is_file())
    rows = [checked(folder, file, count) for folder in folders for file, count in stated(folder)]
    table = "\n".join([HEAD, *(line for line, _ in rows)])
    print(table)
    if write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")
    return int(not all(agrees for _, agrees in rows))


def stated(folder: Path) -> list[tuple[Path, int | None]]:
    """The data files that SOURCE.txt names, with their rows; for raw text it gives none."""
    found = list[tuple[Path, int | None]]()
    for line in (folder / "SOURCE.txt").read_text("utf-8").splitlines():
        if match := re.match(r"\s*(\S+)\s+<-.*rows (\d+)", line):
            found.append((folder / match[1], int(match[2])))
    return found or [(folder, None)]


def checked(folder: Path, file: Path, rows: int | None) -> tuple[str, bool]:
    name = f"{folder.name}/{file.name}" if file != folder else f"{folder.name}/"
    try:
        figures = imported(folder, file)
    except AccordError as error:
        return f"| {name} | {rows} | | | | refused: {error.what.partition(' the fields')[0]} | |", file.name in REFUSED
    parts = {**figures["dropped"], **{f"{reason} (part)": n for reason, n in figures.get("left_out", {}).items()}}
    aside = "; ".join(f"{n:,} {reason}" for reason, n in parts.items())
    made = ", ".join(f"{figures[kind]:,} {kind}" for kind in KINDS if figures.get(kind))
    asked = 80 if file.name == "gpt-4.jsonl" else 0
    agrees = rows in (None, figures["read"] - asked) and figures["read"] == figures["kept"] + sum(figures["dropped"].values())
    said = "" if rows is None else f"{rows:,}"
    return f"| {name} | {said} | {figures['format']} | {figures['read']:,} | {figures['kept']:,} | {aside} | {made} |", agrees


def imported(folder: Path, file: Path) -> dict[str, Any]:
    """The figures of an import into a project of its own. Answers of a bench come in with the folder of its questions."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Project.create(Path(scratch) / "project")
        if file.name == "gpt-4.jsonl":
            return import_(project, together(folder, Path(scratch)), quiet=True)
        first = import_(project, file, format=FORMATS.get(file.name, "auto"), quiet=True)
        again = import_(project, file, format=FORMATS.get(file.name, "auto"), quiet=True)
        assert not any(again.get(kind) for kind in KINDS), f"{file}: importing twice added something"
        return first


def together(folder: Path, scratch: Path) -> Path:
    """Questions and answers alone, in a folder."""
    place = scratch / "bench"
    place.mkdir()
    for name in ("mt_bench_question.jsonl", "gpt-4.jsonl"):
        (place / name).write_bytes((folder / name).read_bytes())
    return place


if __name__ == "__main__":
    sys.exit(main(Path(next((word for word in sys.argv[1:] if not word.startswith("--")), "../shared/data")), write="--write" in sys.argv))
