"""A run's curves as SVG: drawn here, so that they are there without scripts; a script adds the values under the pointer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accord.report.captions import DEFINITIONS
from accord.report.plots import short
from accord.report.project_files import Series, thinned
from accord.runtime.logs import Metrics

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 352, 10, 146
POINTS = 200
"""Longest curve in points; a longer one is drawn as means of stretches."""
COLOURS = 4
FIRST = (
    *("loss", "reward_loss", "accuracy", "margin", "reward", "reward_total", "kl_k1", "kl", "entropy", "response_length", "finished"),
    *("held_out_reward", "held_out_win_rate", "chosen_reward", "rejected_reward", "policy_loss", "value_loss", "grad_norm", "lr"),
)
"""Metrics that are shown first; all others follow, folded."""
HIDDEN = ("step", "epoch")
SHARES = ("accuracy", "win_rate", "clip_fraction", "finished")

OF_A_RUN = {"seconds": "run_seconds", "peak_rss_mb": "peak_memory"}
"""Figures of a run's summary that the report defines under another key."""


@dataclass(frozen=True)
class Curve:
    """One metric of one run."""

    name: str
    """The run's name where several are drawn, else the metric's."""
    points: Series
    colour: int = 0

    @property
    def last(self) -> str:
        return short(float(f"{self.points[-1][1]:.4g}"))


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Curves over the same steps, with numbers at the axes."""

    key: str
    curves: tuple[Curve, ...]
    paths: tuple[str, ...]
    """The curves as SVG paths."""
    xs: tuple[Tick, ...]
    ys: tuple[Tick, ...]
    first: bool
    """Whether it belongs to those that are shown first."""

    @property
    def data(self) -> str:
        """The drawn points as JSON, for the script that shows the values under the pointer."""
        lines = [{"name": curve.name, "points": [[x, float(f"{y:.5g}")] for x, y in curve.points]} for curve in self.curves]
        return json.dumps({"lines": lines, "left": LEFT, "right": RIGHT}, ensure_ascii=False, separators=(",", ":"))

    def title(self, language: str) -> str:
        return name_of(self.key, language)


def name_of(key: str, language: str) -> str:
    """Return a metric's name, as the report has it; one without a definition has its key, in words where words are English."""
    known = DEFINITIONS.get(OF_A_RUN.get(key, key))
    if known is None:
        return key if language == "zh_CN" else key.replace("_", " ")
    return known.chinese if language == "zh_CN" else known.english


def charts(runs: Mapping[str, Metrics], language: str = "en") -> list[Chart]:
    """Return a chart for each metric of the runs, those that matter first; a metric and its ``validation_`` twin share one."""
    keys: dict[str, None] = {}
    for metrics in runs.values():
        keys |= dict.fromkeys(metrics.columns)
    ordered = [*(key for key in FIRST if key in keys), *(key for key in keys if key not in FIRST)]
    found: list[Chart] = []
    for key in ordered:
        twin = key.removeprefix("validation_")
        if key in HIDDEN or (twin != key and twin in keys):
            continue
        together = [one for one in (key, f"validation_{key}") if one in keys]
        curves: list[Curve] = []
        for place, (run, metrics) in enumerate(runs.items()):
            for order, one in enumerate(together):
                steps, values = metrics.series(one)
                if values.size:
                    points = list(zip(thinned(steps, POINTS).tolist(), thinned(values, POINTS).tolist(), strict=True))
                    words = [run] if len(runs) > 1 else []
                    words += [name_of(one, language)] if len(together) > 1 or len(runs) == 1 else []
                    colour = place * len(together) + order if len(runs) > 1 else order
                    curves.append(Curve(" ".join(words), points, colour % COLOURS))
        if curves:
            found.append(_drawn(key, curves))
    return found


def _drawn(key: str, curves: Sequence[Curve]) -> Chart:
    xs, ys = [x for curve in curves for x, _ in curve.points], [y for curve in curves for _, y in curve.points]
    across, up = ticks(min(xs), max(xs), 5), ticks(min(ys), max(ys), 4)
    left, right = min(xs), max(xs)
    low, high = min(up[0], min(ys)), max(up[-1], max(ys))
    width, height = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - left) / width * (RIGHT - LEFT), BOTTOM - (y - low) / height * (BOTTOM - TOP)

    paths = tuple("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*point) for point in curve.points)) for curve in curves)
    percent = any(word in key for word in SHARES) and low >= 0 and high <= 1
    at_x = tuple(Tick(round(place(value, low)[0], 1), short(value)) for value in across if left <= value <= right)
    at_y = tuple(Tick(round(place(left, value)[1], 1), f"{100 * value:.4g}%" if percent else short(value)) for value in up)
    return Chart(key, tuple(curves), paths, at_x, at_y, key in FIRST)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from below ``low`` to above ``high``."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
