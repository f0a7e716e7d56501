"""`accord redact`: find personal data in a project or a file, and replace or drop it.

Needs a project, or a file of rows or text. Looks for names, addresses, numbers and keys in English and Chinese, by rules and by a model
that finds names where one is given; docs/redact.md says how much of it is found. With `--mode review`, the default, nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Why, shows, table_of
from accord.commands.data.redact_file import redact_file
from accord.commands.data.redact_project import redact_project
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet, basis_lines, of_project
from accord.data.patterns import KINDS, Kind
from accord.data.personal import Mode
from accord.errors import UsageError
from accord.runtime.progress import say
from accord.runtime.project import FILE, Project
from accord.settings import ClassifiersConfig


def _show(metrics: Mapping[str, Any]) -> None:
    table_of("personal data", {key: value for key, value in metrics.items() if key != "measured_by"})
    for line in basis_lines(metrics):
        print(line)


@shows(_show)
def redact(
    path: Annotated[Path, Parameter(help="A project, or a file of rows or text.")],
    *,
    mode: Annotated[Mode, Parameter(help="Only report, put [EMAIL_1] in its place, or leave the row out.")] = "review",
    kinds: Annotated[tuple[Kind, ...], Parameter(help="What to look for; everything when not given.", negative="")] = (),
    out: Annotated[
        Path | None, Parameter(help="The file without personal data; with --mode review the findings, a JSON line each.")
    ] = None,
    by: Annotated[
        str, Parameter(help="Model that finds more than the rules, folder:PATH, or rules; [classifiers] personal when not given.")
    ] = "",
    why: Why = "",
) -> dict[str, Any]:
    """Find names, addresses, numbers and keys in a project or a file, in English and Chinese, and replace or drop them.

    Example: accord redact prompts.jsonl --mode replace --out clean.jsonl

    Returns:
        Findings by place and by kind, and how many rows changed, were dropped or withdrawn; for a project also the runs that hold
        copies of its prompts.

    Raises:
        UsageError: there is no ``out`` for a file that is to change, or ``by`` does not say where in a text it found something.
        ModelError: the folder holds no model for this.
        InputError: the file cannot be read; names the line.
    """
    wanted, opened = kinds or KINDS, Project.open(path) if (Path(path) / FILE).is_file() else None
    chosen = of_project(opened) if opened else DEFAULT
    if by:
        chosen = ClassifierSet(ClassifiersConfig(personal=by), chosen.root)
    more = chosen.places()
    if not more and chosen.name("personal") != "rules":
        if by:
            what = "it tells whether a text holds personal data, and not where"
            raise UsageError(what, where=f"--by {by}", hint="give folder:PATH of a model for token classification, or rules")
        say(f"redact: {chosen.name('personal')} of [classifiers] tells whether a text is personal, not where; the rules look for it")
        chosen = ClassifierSet(root=chosen.root)
    if opened:
        metrics = redact_project(opened, mode, wanted, out=out, why=why, more=more)
    else:
        metrics = redact_file(Path(path), mode, wanted, out=out, more=more)
    return metrics | chosen.basis(findings=("personal", "personal"))
