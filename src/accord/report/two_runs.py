"""Any two training runs side by side: their curves over each other, and the settings in which they differ.

The reader chooses two runs by radio buttons, and the style sheet that comes with the section shows them: no script is needed. A chart
holds the curve of every run. Two runs of one method are drawn on that method's own axes, others on axes that fit all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain

from accord.report.background import flattened
from accord.report.captions import DEFINITIONS, metric_name
from accord.report.curves import CHARTS, Chart, framed
from accord.report.markup import Html, both, join, tag
from accord.report.method_curves import CURVES
from accord.report.plots import Line, draw, short
from accord.report.project_files import ProjectRecord, RunRecord, Series
from accord.report.project_files import table as table_of

MOST = 30
"""Runs that can be chosen: those with the most recorded steps."""
POINTS = 100
"""Longest curve in points."""
SIDES = (("one", ("First run", "第一个运行")), ("two", ("Second run", "第二个运行")))


def two_runs(record: ProjectRecord) -> Html | None:
    """Return the choice of two runs with everything that it shows; None where there are no two trainings."""
    trained = [run for run in record.runs if run.metrics.rows]
    runs = sorted(sorted(trained, key=lambda run: -run.metrics.rows)[:MOST], key=lambda run: (run.stage, run.name))
    if len(runs) < 2:
        return None
    first = next((place for place in range(len(runs) - 1) if runs[place].stage == runs[place + 1].stage), 0)
    choices = [_choice(side, words, runs, first + number) for number, (side, words) in enumerate(SIDES)]
    left_out = len(trained) - len(runs)
    said = both(f"{left_out} shorter runs are left out.", f"未列出较短的 {left_out} 个运行。") if left_out else None
    logged = [frozenset(key for key in _known() if run.series(key)) for run in runs]
    table, hidden = _settings(runs)
    style = tag("style", Html("\n".join([*_rules(runs, logged), *hidden])))
    return tag("div", style, choices, tag("p", said, class_="quiet") if said else None, _curves(runs), table, class_="two", id="two-runs")


def _choice(side: str, words: tuple[str, str], runs: Sequence[RunRecord], chosen: int) -> Html:
    options = list[Html]()
    for place, run in enumerate(runs):
        stage = join(" ", tag("small", run.stage)) if run.stage != run.name else None
        options.append(
            tag(
                "label",
                tag("input", type="radio", name=f"run-{side}", value=run.name, id=f"{side}-{place}", checked=place == chosen),
                tag("span", run.name, stage),
            )
        )
    swatch = tag("i", class_=f"swatch c{1 if side == 'one' else 2}")
    return tag("fieldset", tag("legend", swatch, both(*words)), options)


# --- curves -------------------------------------------------------------------------------------------------------------------------


@cache
def _known() -> Mapping[str, Chart]:
    """Return every metric that the page has a chart for, with the chart whose unit and name it has; the first chart counts."""
    found = dict[str, Chart]()
    for chart in chain.from_iterable([*CHARTS.values(), *CURVES.values()]):
        for key in chart.keys if not (chart.against or chart.alone) else ():
            found.setdefault(key, chart)
    return found


def _curves(runs: Sequence[RunRecord]) -> Html | None:
    pictures = list[Html]()
    for key, chart in _known().items():
        lines = {place: _series(run, key) for place, run in enumerate(runs)}
        lines = {place: points for place, points in lines.items() if points}
        stages = dict.fromkeys(runs[place].stage for place in lines)
        for stage in stages if len(stages) > 1 else ():
            own = {place: points for place, points in lines.items() if runs[place].stage == stage}
            if len(own) > 1:
                pictures.append(_picture(runs, key, chart, own, f"only s{_stage(runs, stage)}"))
        if len(lines) > 1:
            pictures.append(_picture(runs, key, chart, lines, "mixed" if len(stages) > 1 else ""))
    nothing = both("These two runs have no metric in common.", "这两个运行没有共同的指标。")
    return tag("div", pictures, tag("p", nothing, class_="quiet none"), class_="charts") if pictures else None


def _series(run: RunRecord, key: str) -> Series:
    """Return every n-th point of a metric, and always the last: its value stands beside the curve."""
    points = run.series(key)
    every = max(1, -(-len(points) // POINTS))
    return points[(len(points) - 1) % every :: every]


def _picture(runs: Sequence[RunRecord], key: str, chart: Chart, lines: Mapping[int, Series], shown: str) -> Html:
    """Return a chart of all runs that logged a metric."""
    dots = key.startswith(("validation", "held"))
    drawn = draw([Line(points, dots=dots, name=f"r{place}") for place, points in lines.items()], percent=chart.percent)
    entries = list[Html]()
    for place, points in lines.items():
        last = points[-1][1]
        figure = f"{last:.0%}" if chart.percent else short(float(f"{last:.3g}"))
        words = tag("i", class_="swatch"), runs[place].name, " ", tag("b", figure)
        entries.append(tag("span", words, class_=f"entry r{place}"))
    title = tag("a", metric_name(key), href=f"#def-{key}", class_="def") if key in DEFINITIONS else metric_name(key)
    places = " ".join(f"h{place}" for place in lines)
    return tag("div", framed(title, drawn, tag("p", entries, class_="key"), unit=chart.unit), class_=f"pair {places} {shown}".strip())


# --- settings -----------------------------------------------------------------------------------------------------------------------


def _settings(runs: Sequence[RunRecord]) -> tuple[Html | None, list[str]]:
    """Return a table of the settings in which any of the runs differ, and the rules that hide those in which the chosen two do not."""
    flat = [{"stage": run.stage, **dict(flattened(table_of(run.config.get("config"))))} for run in runs]
    names = dict.fromkeys(chain.from_iterable(flat))
    rows, patterns = list[Html](), dict[tuple[int, ...], int]()
    for name in names:
        values = [settings.get(name) for settings in flat]
        kinds = list(dict.fromkeys(values))
        if len(kinds) > 1:
            pattern = patterns.setdefault(tuple(kinds.index(value) for value in values), len(patterns))
            cells = [tag("td", "\N{EN DASH}" if value is None else value, class_=f"r{place}") for place, value in enumerate(values)]
            rows.append(tag("tr", tag("th", name, scope="row"), cells, class_=f"p{pattern}"))
    if not rows:
        return tag("p", both("All runs have the same settings.", "所有运行的设置相同。")), []
    heads = [tag("th", tag("i", class_="swatch"), run.name, scope="col", class_=f"r{place}") for place, run in enumerate(runs)]
    caption = tag("caption", both("Settings that differ", "不同的设置"))
    table = tag("table", caption, tag("thead", tag("tr", tag("td"), heads)), tag("tbody", rows), class_="settings differ")
    return tag("div", table, class_="scroll", tabindex="0"), [_same(pattern, number) for pattern, number in patterns.items()]


def _same(pattern: Sequence[int], number: int) -> str:
    """Return the rule that hides a row when the two chosen runs have one value."""
    alike = list[str]()
    for kind in dict.fromkeys(pattern):
        places = [place for place, of in enumerate(pattern) if of == kind]
        alike.append(_chosen("one", places) + _chosen("two", places))
    return f"{', '.join(f'#two-runs{condition} .p{number}' for condition in alike)} {{ display: none; }}"


# --- what is shown ------------------------------------------------------------------------------------------------------------------


def _chosen(side: str, places: Sequence[int]) -> str:
    """Return the condition that one of these runs is chosen on a side."""
    return f":has({', '.join(f'#{side}-{place}:checked' for place in places)})"


def _rules(runs: Sequence[RunRecord], logged: Sequence[frozenset[str]]) -> Iterator[str]:
    """Return the rules that hide all but the chosen two, and give each its colour."""
    every = range(len(runs))
    for place in every:
        one, two = f"#one-{place}:checked", f"#two-{place}:checked"
        yield f"#two-runs:not(:has({one}, {two})) .r{place} {{ display: none; }}"
        yield f"#two-runs:has({one}) .r{place} {{ --line: var(--c1); }}"
        yield f"#two-runs:has({two}) .r{place} {{ --line: var(--c2); }}"
        yield f"#two-runs:has({one}, {two}) .pair:not(.h{place}) {{ display: none; }}"
        apart = [other for other in every if not logged[place] & logged[other]]
        if apart:
            yield f"#two-runs{_chosen('one', [place])}{_chosen('two', apart)} .none {{ display: block; }}"
    for number, stage in enumerate(dict.fromkeys(run.stage for run in runs)):
        places = [place for place in every if runs[place].stage == stage]
        both_of_it = _chosen("one", places) + _chosen("two", places)
        yield f"#two-runs{both_of_it} .mixed, #two-runs:not({both_of_it}) .only.s{number} {{ display: none; }}"


def _stage(runs: Sequence[RunRecord], stage: str) -> int:
    return list(dict.fromkeys(run.stage for run in runs)).index(stage)
