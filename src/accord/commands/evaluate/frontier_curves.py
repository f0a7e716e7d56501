"""The frontier's metrics: each policy's rewards with intervals, the fitted curves, the KL of the gold peak, where to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from accord.errors import InputError
from accord.evaluation.frontier import Fit, Kind, best_of_n_values, fit, resampled, stop_at
from accord.evaluation.statistics import Floats, Interval, best_of_n_kl, interval
from accord.settings import FrontierConfig

PEAK_RESAMPLES = 500
"""Resamples for the interval of a peak, at most: each fits a curve."""


@dataclass(frozen=True)
class Point:
    """A policy on the held-out prompts; every array is [prompts]."""

    step: int
    kl: Floats
    proxy: Floats
    gold: Floats | None
    words: Floats
    texts: list[str]

    def reward(self, name: str) -> Floats:
        """Return the rewards of ``proxy`` or ``gold``."""
        return self.proxy if name == "proxy" or self.gold is None else self.gold


def point_means(point: Point) -> dict[str, float]:
    """Return a policy's metrics for metrics.jsonl."""
    gold = {} if point.gold is None else {"gold": float(point.gold.mean())}
    return {"kl": float(point.kl.mean()), "proxy": float(point.proxy.mean()), "words": float(point.words.mean())} | gold


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4 ... and the largest n itself."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def reward_metrics(
    points: Sequence[Point], candidates: Mapping[str, Floats], sizes: Sequence[int], config: FrontierConfig
) -> dict[str, Any]:
    """Return the metrics of the frontier's summary; docs/frontier.md defines each.

    Args:
        points: the SFT model, then the policies by step.
        candidates: rewards of the SFT model's responses by name, [prompts, n].
        sizes: the n of best-of-n.
    """
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    names = list(candidates)
    policies: list[dict[str, Any]] = []
    for point in points:
        row: dict[str, Any] = {"step": point.step, "kl": interval(point.kl, **draw), "words": float(point.words.mean())}
        policies.append(row | {name: interval(point.reward(name), **draw) for name in names})
    best_of_n: list[dict[str, Any]] = []
    chosen: list[dict[str, Floats]] = []
    for n in sizes:
        values = {name: best_of_n_values(candidates["proxy"], candidates[name], n) for name in names}
        chosen.append({"kl": np.full(len(values["proxy"]), best_of_n_kl(n)), **values})
        best_of_n.append({"n": n, "kl": best_of_n_kl(n)} | {name: interval(values[name], **draw) for name in names})

    # [prompts, policies, (KL, rewards)]: the first axis is resampled, so intervals are over prompts.
    trained = [np.stack([point.kl, *(point.reward(name) for name in names)], axis=1) for point in points]
    picked = [np.stack(list(row.values()), axis=1) for row in chosen]
    tables: dict[Kind, Floats] = {"rl": np.stack(trained, axis=1), "best_of_n": np.stack(picked, axis=1)}
    found: dict[str, Any] = {"policies": policies, "best_of_n": best_of_n}
    found["fits"] = {kind: _fits(kind, table, names) for kind, table in tables.items()}
    if "gold" in names:
        few = {"resamples": min(config.bootstrap, PEAK_RESAMPLES), "seed": config.seed}
        peaks = {kind: resampled(table, partial(_gold_peak, kind), **few) for kind, table in tables.items()}
        found["gold_peak"] = {kind: None if peak is None else list(peak) for kind, peak in peaks.items()}
        found["stop"] = _stop(points, draw)
    return found


def _fits(kind: Kind, table: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Return alpha, beta and r2 by reward; nothing where there are too few points."""
    means: Floats = table.mean(0)
    try:
        curves = {name: _curve(kind, means, column) for column, name in enumerate(names, 1)}
    except InputError:
        return {}
    return {name: {"alpha": c.alpha, "beta": c.beta, "r2": c.r2, "peak_kl": c.peak} for name, c in curves.items()}


def _gold_peak(kind: Kind, means: Floats) -> float | None:
    try:
        return _curve(kind, means, 2).peak
    except InputError:
        return None


def _curve(kind: Kind, means: Floats, column: int) -> Fit:
    """Fit [points, columns] means, with rewards counted from the first point's."""
    return fit(kind, means[:, 0].tolist(), (means[:, column] - means[0, column]).tolist())


def _stop(points: Sequence[Point], draw: dict[str, int]) -> dict[str, Any]:
    """Return where the gold reward stops rising, and how much is certainly lost by going on to the last policy."""
    gold = np.stack([point.reward("gold") for point in points])
    place = stop_at([float(point.kl.mean()) for point in points], gold, **draw)
    chosen, last = points[place], points[-1]
    lost = interval(chosen.reward("gold") - last.reward("gold"), **draw)
    return {
        "step": chosen.step,
        "kl": float(chosen.kl.mean()),
        "gold": interval(gold[place], **draw),
        "lost_by_going_on": lost,
        "overoptimised": lost.low > 0,
        "line": _line(chosen, last, lost),
    }


def _line(chosen: Point, last: Point, lost: Interval) -> str:
    if chosen.step == last.step:
        return f"Go on: at step {last.step} the gold reward was still rising."
    gained = f"{-lost.mean:+.3f} ({-lost.high:+.3f} to {-lost.low:+.3f})"
    cost = f"going on to step {last.step} changes the gold reward by {gained}"
    more = f"{last.kl.mean() - chosen.kl.mean():.2f} nats more KL"
    return f"Stop at step {chosen.step}: {cost}, for {more}." if lost.low > 0 else f"Step {chosen.step} is enough: {cost}, for {more}."
