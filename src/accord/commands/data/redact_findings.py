"""Findings of `accord redact`: where personal data is, counted and written out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.patterns import KINDS
from accord.data.personal import Finding
from accord.runtime.files import disk_errors, replacing, sync


class Found(NamedTuple):
    """A piece of personal data and its place."""

    where: str
    """A file's name, or prompt, response, demonstration, chat, document."""
    id: str
    """The record, or the file's line."""
    finding: Finding


def counts(found: Collection[Found]) -> dict[str, Any]:
    """Return how many findings there are, in how many records, by place and by kind."""
    kinds = Counter(each.finding.kind for each in found)
    return {
        "findings": len(found),
        "records": len({(each.where, each.id) for each in found}),
        "where": dict(Counter(each.where for each in found)),
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
    }


def write_findings(out: Path | None, found: Iterable[Found]) -> None:
    """Write each finding as a JSON line, with the datum itself, when there is a file to write."""
    if out is not None:
        lines = (json.dumps({"where": f.where, "id": f.id, **dataclasses.asdict(f.finding)}, ensure_ascii=False) for f in found)
        write_lines(out, (line + "\n" for line in lines))


def write_lines(out: Path, lines: Iterable[str]) -> None:
    """Write a file, whole or not at all."""
    with disk_errors(out), replacing(out) as unfinished:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        sync(unfinished)
