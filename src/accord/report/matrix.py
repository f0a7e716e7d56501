"""Comparisons of systems: a win-rate matrix per run, strengths with rank ranges, and the reward gained per KL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from accord.evaluation.statistics import Interval
from accord.report.captions import judge_name, model_key, model_name
from accord.report.curves import definition_link, framed
from accord.report.markup import Html, both, join, tag
from accord.report.plots import Line, draw
from accord.report.project_files import ProjectRecord, RunRecord, Table, interval_of, number, table
from accord.report.results import measured, percent, span

COMPARING = ("evaluate", "compare")


def matrices(record: ProjectRecord) -> Html | None:
    """Return a matrix for each run that compared three systems or more."""
    runs = chain.from_iterable(record.of(stage) for stage in COMPARING)
    return join([_matrix(run, rates) for run in runs if len(_systems(rates := rates_of(run))) > 2]) or None


def rates_of(run: RunRecord) -> dict[tuple[str, str], Interval]:
    """Return win rates of ordered pairs, each duel in both directions."""
    rates: dict[tuple[str, str], Interval] = {}
    for name, value in table(run.summary.get("win_rate")).items():
        first, _, second = name.partition("_vs_")
        if second and (three := interval_of(value)):
            rates[first, second] = three
            rates[second, first] = Interval(1 - three.mean, 1 - three.high, 1 - three.low)
    return rates


def _systems(rates: Mapping[tuple[str, str], Interval]) -> list[str]:
    """Return the systems, the strongest first by their mean rate."""
    means = dict[str, list[float]]()
    for (first, _), three in rates.items():  # every pair is there in both directions
        means.setdefault(first, []).append(three.mean)
    return sorted(means, key=lambda name: (-sum(means[name]) / len(means[name]), name))


def _matrix(run: RunRecord, rates: Mapping[tuple[str, str], Interval]) -> Html:
    names = _systems(rates)
    strength = table(run.summary.get("strength"))
    heads = [tag("th", model_name(name), scope="col") for name in names]
    if strength:
        heads.append(tag("th", definition_link("rank_range"), scope="col"))
    rows = [_row(name, names, rates, table(strength.get(name)) if strength else None) for name in names]
    judge = judge_name(str(run.summary.get("judge", "gold")))
    caption = tag("figcaption", definition_link("win_rate_matrix"), tag("span", run.name, both(", by ", "，评判："), judge, class_="unit"))
    corner = tag("th", both("row preferred to column", "行优于列"), scope="col")
    grid = tag("table", tag("thead", tag("tr", corner, heads)), tag("tbody", rows))
    return tag("figure", caption, tag("div", grid, class_="scroll", tabindex="0"), class_="matrix")


def _row(name: str, names: Sequence[str], rates: Mapping[tuple[str, str], Interval], strength: Table | None) -> Html:
    cells = [tag("td", "\N{MIDDLE DOT}", class_="self") if other == name else _cell(rates.get((name, other))) for other in names]
    if strength is not None:
        low, high = [*strength.get("rank_range", []), "?", "?"][:2]
        cells.append(tag("td", f"{low}" if low == high else f"{low}\N{EN DASH}{high}"))
    return tag("tr", tag("th", model_name(name), scope="row"), cells)


def _cell(three: Interval | None) -> Html:
    if three is None:
        return tag("td", "\N{EN DASH}", class_="quiet")
    lies = "win" if three.low > 0.5 else "loss" if three.high < 0.5 else "open"
    depth = f"--d:{min(abs(three.mean - 0.5) * 2, 1):.2f}"
    return tag("td", tag("b", percent(three.mean)), " ", tag("span", span(three), class_="quiet"), class_=lies, style=depth)


# --- bought with KL -----------------------------------------------------------------------------------------------------------------


def frontier(record: ProjectRecord) -> Html | None:
    """Return gold utility against KL to the SFT model for every evaluated model. The runs' own proxy curves are
    beside it."""
    criteria = {model_key(name): number(table(row).get("utility")) for name, row in measured(record, "criteria").items()}
    kl = {model_key(name): number(value) for name, value in measured(record, "kl").items()} | {"sft": 0.0}
    points = {name: (far, worth) for name, far in kl.items() if far is not None and (worth := criteria.get(name)) is not None}
    if len(points) < 2:
        return None
    lines, keys = list[Line](), list[Html]()
    for colour, name in enumerate(sorted(points, key=lambda name: points[name])):
        lines.append(Line([points[name]], colour, False, True))
        keys.append(_key(name, colour, *points[name]))
    picture = framed(definition_link("frontier"), draw(lines), tag("p", keys, class_="key"), unit=("across: nats", "横轴：nat"))
    return tag("div", picture, class_="charts")


def _key(name: str, colour: int, far: float, worth: float) -> Html:
    dot = tag("i", class_=f"swatch c{colour % 4 + 1}")
    return tag("span", dot, model_name(name), " ", tag("b", f"{worth:.2f}"), f" @ {far:.1f}", class_="entry")
