"""Curves as inline SVG. The page holds the words, the picture only numbers: one picture serves both languages
and both colour schemes.

Curves are drawn with matplotlib in placeholder colours that are replaced by the page's own. Nothing depends on
the time or the machine, so the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any

from accord.errors import AccordError
from accord.report.markup import Html, text
from accord.report.project_files import Series
from accord.runtime import packages

COLOURS = 4
WIDE, TALL = 252.0, 136.8
"""The picture's size in its own units."""
LEFT, RIGHT, LOW, HEIGHT = 0.125, 0.985, 0.12, 0.84
"""The axes in shares of the picture."""
LETTER = 4.8
"""Width of a figure on an axis."""
HOVERED = 120
"""Most points of a curve whose values can be pointed at."""
INK, RULE, NAMED = "#b10001", "#b10002", "#b10003"
_STAND_IN = [f"#a1000{number + 1}" for number in range(COLOURS)]
_VARIABLES = {INK: "var(--quiet)", RULE: "var(--rule)", NAMED: "var(--line)"} | {
    stand: f"var(--c{number + 1})" for number, stand in enumerate(_STAND_IN)
}
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "accord", "font.size": 8.0, "axes.unicode_minus": True, "path.simplify": True}


@dataclass(frozen=True)
class Line:
    """One curve: its points, its number among the four colours, and its style."""

    points: Series
    colour: int = 0
    dashed: bool = False
    dots: bool = False
    """Whether to draw points, joined thinly: few measurements, or a path through a plane."""
    name: str = ""
    """A class of its elements, by which a style sheet shows, hides and colours it."""


def draw(lines: list[Line], *, percent: bool = False) -> Html:
    """Return an SVG of the curves with numbered axes.

    Raises:
        AccordError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AccordError("the plots need matplotlib", where="report", hint=packages.install("matplotlib")) from error
    with rc_context(_SETTINGS):
        figure: Any = Figure(figsize=(WIDE / 72, TALL / 72), layout=None)
        axes = figure.add_axes((LEFT, LOW, RIGHT - LEFT, HEIGHT))
        _axes(axes, percent)
        for line in lines:
            _line(axes, line)
        _make_room(axes)
        points = _points(axes, lines, percent)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", transparent=True, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    names = f' data-lines="{text(" ".join(line.name for line in lines))}"' if any(line.name for line in lines) else ""
    return Html(_clean(picture.getvalue()).replace("<svg", f'<svg data-points="{text(points)}"{names}', 1))


def _make_room(axes: Any) -> None:
    """Move the left edge so that the longest number of the vertical axis has room."""
    low, high = axes.get_ylim()
    shown = [axes.yaxis.get_major_formatter()(value) for value in axes.get_yticks() if low <= value <= high]
    left = max(LEFT, (LETTER * max((len(label) for label in shown), default=0) + 6) / WIDE)
    axes.set_position((left, LOW, RIGHT - left, HEIGHT))


def _points(axes: Any, lines: list[Line], percent: bool) -> str:
    """Return the places and values of the curves' points as JSON, so that the page's script can show the one that is pointed at."""
    (x0, x1), (y0, y1), left = axes.get_xlim(), axes.get_ylim(), axes.get_position().x0
    write = _percent if percent else short
    found = list[list[list[object]]]()
    for line in lines:
        every = max(1, -(-len(line.points) // HOVERED))
        row = list[list[object]]()
        for x, y in line.points[::every]:
            across = WIDE * (left + (RIGHT - left) * (x - x0) / (x1 - x0))
            down = TALL * (1 - LOW - HEIGHT * (y - y0) / (y1 - y0))
            row.append([round(across, 1), round(down, 1), short(x), write(float(f"{y:.4g}"))])
        found.append(row)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _axes(axes: Any, percent: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=INK, length=0, pad=4, labelsize=8)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent if percent else short))
    axes.margins(x=0.02, y=0.08)


def short(value: float, _: object = None) -> str:
    """Return a number as on an axis: 0.25, 1200, 12k, 3.5M, 1.2e−4."""
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e6 if unit == 'M' else 1e3):.3g}{unit}"
    if 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.4g}%".replace("-", "\N{MINUS SIGN}")


def _line(axes: Any, line: Line) -> None:
    colour = NAMED if line.name else _STAND_IN[line.colour % COLOURS]
    named = {"gid": f"line-{line.name}"} if line.name else {}
    xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
    marked = line.dots or len(line.points) <= 3
    width, alpha = (0.7, 0.45) if line.dots else (1.4, 1.0)
    axes.plot(xs, ys, color=colour, linewidth=width, alpha=alpha, linestyle=(0, (3, 1.6)) if line.dashed else "-", **named)
    if marked:
        axes.plot(xs, ys, color=colour, linestyle="none", marker="o", markersize=2.6, markeredgewidth=0, **named)
        axes.plot(xs[-1:], ys[-1:], color=colour, linestyle="none", marker="o", markersize=5, markeredgewidth=0, **named)


def _clean(svg: str) -> Html:
    """Strip everything that an HTML page does not need (prologue, addresses, unused ids), and set the page's
    colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg, count=5)
    svg = re.sub(r' id="line-([^"]*)"', r' class="\1"', svg)
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r"(\.\d\d)\d+(?=[^<>]*>)", r"\1", svg)  # coordinates, not the words between tags
    svg = re.sub(r"font(-family)?:[^;\"]*;? ?", lambda found: "" if found[1] else "font-size: 8px; ", svg)
    for stand, variable in _VARIABLES.items():
        svg = svg.replace(stand, variable)
    svg = svg.replace("xlink:href", "href").replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    return Html(re.sub(r"\s*\n\s*", "\n", svg))
