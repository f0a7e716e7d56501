"""The metrics of `accord probe` in the terminal: a table per measure and per file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from accord.commands.app import interval_text
from accord.commands.evaluate.probe_scenes import lines_of
from accord.data.classifiers.project_set import basis_lines
from accord.runtime.progress import say, table
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
    for system, each in found.get("knowledge", {}).items():
        _print_knowledge(system, each)
    if scenes := found.get("scenes"):
        head = ["tagged", *(f"to {name}" for name in scenes["routed"]), "recall", "precision"]
        table(f"scenes that the classifiers find, {scenes['prompts']} held-out prompts", head, lines_of(scenes))
    for name, each in found.get("measures", {}).items():
        _print_part(name, each)
    for name, each in found.get("files", {}).items():
        by_system = {system: each[system] for system in found["systems"] if system in each}
        _print_part(f"{name}: {each['kind']}, {each['items']} items", by_system, of="model")
    for line in basis_lines(found):
        print(line)


def _print_knowledge(system: str, found: Mapping[str, Any]) -> None:
    """Print what a system knows by kind of question, and how well each measure of certainty tells its right answers from wrong ones."""
    columns = ("knows", "knows_that_it_does_not", "makes_up", "sure_and_wrong")
    rows: list[tuple[str, ...]] = []
    for kind, each in found["kinds"].items():
        rows.append((kind, str(each["prompts"]), *(_interval(each.get(name)) for name in columns)))
    head = ["questions", "how many", "knows", "knows that it does not", "makes up", "sure and wrong"]
    table(f"what {system} knows (shares of its answers)", head, rows)
    measures: list[tuple[str, ...]] = []
    for name, each in found["measures"].items():
        measures.append((name.replace("_", " "), str(each["questions"]), _interval(each["auroc"]), _interval(each["ece"])))
    table(f"how sure {system} is when it is right", ["measure", "answers", "AUROC", "ECE"], measures)
    if point := found["threshold"]:
        say(
            f"{system}: right in {point['accuracy']:.0%} of the answers that at least {point['threshold']:.0%} of its samples agree with; "
            f"these are {point['coverage']:.0%} of the questions"
        )
    elif everything := found["answers_all"]:
        say(f"{system} is right in {everything['accuracy']:.0%} of its answers; no threshold reaches the accuracy that was asked for")


def _interval(metric: list[float | None] | None) -> str:
    return "" if metric is None else interval_text(metric)


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
