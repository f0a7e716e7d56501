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
    """Return metrics without those that are NaN or infinite, for which JSON has no word: an accuracy over no pairs is left out."""
    kept: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            kept[key] = defined(cast("dict[str, Any]", value))
        elif not isinstance(value, float) or math.isfinite(value):
            kept[key] = value
    return kept
