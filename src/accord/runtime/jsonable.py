"""Metrics as JSON values: short numbers, and null for undefined ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast


def jsonable(value: Any) -> Any:
    """Return the value for JSON: floats to four digits, null for NaN and infinity, lists for tuples, plain
    numbers for NumPy's."""
    if isinstance(value, dict):
        return {key: jsonable(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in cast("list[Any]", value)]
    if type(value).__module__ == "numpy":
        return jsonable(value.item())
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def defined(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics without those that are NaN or infinite, for which JSON has no word: an accuracy over no pairs is left out.

    In a list, whose places mean something, such a number is null.
    """
    return {key: _defined(value) for key, value in metrics.items() if not _undefined(value)}


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return defined(cast("dict[str, Any]", value))
    if isinstance(value, list | tuple):
        return [None if _undefined(part) else _defined(part) for part in cast("list[Any]", value)]
    return value


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
