"""The page's curves: which metrics share a chart, and a chart with its caption and key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.report import manual
from accord.report.captions import DEFINITIONS, metric_name
from accord.report.markup import Child, Html, both, join, tag
from accord.report.plots import COLOURS, Line, draw, short
from accord.report.project_files import ProjectRecord, RunRecord, Series


@dataclass(frozen=True)
class Chart:
    """Metrics of one unit in one chart. ``title`` is the key of its definition."""

    title: str
    keys: tuple[str, ...]
    unit: tuple[str, str] = ("", "")
    percent: bool = False
    against: str = ""
    """The metric on the horizontal axis; the step when empty."""
    name: tuple[str, str] = ("", "")
    """The chart's own name, where its title is no definition of the page."""
    alone: bool = False
    """Whether there are too many metrics to overlay several runs, so that only the first run is drawn."""


NATS_TOKEN, NATS_RESPONSE = ("nats per token", "nat / 词元"), ("nats per response", "nat / 回复")
PHASES = ("seconds_rollout", "seconds_score", "seconds_measure", "seconds_train")
CHARTS: dict[str, tuple[Chart, ...]] = {
    "pretrain": (Chart("loss", ("loss", "validation_loss"), NATS_TOKEN),),
    "sft": (Chart("loss", ("loss", "validation_loss"), NATS_TOKEN),),
    "reward": (
        Chart("reward_loss", ("loss",), ("nats a pair", "nat / 对")),
        Chart("accuracy", ("accuracy", "validation_accuracy"), percent=True),
        Chart("margin", ("margin",)),
    ),
    "ppo": (
        Chart("reward", ("reward", "reward_total")),
        Chart("reward_kl", ("reward",), ("across: nats", "横轴：nat"), against="kl_k1"),
        Chart("kl_k1", ("kl_k1", "kl_k3"), NATS_RESPONSE),
        Chart("entropy", ("entropy",), NATS_TOKEN),
        Chart("response_length", ("response_length",), ("tokens", "词元")),
        Chart("finished", ("finished",), percent=True),
        Chart("held_out_reward", ("held_out_reward",)),
        Chart("held_out_win_rate", ("held_out_win_rate",), percent=True),
        Chart("held_out_self_bleu", ("held_out_self_bleu", "held_out_distinct_2")),
    ),
    "ppo more": (
        Chart("ptx_loss", ("ptx_loss",), NATS_TOKEN),
        Chart("value_explained_variance", ("value_explained_variance",)),
        Chart("clip_fraction", ("clip_fraction",), percent=True),
        Chart("approx_kl", ("approx_kl",), NATS_TOKEN),
        Chart("logprob_gap", ("logprob_gap",), ("nats a token", "nat / 词元")),
        Chart("seconds", PHASES, ("a step", "每步"), alone=True),
        Chart("policy_loss", ("policy_loss",)),
        Chart("value_loss", ("value_loss",)),
        Chart("grad_norm", ("grad_norm",)),
    ),
}


def definition_link(key: str) -> Html:
    """Return a figure's name, linked to its meaning."""
    return tag("a", DEFINITIONS[key].name, href=f"#def-{key}", class_="def")


def charts(record: ProjectRecord, stage: str, group: Sequence[Chart], over: Html | None = None, *, page: str = "") -> list[Html]:
    """Return charts of a stage's runs under the heading ``over``. Up to four runs are overlaid.

    Args:
        page: of docs/, where the metrics of charts with a name of their own are defined.
    """
    return pictures_of(record.of(stage)[:COLOURS], group, over, page=page)


def pictures_of(runs: Sequence[RunRecord], group: Sequence[Chart], over: Html | None = None, *, page: str = "") -> list[Html]:
    """Return a chart of these runs for each of the group that any of them logged."""
    pictures = list[Html]()
    for chart in group:
        logged = [run for run in runs if any(_points(run, chart, key) for key in chart.keys)]
        if picture := _picture(chart, logged, over, page):
            pictures.append(picture)
    return pictures


def framed(title: Html, *content: Child, unit: tuple[str, str] = ("", ""), over: Html | None = None) -> Html:
    """Return a figure with its caption, and its stage above."""
    stage = tag("span", over, class_="over") if over else None
    caption = tag("figcaption", stage, tag("span", title), tag("span", both(*unit), class_="unit") if unit[0] else None)
    return tag("figure", caption, content, class_="chart")


def _points(run: RunRecord, chart: Chart, key: str) -> Series:
    points = run.series(key, chart.against)
    return points if key != "ptx_loss" or any(value for _, value in points) else []  # a run without the mix logs zeros


def _picture(chart: Chart, runs: Sequence[RunRecord], over: Html | None, page: str) -> Html | None:
    if not runs:
        return None
    runs = runs[:1] if chart.alone else runs
    lines, entries = list[Line](), list[Html]()
    for place, run in enumerate(runs):
        for order, key in enumerate(chart.keys):
            points = _points(run, chart, key)
            if points:
                line = _styled(points, chart, key, place, order, several=len(runs) > 1)
                lines.append(line)
                entries.append(_entry(line, run.name if len(runs) > 1 else "", key, chart.percent))
    drawn = draw(lines, percent=chart.percent), tag("p", entries, class_="key")
    title = manual.link(page, chart.keys[0], words=both(*chart.name)) if chart.name[0] else definition_link(chart.title)
    return framed(title, *drawn, unit=chart.unit, over=over)


def _styled(points: Series, chart: Chart, key: str, place: int, order: int, *, several: bool) -> Line:
    """Return the styled lines: several runs differ by colour and their metrics by dashes; one run's metrics
    differ by colour."""
    dots = bool(chart.against) or key.startswith("validation")
    return Line(points, place, order > 0, dots) if several else Line(points, order, False, dots)


def _entry(line: Line, run: str, key: str, percent: bool) -> Html:
    last = line.points[-1][1]
    figure = f"{last:.0%}" if percent else short(float(f"{last:.3g}"))
    kind = f"swatch c{line.colour % COLOURS + 1}" + (" dashed" if line.dashed else "")
    words = [run, None if run and not line.dashed else metric_name(key)]
    return tag("span", tag("i", class_=kind), join(" ", [join(word, " ") for word in words if word], tag("b", figure)), class_="entry")
