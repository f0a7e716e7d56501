"""Plots of the leads' page: each labeler beside a target, readable for three labelers and for three hundred, and fair to both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from accord.feedback.intervals import Interval
from accord.feedback.quality import LabelerQuality
from accord.feedback.web import translations

NORMAL = NormalDist()
FEWEST = 20
"""Untied pairs below which no labeler is marked: so few say nothing about a person."""
BY_NAME = 24
"""Labelers whom a plot shows by name. A plot of more counts them, and names those that are marked."""
MARKED = 12
"""Labelers whom such a plot names at most, those furthest off first."""
BINS = 20


@dataclass(frozen=True)
class PlotLine:
    """A row of a plot: a name, and the positions of its interval and dot in the plot's units."""

    name: str
    y: float
    x: float
    low: float
    high: float
    off: bool
    """Whether chance does not explain how far the labeler is on the wrong side of the target; see ``_is_off``."""
    few: bool
    """Whether fewer than ``FEWEST`` pairs are behind it."""


@dataclass(frozen=True)
class Bar:
    """A bar of a plot that counts labelers, in the plot's units."""

    x: float
    y: float
    width: float
    height: float
    count: int


@dataclass(frozen=True)
class Plot:
    """Dots with whiskers over one axis, and the position of the target value; bars above them where labelers are too many to name."""

    title: str
    height: float
    aim: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[PlotLine, ...]
    bars: tuple[Bar, ...] = ()
    counted: int = 0
    """Labelers in the bars."""
    few: int = 0
    """Labelers with too few pairs to be in them."""
    off: int = 0
    """Labelers who are marked, including those not named."""


@dataclass(frozen=True)
class _Measured:
    """A labeler's value in a plot, and the number of pairs behind it."""

    name: str
    value: Interval
    pairs: int


def plots_of(lines: Sequence[LabelerQuality], names: Mapping[str, str]) -> list[Plot]:
    """Return the plots of agreement, position bias and length bias that have anything to show."""
    named = [(names.get(line.labeler, line.labeler), line) for line in lines]
    agreement = [_Measured(name, line.agreement, line.shared_pairs) for name, line in named]
    position = [_Measured(name, line.first_preferred, line.shown_pairs) for name, line in named]
    length = [_Measured(name, line.length.excess, line.length.pairs) for name, line in named]
    found = [
        _plot(translations.AGREEMENT, agreement, (0.5, 1.0), translations.USUAL_AGREEMENT, low_is_off=True),
        _plot(translations.POSITION, position, (0.0, 1.0), 0.5),
        _plot(translations.LENGTH, length, (-0.5, 0.5), 0.0),
    ]
    return [plot for plot in found if plot.rows or plot.bars]


def _plot(title: str, measured: Iterable[_Measured], span: tuple[float, float], aim: float, *, low_is_off: bool = False) -> Plot:
    """Map values of a range to 100 to 300, with one line every 18 units."""
    least, most = span
    known = [each for each in measured if not math.isnan(each.value.mean)]
    enough = [each for each in known if each.pairs >= FEWEST]
    off = [each for each in enough if _is_off(each, aim, of=len(enough), low_is_off=low_is_off)]

    def place(value: float) -> float:
        return 100 + 200 * (min(max(value, least), most) - least) / (most - least)

    shown, bars, top = known, tuple[Bar, ...](), 0.0
    if len(known) > BY_NAME:
        shown = sorted(off, key=lambda each: -abs(each.value.mean - aim))[:MARKED]
        bars, top = _bars([place(each.value.mean) for each in enough]), 74.0
    rows = list[PlotLine]()
    for each in shown:
        mean, low, high = (place(value) for value in each.value)
        y = top + 18.0 * len(rows) + 12
        rows.append(PlotLine(each.name[:14], y, mean, low, high, each in off, each.pairs < FEWEST))
    ticks = (least, (least + most) / 2, most)
    marks = tuple((place(tick), f"{tick:.0%}" if least >= 0 or not tick else f"{tick:+.0%}") for tick in ticks)
    height = top + 18.0 * len(rows) + 24
    return Plot(title, height, place(aim), marks, tuple(rows), bars, len(enough), len(known) - len(enough), len(off))


def _is_off(measured: _Measured, aim: float, *, of: int, low_is_off: bool) -> bool:
    """Return whether a labeler is further from the target than chance puts any of ``of`` fair labelers, in 19 plots of 20.

    The deviation is the bootstrap's, and at least that of as many independent pairs, since few prompts make the bootstrap too narrow.
    """
    mean, low, high = measured.value
    deviation = max((high - low) / (2 * NORMAL.inv_cdf(0.975)), math.sqrt(0.25 / measured.pairs))
    distance = aim - mean if low_is_off else abs(mean - aim)
    return distance > deviation * NORMAL.inv_cdf(1 - 0.025 / of)


def _bars(places: Sequence[float]) -> tuple[Bar, ...]:
    """Count values placed from 100 to 300 in bins of equal width; the tallest bar is 60 units high."""
    counts, width = [0] * BINS, 200 / BINS
    for value in places:
        counts[min(int((value - 100) / width), BINS - 1)] += 1
    unit = 60 / max(*counts, 1)
    return tuple(Bar(100 + width * n, 64 - unit * count, width - 1, unit * count, count) for n, count in enumerate(counts) if count)
