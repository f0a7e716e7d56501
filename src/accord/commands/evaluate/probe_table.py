"""The metrics of `accord probe` in the terminal: a table per measure and per file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from accord.commands.app import interval_text
from accord.runtime.progress import table
from accord.runtime.runs import Run

HIDDEN = "by_occupation"
"""A long list, which is left to --json."""


def print_probes(run: Run) -> None:
    """Print a table per measure and per file."""
    found = run.summary
    if "raw_text_loss" in found:
        taxes: list[tuple[str, str, str]] = []
        for model, loss in found["raw_text_loss"].items():
            tax = found["alignment_tax"].get(model)
            taxes.append((model, f"{loss:.4f}", "" if tax is None else f"{tax:+.1%}"))
        table("alignment tax on raw text", ["model", "nats per byte", "tax"], taxes)
    for part in ("truth", "safety", "swaps", "served"):
        if found.get(part):
            _print_part(part, found[part])
    for name, each in found.get("measures", {}).items():
        _print_part(name, each)
    for name, each in found.get("files", {}).items():
        by_system = {system: each[system] for system in found["systems"] if system in each}
        _print_part(f"{name}: {each['kind']}, {each['items']} items", by_system, of="model")


def _print_part(title: str, metrics: Mapping[str, Mapping[str, Any]], of: str = "of") -> None:
    rows: list[tuple[str, str, str]] = []
    for name, each in metrics.items():
        rows += [(name, metric, value) for metric, value in _rows(each)]
    table(title, [of, "metric", "value"], rows)


def _rows(metrics: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in metrics.items():
        if isinstance(value, dict) and key != HIDDEN:
            rows += _rows(cast("dict[str, Any]", value), f"{before}{key} ")
        elif isinstance(value, list):
            rows.append((before + key, interval_text(cast("list[float | None]", value))))
        elif isinstance(value, int | float):
            rows.append((before + key, f"{value:g}"))
    return rows
