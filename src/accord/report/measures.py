"""Other measurements: frontiers as charts with their stopping point, everything else as metrics with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from accord.evaluation.findings import MEASURED_BY
from accord.evaluation.statistics import Interval
from accord.report import classifier_cards, manual
from accord.report.curves import definition_link, framed
from accord.report.markup import Html, both, join, tag
from accord.report.plots import COLOURS, Line, draw
from accord.report.project_files import ProjectRecord, RunRecord, Series, interval_of, number, table
from accord.settings.methods import PREFERENCE, SAMPLING

KNOWN = {"pretrain", "sft", "sample", "label", "reward", "evaluate", "compare", *PREFERENCE, *SAMPLING}
"""Stages whose metrics stand elsewhere on the page, or in their curves and cards."""
PLAIN = {"seconds", "peak_rss_mb", "tokens_per_second", "stop.line"}
ROWS = 120
"""Most metrics shown per run."""


def frontiers(record: ProjectRecord) -> Html | None:
    """Return reward against KL for every run with a measured frontier, by proxy and by gold, with best-of-n beside it."""
    pictures = [picture for run in record.of("frontier") if (picture := _frontier(run))]
    return tag("div", pictures, class_="charts") if pictures else None


def knowledge(record: ProjectRecord) -> Html | None:
    """Return the coverage-accuracy curves of every probe that measured what models know, a line for each system."""
    pictures = [picture for run in record.of("probe") if (picture := _knowledge(run))]
    return tag("div", pictures, class_="charts") if pictures else None


def _knowledge(run: RunRecord) -> Html | None:
    lines, keys, chosen = list[Line](), list[Html](), list[Html]()
    for colour, (system, found) in enumerate(list(table(run.summary.get("knowledge")).items())[:COLOURS]):
        rows = table(found).get("curve")
        entries = [table(row) for row in cast("list[object]", rows)] if isinstance(rows, list) else []
        pairs = [(number(row.get("coverage")), number(row.get("accuracy"))) for row in entries]
        points = sorted((coverage, accuracy) for coverage, accuracy in pairs if coverage is not None and accuracy is not None)
        if not points:
            continue
        lines.append(Line(points, colour, dots=len(points) < 3))
        keys.append(tag("span", tag("i", class_=f"swatch c{colour + 1}"), system, class_="entry"))
        if (line := _threshold(system, table(table(found).get("threshold")))) is not None:
            chosen.append(line)
    if not lines:
        return None
    name = both(run.name, run.name)
    drawn = draw(lines, percent=True), tag("p", keys, class_="key"), *chosen, classifier_cards.lines(run.summary)
    return framed(definition_link("coverage_accuracy"), *drawn, unit=("across: coverage", "横轴：覆盖率"), over=name)


def _threshold(system: str, point: Mapping[str, Any]) -> Html | None:
    needed, coverage, accuracy = (number(point.get(key)) for key in ("threshold", "coverage", "accuracy"))
    if needed is None or coverage is None or accuracy is None:
        return None
    english = f"{system}: where {needed:.0%} of its samples agree it answers {coverage:.0%} of the questions, {accuracy:.0%} rightly."
    chinese = f"{system}：样本一致率达 {needed:.0%} 时作答，回答 {coverage:.0%} 的问题，其中 {accuracy:.0%} 正确。"
    return tag("p", both(english, chinese), class_="quiet")


CURVES = (
    ("policies", "proxy", "proxy reward", "代理奖励"),
    ("policies", "gold", "gold reward", "金标奖励"),
    ("best_of_n", "proxy", "best of n, proxy", "best-of-n，代理"),
    ("best_of_n", "gold", "best of n, gold", "best-of-n，金标"),
)


def _frontier(run: RunRecord) -> Html | None:
    lines, keys = list[Line](), list[Html]()
    for colour, (group, judge, *words) in enumerate(CURVES):
        points = _points(run.summary.get(group), judge)
        if points:
            lines.append(Line(points, colour, judge == "proxy"))
            dashed = " dashed" if judge == "proxy" else ""
            keys.append(tag("span", tag("i", class_=f"swatch c{colour + 1}{dashed}"), both(words[0], words[1]), class_="entry"))
    if not lines:
        return None
    about = both(str(run.summary.get("run", run.name)), str(run.summary.get("run", run.name)))
    drawn = draw(lines), tag("p", keys, class_="key"), _stop(table(run.summary.get("stop")), _last(run))
    return framed(definition_link("reward_frontier"), *drawn, unit=("across: nats", "横轴：nat"), over=about)


def _points(rows: object, judge: str) -> Series:
    """Return (KL, reward) of each entry that has both, in order of KL."""
    entries = [table(row) for row in cast("list[object]", rows)] if isinstance(rows, list) else []
    pairs = [(number(row.get("kl")), number(row.get(judge))) for row in entries]
    return sorted((kl, reward) for kl, reward in pairs if kl is not None and reward is not None)


def _last(run: RunRecord) -> float:
    """Return the last step whose policy was measured."""
    rows = run.summary.get("policies")
    steps = [number(table(row).get("step")) for row in cast("list[object]", rows)] if isinstance(rows, list) else []
    return max((step for step in steps if step is not None), default=0.0)


def _stop(stop: Mapping[str, Any], last: float) -> Html | None:
    step, kl = number(stop.get("step")), number(stop.get("kl"))
    if step is None or kl is None:
        return None
    if step >= last:
        rising = f"Go on: at step {step:.0f}, {kl:.1f} nats, the gold reward was still rising."
        return tag("p", both(rising, f"可继续：到第 {step:.0f} 步（{kl:.1f} nat）金标奖励仍在上升。"), class_="quiet")
    here = both(f"Stop at step {step:.0f}, {kl:.1f} nats: ", f"宜止于第 {step:.0f} 步（{kl:.1f} nat）：")
    return tag("p", here, both("past it the gold reward no longer rises measurably.", "此后金标奖励不再有可测的上升。"), class_="quiet")


def others(record: ProjectRecord) -> Html | None:
    """Return a folded section for every other finished run, with all its metrics, each linked to its definition in docs/."""
    runs = [run for run in record.runs if run.stage not in KNOWN and run.summary]
    folds = [fold for run in runs if (fold := _fold(run))]
    return tag("div", folds, class_="folds") if folds else None


def _fold(run: RunRecord) -> Html | None:
    rests_on = classifier_cards.basis(run.summary)
    metrics = [(name, value) for name, value in flattened(run.summary) if name not in PLAIN and not name.startswith(f"{MEASURED_BY}.")]
    if not metrics:
        return None
    rows = list[Html]()
    for name, value in metrics[:ROWS]:
        last = name.rpartition(".")[2]
        card = next((classifier_cards.link(key) for metric, (key, _) in rests_on.items() if key and last.startswith(metric)), None)
        rows.append(tag("tr", tag("th", _documented(run.stage, name), scope="row"), tag("td", _written(value), " ", card)))
    left = tag("p", f"\N{HORIZONTAL ELLIPSIS} {len(metrics) - ROWS}", class_="quiet") if len(metrics) > ROWS else None
    below = left, classifier_cards.lines(run.summary)
    return tag("details", tag("summary", run.name, " ", manual.link(run.stage)), tag("table", rows, class_="settings"), below)


def _documented(stage: str, name: str) -> Html:
    """Return a metric's name, linked to its definition or its group's on the stage's page."""
    known = manual.names(stage)
    return manual.link(stage, next((key for key in (name, *reversed(name.split("."))) if key in known), ""), words=name)


def flattened(value: object, before: str = "") -> Iterator[tuple[str, float | Interval | str]]:
    """Return metrics by dotted name: numbers, intervals and names. Other lists are left to --json."""
    for key, item in table(value).items():
        name = f"{before}{key}"
        if isinstance(item, dict):
            yield from flattened(cast("object", item), f"{name}.")
        elif (three := interval_of(item)) is not None:
            yield name, three
        elif (figure := number(item)) is not None:
            yield name, figure
        elif isinstance(item, str) and len(item) < 80:
            yield name, item


def _written(value: float | Interval | str) -> Html:
    if isinstance(value, Interval):
        return join(tag("b", _short(value.mean)), " ", tag("span", f"{_short(value.low)} \N{EN DASH} {_short(value.high)}", class_="quiet"))
    return tag("b", _short(value)) if isinstance(value, float) else join(value)


def _short(value: float) -> str:
    return (f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}").replace("-", "\N{MINUS SIGN}")
