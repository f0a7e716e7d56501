"""`accord redact`: find personal data in a project or a file, and replace or drop it.

Needs a project, or a file of rows or text. Looks for names, addresses, numbers and keys in English and Chinese; docs/redact.md says
how much of it is found. With `--mode review`, the default, nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Why, shows, table_of
from accord.commands.data.redact_file import redact_file
from accord.commands.data.redact_project import redact_project
from accord.data.patterns import KINDS, Kind
from accord.data.personal import Mode
from accord.runtime.project import FILE, Project


def _show(metrics: Mapping[str, Any]) -> None:
    table_of("personal data", metrics)


@shows(_show)
def redact(
    path: Annotated[Path, Parameter(help="A project, or a file of rows or text.")],
    *,
    mode: Annotated[Mode, Parameter(help="Only report, put [EMAIL_1] in its place, or leave the row out.")] = "review",
    kinds: Annotated[tuple[Kind, ...], Parameter(help="What to look for; everything when not given.", negative="")] = (),
    out: Annotated[
        Path | None, Parameter(help="The file without personal data; with --mode review the findings, a JSON line each.")
    ] = None,
    why: Why = "",
) -> dict[str, Any]:
    """Find names, addresses, numbers and keys in a project or a file, in English and Chinese, and replace or drop them.

    Example: accord redact prompts.jsonl --mode replace --out clean.jsonl

    Returns:
        Findings by place and by kind, and how many rows changed, were dropped or withdrawn; for a project also the runs that hold
        copies of its prompts.

    Raises:
        UsageError: there is no ``out`` for a file that is to change.
        InputError: the file cannot be read; names the line.
    """
    wanted = kinds or KINDS
    if (Path(path) / FILE).is_file():
        return redact_project(Project.open(path), mode, wanted, out=out, why=why)
    return redact_file(Path(path), mode, wanted, out=out)
