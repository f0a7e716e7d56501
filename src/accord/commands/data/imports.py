"""`accord imports`: list the imports of a project by their numbers: when, from which file, and what its rows became.

Needs a project, and changes nothing in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from accord.commands.app import ProjectPath, shows
from accord.feedback.imports import every
from accord.feedback.store import Store
from accord.runtime.progress import table
from accord.runtime.project import Project

KINDS = ("prompts", "demonstrations", "responses", "rankings", "thumbs", "documents")


def _show(found: Mapping[str, Any]) -> None:
    rows: list[list[str]] = []
    for one in found["imports"]:
        counts = one["counts"]
        new = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts.get(kind))
        extra = ", ".join(counts.get("extra", {}))
        state = f"undone {one['undone'][:10]}" if one["undone"] else ""
        rows.append([str(one["number"]), one["at"][:16], one["source"], one["format"], new or "nothing new", extra, state])
    table("imports", ["number", "at", "source", "format", "brought", "extra", "state"], rows)


@shows(_show)
def imports(project: ProjectPath) -> dict[str, list[dict[str, Any]]]:
    """List the imports: number, time, source with its sha256, format, and what its rows became.

    Example: accord imports my-project

    Returns:
        ``imports``: each with its number and counts, in the order of the numbers.
    """
    with Store.open(Project.open(project).store_url) as store:
        return {"imports": [dataclasses.asdict(one) for one in every(store)]}
