"""The table of methods: a row per method, as JSON and as Markdown between the marks of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.commands.evaluate.algorithms_ground import Ground, Outcome
from accord.errors import InputError
from accord.evaluation.statistics import interval, outcomes
from accord.runtime.files import write_atomic
from accord.settings import AlgorithmsConfig

PAGE_START, PAGE_END = "<!-- table: written by accord algorithms -->", "<!-- end of the table -->"


def row_of(method: str, found: Sequence[Outcome], ground: Ground, config: AlgorithmsConfig) -> dict[str, Any]:
    """Return a method's row: means over seeds; the interval resamples prompts, each with its mean over the seeds."""
    won = [outcomes(one.utilities, ground.utilities) for one in found]
    mean, low, high = interval(np.mean(won, axis=0), resamples=config.bootstrap, seed=config.seed)
    seeds: list[dict[str, Any]] = []
    for one, each in zip(found, won, strict=True):
        seeds.append(
            {
                "seed": one.seed,
                "win_rate": round(float(each.mean()), 4),
                "utility": round(float(np.mean(one.utilities)), 4),
                "kl": round(one.kl, 3),
                "tax": None if one.tax is None else round(one.tax, 4),
                "seconds": one.seconds,
                "peak_rss_mb": one.peak_rss_mb,
            }
        )
    return {
        "method": method,
        "win_rate": round(mean, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "utility": round(float(np.mean([one.utilities for one in found])), 4),
        "kl": round(float(np.mean([one.kl for one in found])), 3),
        "tax": round(float(np.mean([one.tax for one in found if one.tax is not None])), 4),
        "seconds": round(float(np.mean([one.seconds for one in found])), 1),
        "peak_rss_mb": max(one.peak_rss_mb for one in found),
        "seeds": seeds,
    }


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as docs/algorithms.md shows them."""
    lines = [
        "| method | preferred to SFT | each seed | gold utility | KL, nats | tax | seconds | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = f"{100 * row['win_rate']:.0f} ({100 * row['low']:.0f} to {row['high']:.0%})"
        each = " ".join(f"{one['win_rate']:.0%}" for one in row["seeds"])
        cost = f"{row['seconds']:.0f} | {row['peak_rss_mb']:,.0f}" if row["seconds"] else "none | none"
        lines.append(f"| {row['method']} | {rate} | {each} | {row['utility']:.2f} | {row['kl']:.2f} | {row['tax']:.1%} | {cost} |")
    return "\n".join(lines)


def read_page(page: Path) -> str:
    """Return the text of a page that has a place for the table.

    Raises:
        InputError: there is no such page, or it has no such marks.
    """
    text = page.read_text("utf-8") if page.is_file() else ""
    if PAGE_START not in text or PAGE_END not in text:
        raise InputError("the page has no place for the table", where=str(page), hint=f"put {PAGE_START} and {PAGE_END} into it")
    return text


def write_page(page: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table between the page's marks; raise as ``read_page`` does."""
    before, rest = read_page(page).split(PAGE_START)
    write_atomic(page, f"{before}{PAGE_START}\n\n{as_markdown(rows)}\n\n{PAGE_END}{rest.split(PAGE_END)[1]}")
