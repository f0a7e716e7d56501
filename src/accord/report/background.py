"""The background of the metrics: cost, lineage, settings and definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

from accord.report import manual
from accord.report.captions import DEFINITIONS
from accord.report.curves import definition_link
from accord.report.markup import Html, both, join, tag
from accord.report.project_files import STAGES, ProjectRecord, RunRecord, Table, interval_of, number, table
from accord.report.results import percent, span

# --- cost ---------------------------------------------------------------------------------------------------------------------------


def cost(record: ProjectRecord) -> Html | None:
    """Return seconds and tokens per second by stage, and the peak memory."""
    seconds, speeds = _seconds(record), table(record.summary.get("tokens_per_second"))
    if not seconds:
        return None
    total, longest = sum(seconds.values()), max(seconds.values())
    head = [both("Run", "运行"), definition_link("run_seconds"), "", definition_link("tokens_per_second")]
    rows = [_cost_row(name, spent, longest, number(speeds.get(name)) or _median_speed(record, name)) for name, spent in seconds.items()]
    said = [both("Total ", "总计 "), tag("b", _duration(total)), *_memory(record)]
    return join(
        tag("p", said),
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", words, scope="col") if words else tag("td") for words in head])),
            tag("tbody", rows),
            class_="cost",
        ),
    )


def _seconds(record: ProjectRecord) -> dict[str, float]:
    known = table(record.summary.get("seconds")) or {run.name: run.summary.get("seconds") for run in record.runs}
    return {name: figure for name, value in known.items() if name != "total" and (figure := number(value)) is not None}


def _cost_row(name: str, spent: float, longest: float, speed: float | None) -> Html:
    bar = tag("i", class_="bar", style=f"--v:{100 * spent / longest if longest else 0:.0f}%")
    cells = tag("td", f"{spent:.1f}"), tag("td", bar, class_="barred"), tag("td", f"{speed:,.0f}" if speed else "\N{EN DASH}")
    return tag("tr", tag("th", name, scope="row"), cells)


def _median_speed(record: ProjectRecord, name: str) -> float | None:
    speeds = list[float]()
    for run in record.runs:
        if run.name == name:
            speeds += run.metrics.values("tokens_per_second").tolist()
    return sorted(speeds)[len(speeds) // 2] if speeds else None


def _duration(seconds: float) -> Html:
    minutes, rest = divmod(round(seconds), 60)
    return both(f"{minutes} min {rest} s", f"{minutes} 分 {rest} 秒") if minutes else both(f"{rest} s", f"{rest} 秒")


def _memory(record: ProjectRecord) -> Iterator[Html]:
    of_runs = [number(run.summary.get("peak_rss_mb")) or 0.0 for run in record.runs]
    peak = number(record.summary.get("peak_rss_mb")) or max(of_runs, default=0.0)
    if peak:
        yield join(both(", ", "，"), definition_link("peak_memory"), " ", tag("b", f"{peak:,.0f} MB"))


# --- lineage and settings -----------------------------------------------------------------------------------------------------------


def lineage(record: ProjectRecord) -> Html | None:
    """Return the origin of each model: parents and data by digest."""
    rows = [_ancestor(name, record.models) for name in _from_the_root(record.models)]
    head = [
        both("Model", "模型"),
        both("Made by", "阶段"),
        both("From", "来自"),
        both("Data", "数据"),
        both("Digest", "摘要"),
        both("When", "时间"),
    ]
    heads = tag("tr", [tag("th", words, scope="col") for words in head])
    return (
        tag("div", tag("table", tag("thead", heads), tag("tbody", rows), class_="lineage"), class_="scroll", tabindex="0") if rows else None
    )


def descent(record: ProjectRecord) -> Html | None:
    """Return the way from each final model back through its parents to human feedback. Parts already shown are
    not repeated."""
    parents = set(chain.from_iterable(table(row.get("parents")) for row in record.models.values()))
    last = [name for name in record.models if name not in parents and not name.endswith("-value")]
    told = set[str]()
    return tag("ul", [_branch(record, name, told) for name in last], class_="tree") if last else None


def _branch(record: ProjectRecord, name: str, told: set[str]) -> Html:
    row = record.models.get(name, {})
    head = tag("a", name, href=f"#model-{name}") if name in record.models else name
    if name in told:
        return tag("li", head, tag("span", both(" (above)", "（见上）"), class_="quiet"))
    told.add(name)
    data = [tag("li", _amount(record, name, key), " ", _digest(value)) for key, value in table(row.get("data")).items()]
    parents = [_branch(record, parent, told) for parent in table(row.get("parents"))]
    made = tag("span", both(" made by ", "，由 "), f"accord {row.get('stage', '')}", class_="quiet") if row else None
    return tag("li", head, made, tag("ul", data, parents) if data or parents else None)


AMOUNTS = {
    "rankings": ("rankings by labelers", "标注员的排序"),
    "demonstrations": ("demonstrations written by people", "人写的示范"),
    "prompts": ("prompts", "提示词"),
    "raw_text": ("documents of raw text", "篇原始文本"),
}
DATA = {
    "rankings": ("rankings", "排序"),
    "demonstrations": ("demonstrations", "示范"),
    "prompts": ("prompts", "提示词"),
    "raw_text": ("raw text", "原始文本"),
}
MACHINE = {"cpu": ("cpu", "处理器"), "cores": ("cores", "核数"), "threads": ("threads", "线程"), "dtype": ("dtype", "精度")}


def _amount(record: ProjectRecord, name: str, key: str) -> Html:
    """Return how much training data a model had, if its run counted it."""
    run = next((run for run in record.runs if run.name == name), None)
    counted = number(run.summary.get({"raw_text": "documents"}.get(key, key))) if run else None
    words = both(*AMOUNTS.get(key, (key.replace("_", " "), key)))
    return join(f"{counted:,.0f} " if counted else "", words)


def _from_the_root(models: Mapping[str, Table]) -> list[str]:
    """Return parents before children. Models in a cycle (a broken file) come last."""
    depth, children, waits = dict.fromkeys(models, len(models)), {name: list[str]() for name in models}, dict.fromkeys(models, 0)
    for name in models:
        for parent in table(models[name].get("parents")):
            if parent in models and parent != name:
                children[parent].append(name)
                waits[name] += 1
    level, generation = [name for name in models if not waits[name]], 0
    while level:
        below = list[str]()
        for name in level:
            depth[name] = generation
            for child in children[name]:
                waits[child] -= 1
                if not waits[child]:
                    below.append(child)
        level, generation = below, generation + 1
    return sorted(models, key=lambda name: (depth[name], name))


def _ancestor(name: str, models: Mapping[str, Table]) -> Html:
    row = models[name]
    parents = [_link(parent, digest, models) for parent, digest in table(row.get("parents")).items()]
    data = list[Html]()
    for key, digest in table(row.get("data")).items():
        words = both(*DATA.get(key, (key.replace("_", " "), key)))
        data.append(tag("div", words, " ", _digest(digest)))
    cells = [
        str(row.get("stage", "\N{EN DASH}")),
        parents or "\N{EN DASH}",
        data or "\N{EN DASH}",
        _digest(row.get("digest", "")),
        row.get("at", ""),
    ]
    return tag("tr", tag("th", name, scope="row"), [tag("td", cell) for cell in cells])


def _link(parent: str, digest: object, models: Mapping[str, Table]) -> Html:
    """Return a parent. Say so when the model of that name has changed since the child was trained on it."""
    now = models.get(parent, {}).get("digest")
    changed = tag("em", both(" (has changed since)", "（此后已改动）")) if now and now != digest else None
    return tag("div", parent, " ", _digest(digest), changed)


def _digest(value: object) -> Html:
    return tag("code", str(value)[:10], title=str(value))


def versions(record: ProjectRecord) -> Html | None:
    """Return seed and versions of every run, with a column for each that differs or matters."""
    runs = [run for run in record.runs if run.config]
    keys = dict[str, None]()  # a set that keeps its order
    for run in runs:
        keys |= dict.fromkeys(table(run.config.get("versions")))
    if not keys:
        return None
    heads = [both("Run", "运行"), both("Seed", "种子"), *(both(*MACHINE.get(key, (key, key))) for key in keys)]
    rows = list[Html]()
    for run in runs:
        values = table(run.config.get("versions"))
        cells = [run.config.get("seed", ""), *(values.get(key, "") for key in keys)]
        rows.append(tag("tr", tag("th", run.name, scope="row"), [tag("td", cell) for cell in cells]))
    head = tag("thead", tag("tr", [tag("th", words, scope="col") for words in heads]))
    return tag("div", tag("table", head, tag("tbody", rows), class_="lineage"), class_="scroll versions", tabindex="0")


def settings(record: ProjectRecord) -> Html | None:
    """Return every run with its settings, inputs and versions, folded, in the order of the loop."""
    order = list(dict.fromkeys(STAGES.values()))
    runs = sorted(record.runs, key=lambda run: (order.index(run.stage) if run.stage in order else len(order), run.name))
    folds = [_settings_of(run) for run in runs if run.config]
    return tag("div", folds, class_="folds") if folds else None


def _settings_of(run: RunRecord) -> Html:
    flat = dict(flattened({key: value for key, value in run.config.items() if key != "stage"}))
    cells = {key: _digest(value) if key.startswith("inputs.") else value for key, value in flat.items()}
    rows = [tag("tr", tag("th", key, scope="row"), tag("td", cell)) for key, cell in cells.items()]
    stage = tag("span", run.stage, class_="quiet") if run.stage != run.name else None
    return tag("details", tag("summary", run.name, " ", stage), tag("table", rows, class_="settings"))


def flattened(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Return settings by name; those inside another setting with its name before theirs."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flattened(cast("dict[str, Any]", item), f"{before}{key}.")
        else:
            yield f"{before}{key}".removeprefix("config."), str(item)


# --- definitions and what is missing ------------------------------------------------------------------------------------------------


def definitions() -> Html:
    """Return the meaning of every figure, by its page of docs/. Each figure on the page links here, and this to
    the line there."""
    groups = dict[str, list[Html]]()
    for key, d in DEFINITIONS.items():
        name = tag("dt", d.name, " ", manual.link(d.page, key, words=tag("code", key)), id=f"def-{key}")
        groups.setdefault(d.page, []).append(tag("div", name, tag("dd", both(d.means, d.means_chinese))))
    return join([tag("h3", manual.link(page)), tag("dl", items)] for page, items in groups.items())


def yardsticks(record: ProjectRecord) -> Sequence[Html]:
    """Return the reward model's accuracy against each yardstick, one line each."""
    metrics = table(record.summary.get("reward_model"))
    keys = ("accuracy_labelers", "accuracy_heldout_group", "noise_ceiling", "accuracy_gold")
    return [_yardstick(key, metrics[key]) for key in keys if number(metrics.get(key)) is not None]


def _yardstick(key: str, value: object) -> Html:
    three = interval_of(value)
    figure = [tag("b", percent(number(value) or 0.0, 1)), tag("span", " ", span(three, 1), class_="quiet") if three else None]
    return tag("li", tag("a", DEFINITIONS[key].name, href=f"#def-{key}"), tag("span", figure))
