"""Mixtures: several weighted sources in one import, described by a TOML file.

    [[source]]
    file = "alpaca.json"        # beside the TOML file, absolute, or a data set of the hub
    weight = 2.0

    [[source]]
    file = "gsm8k/train.jsonl.gz"
    format = "gsm8k"
    limit = 1000
    map = { prompt = "question" }

With weights, rows are sampled so that the sources' shares match their weights: as many as the scarcest source allows, or ``--sample``.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from accord.data.archives import Encoding
from accord.data.importers import counted
from accord.data.sources import Source
from accord.errors import InputError, UsageError

_KEYS: dict[str, Any] = {
    "file": str,
    "format": str,
    "weight": (int, float),
    "limit": int,
    "map": dict,
    "drop": list,
    "keep_extra": bool,
    "encoding": str,
}


def parts_of(source: Source) -> list[Source]:
    """Return the sources of a mixture, each with its number of rows; any other source is returned unchanged.

    Raises:
        UsageError: the TOML file has an unknown key, or a value of the wrong type.
        InputError: it cannot be read, or names no source.
    """
    if source.path.suffix != ".toml" or not source.path.is_file():
        return [source]
    if source.format != "auto" or source.columns or source.limit or source.drop:
        hint = "write them into the TOML file"
        raise UsageError("the sources of a mixture have their own format, map, limit and drop", where=str(source.path), hint=hint)
    tables = _tables(source.path)
    parts = [_part(table, source, n) for n, table in enumerate(tables, 1)]
    if source.sample is None and not any("weight" in table for table in tables):
        return parts
    return shares(parts, source.sample)


def shares(parts: list[Source], wanted: int | None) -> list[Source]:
    """Return the sources, each with a sample, so that the shares match the weights; ``wanted`` rows in total, or as many as possible."""
    there = [min(counted(part), part.limit or counted(part)) for part in parts]
    total = sum(part.weight for part in parts)
    most = int(min(count * total / part.weight for count, part in zip(there, parts, strict=True)))
    rows = most if wanted is None else min(wanted, most)
    exact = [rows * part.weight / total for part in parts]
    given = [int(share) for share in exact]
    for i in sorted(range(len(parts)), key=lambda i: given[i] - exact[i])[: rows - sum(given)]:
        given[i] += given[i] < there[i]
    return [replace(part, sample=number, limit=None) for part, number in zip(parts, given, strict=True) if number]


def _tables(path: Path) -> list[dict[str, Any]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"not TOML: {error}", where=str(path)) from error
    tables = content.get("source")
    if not isinstance(tables, list) or not tables or set(content) != {"source"}:
        raise InputError("a mixture is a list of [[source]] tables", where=str(path), hint='write [[source]] and below it file = "..."')
    return cast("list[dict[str, Any]]", tables)


def _part(table: dict[str, Any], mixture: Source, number: int) -> Source:
    where = f"{mixture.path}, source {number}"
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"unknown key {key!r}", where=where, hint=f"known keys are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or (isinstance(value, bool) and key != "keep_extra"):
            raise UsageError(f"{key} is {value!r}, which has the wrong type", where=where)
    if "file" not in table:
        raise UsageError('the key "file" is missing', where=where, hint='add file = "...", a path or a data set of the hub')
    beside = mixture.path.parent / table["file"]
    path = beside if beside.exists() or "/" not in table["file"] else Path(table["file"])
    format, weight = table.get("format", "auto"), float(table.get("weight", 1.0))
    drop, keep = tuple(map(str, table.get("drop", ()))), bool(table.get("keep_extra", mixture.keep_extra))
    encoding = cast(Encoding, table.get("encoding", mixture.encoding))
    columns, limit = table.get("map", {}), table.get("limit")
    return Source(path, format, columns, limit, seed=mixture.seed, weight=weight, drop=drop, keep_extra=keep, encoding=encoding)
