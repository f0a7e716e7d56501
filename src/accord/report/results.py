"""Results: the headline metrics, win rates, the table of models, and answers of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from accord.evaluation.statistics import Interval
from accord.report import classifier_cards
from accord.report.captions import DEFINITIONS, model_key, model_name, use_case
from accord.report.curves import definition_link
from accord.report.markup import Html, both, join, tag, text
from accord.report.project_files import ProjectRecord, Table, interval_of, number, table
from accord.report.said import Words

CRITERIA = ("helpful", "truthful", "harmless", "concise", "utility")
SHOWN, MORE = 4, 12
"""Number of prompts shown in full, and folded away below."""


def percent(value: float, digits: int = 0, *, signed: bool = False) -> str:
    """Return a share as a percentage: 0.731 as 73%."""
    return f"{value:{'+' if signed else ''}.{digits}%}".replace("-", "\N{MINUS SIGN}")


def span(value: Interval, digits: int = 0) -> str:
    """Return an interval as 69\N{EN DASH}77%."""
    return f"{100 * value.low:.{digits}f}\N{EN DASH}{100 * value.high:.{digits}f}%"


def measured(record: ProjectRecord, key: str) -> Table:
    """Return all measured metrics; the evaluation run's values take precedence over the project's summary."""
    run = record.one("evaluate")
    return {**table(record.summary.get(key)), **table(run.summary.get(key) if run else None)}


# --- the headline -------------------------------------------------------------------------------------------------------------------


def headline(record: ProjectRecord) -> Html | None:
    """Return the metrics to read first, each with its interval if it has one."""
    tiles = [_tile(label, value, key) for label, value, key in _headline_figures(record) if number(value) is not None]
    return tag("div", tiles, class_="tiles", id="headline") if tiles else None


def _headline_figures(record: ProjectRecord) -> Iterator[tuple[Html, object, str]]:
    summary = record.summary
    rates, tax, made_up = (table(summary.get(key)) for key in ("win_rate", "alignment_tax", "hallucination"))
    yield both("of prompts: SFT preferred to base", "SFT 优于基座（按提示词）"), rates.get("sft_vs_base"), "win_rate"
    yield both("of prompts: PPO preferred to SFT", "PPO 优于 SFT（按提示词）"), rates.get("ppo_vs_sft"), "win_rate"
    yield (
        both("of pairs: reward model agrees with gold", "奖励模型与金标一致"),
        _reward_model(record, "accuracy_gold"),
        "accuracy_gold",
    )
    yield both("of pairs: two labelers agree", "两位标注员一致"), summary.get("agreement"), "agreement"
    yield both("of absent facts: PPO makes things up", "PPO 编造未知事实"), made_up.get("ppo"), "hallucination"
    yield both("alignment tax of PPO", "PPO 的对齐税"), tax.get("ppo_ptx", tax.get("ppo")), "alignment_tax"


def _reward_model(record: ProjectRecord, key: str) -> object:
    return table(record.summary.get("reward_model")).get(key)


def _tile(label: Html, value: object, key: str) -> Html:
    mean, three = number(value) or 0.0, interval_of(value)
    big = percent(mean, 1, signed=True) if key == "alignment_tax" else percent(mean)
    parts = [tag("strong", big), tag("span", span(three), class_="span") if three else None, tag("a", label, href=f"#def-{key}")]
    return tag("div", parts, class_="tile")


# --- who beats whom -----------------------------------------------------------------------------------------------------------------


def duels(record: ProjectRecord) -> Html | None:
    """Return win rates as dots with their intervals, around the line of equality."""
    run, summary = record.one("evaluate"), table(record.summary.get("win_rate"))
    rates = table(run.summary.get("win_rate") if run else None) or summary
    rows = [_duel(*_sides(name), three) for name, value in rates.items() if (three := interval_of(value))]
    if not rows:
        return None
    counted = number(run.summary.get("prompts")) if run else None
    caption = tag(
        "figcaption",
        definition_link("win_rate"),
        tag("span", both(f"{counted:.0f} held-out prompts", f"{counted:.0f} 个留出提示词"), class_="unit") if counted else None,
    )
    return join(tag("figure", caption, tag("table", _scale(), rows, class_="duels"), class_="wide"), _use_cases(record))


def _sides(name: str) -> tuple[Html, Html]:
    first, _, second = name.partition("_vs_")
    return model_name(first), model_name(second)


def _duel(first: Html, second: Html, three: Interval) -> Html:
    label = tag("th", first, tag("span", both(" preferred to ", " 优于 "), class_="quiet"), second, scope="row")
    return tag(
        "tr", label, tag("td", tag("b", percent(three.mean)), " ", tag("span", span(three), class_="quiet")), tag("td", strip(three))
    )


def strip(three: Interval) -> Html:
    """Return an interval on a line from 0 to 100%, with its mean as a dot. The tick in the middle is 50%."""
    low, mean, high = (round(100 * value, 1) for value in (three.low, three.mean, three.high))
    lies = "win" if three.low > 0.5 else "loss" if three.high < 0.5 else "open"
    parts = [
        tag("line", x1=0, x2=100, y1=5, y2=5, class_="axis"),
        tag("line", x1=50, x2=50, y1=1, y2=9, class_="axis"),
        tag("line", x1=low, x2=high, y1=5, y2=5, class_="whisker"),
        tag("line", x1=mean, x2=mean, y1=5, y2=5, class_="dot"),
    ]
    return tag("svg", parts, viewBox="0 0 100 10", preserveAspectRatio="none", class_=f"strip {lies}", aria_hidden="true")


def _scale() -> Html:
    marks = tag("span", "0"), tag("span", "50%"), tag("span", "100%")
    return tag("tr", tag("td"), tag("td"), tag("td", tag("div", marks, class_="scale")), aria_hidden="true")


def _use_cases(record: ProjectRecord) -> Html | None:
    """Return win rates by use case, for the duels that concern policies."""
    run = record.one("evaluate")
    cases = table(run.summary.get("win_rate_by_use_case") if run else None)
    blocks: list[Html] = []
    for name, rates in cases.items():
        rows = [_case(case, three) for case, value in table(rates).items() if (three := interval_of(value))]
        first, second = _sides(name)
        heading = tag("h4", first, tag("span", both(" preferred to ", " 优于 "), class_="quiet"), second)
        blocks += [tag("div", heading, tag("table", rows, class_="duels small"))] if rows else []
    if not blocks:
        return None
    return tag("details", tag("summary", both("By use case", "按用途细分")), tag("div", blocks, class_="columns"))


def _case(case: str, three: Interval) -> Html:
    name = tag("th", use_case(case), scope="row")
    return tag("tr", name, tag("td", percent(three.mean), " ", tag("span", span(three), class_="quiet")), tag("td", strip(three)))


# --- the table of models ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of the table: the key of its definition and each model's cell."""

    key: str
    cells: dict[str, Html]


def models(record: ProjectRecord) -> Html | None:
    """Return the table of base, SFT, policies and best-of-n: criteria, made-up answers, KL, alignment tax."""
    columns = [column for column in _columns(record) if column.cells]
    names = list(dict.fromkeys(chain.from_iterable(column.cells for column in columns)))
    if not names:
        return None
    rests_on = classifier_cards.basis(record.summary)
    if run := record.one("evaluate"):
        rests_on |= classifier_cards.basis(run.summary)
    heads = [tag("th", both("Model", "模型"), scope="col")]
    for column in columns:
        key = rests_on.get(column.key, ("", ""))[0]
        heads.append(tag("th", definition_link(column.key), join(" ", classifier_cards.link(key)) if key else None, scope="col"))
    head = tag("tr", heads)
    absent = tag("span", "\N{EN DASH}")
    rows = list[Html]()
    for name in names:
        cells = [tag("td", column.cells.get(name, absent)) for column in columns]
        rows.append(tag("tr", tag("th", model_name(name), scope="row"), cells))
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_="models"), class_="scroll", tabindex="0")


def _columns(record: ProjectRecord) -> Iterator[Column]:
    criteria = {model_key(name): table(row) for name, row in measured(record, "criteria").items()}
    for key in CRITERIA:
        values = {name: number(row.get(key)) for name, row in criteria.items()}
        yield Column(key, {name: _bar(value) for name, value in values.items() if value is not None})
    yield Column("hallucination", _cells(measured(record, "hallucination"), percent))
    texts = {model_key(name): table(row) for name, row in measured(record, "text").items()}
    for key, digits in (("coverage", 0), ("information", 1), ("rouge_l", 2), ("chrf", 2)):
        means = {name: number(row.get(key)) for name, row in texts.items()}
        written = {name: percent(mean) if key == "coverage" else f"{mean:.{digits}f}" for name, mean in means.items() if mean is not None}
        yield Column(key, {name: text(each) for name, each in written.items()})
    kl = table(record.summary.get("kl")) or ({"ppo": record.summary["kl"]} if "kl" in record.summary else {})
    yield Column("kl", _cells({**kl, **measured(record, "kl")}, lambda value: f"{value:.1f}"))
    taxes = {"ppo" if name == "ppo_ptx" else name: value for name, value in table(record.summary.get("alignment_tax")).items()}
    yield Column("alignment_tax", _cells(taxes, lambda value: percent(value, 1, signed=True)))


def _cells(values: Table, write: Callable[[float], str]) -> dict[str, Html]:
    return {model_key(name): text(write(figure)) for name, value in values.items() if (figure := number(value)) is not None}


def _bar(value: float) -> Html:
    share = round(100 * min(max(value, 0.0), 1.0))
    return join(f"{value:.2f}", tag("i", class_="bar", style=f"--v:{share}%"))


# --- answers side by side -----------------------------------------------------------------------------------------------------------


def answers(record: ProjectRecord) -> Html | None:
    """Return the first prompt of each use case, answered by every model. The choice does not depend on outcomes;
    the page says so."""
    run = record.one("evaluate")
    rows = [row for row in run.samples.rows if table(row.get("responses"))] if run else []
    if not rows:
        return None
    chosen = _one_a_use_case(rows)
    shown, more, words = chosen[:SHOWN], chosen[SHOWN : SHOWN + MORE], Words()
    folded = (
        tag("details", tag("summary", both(f"{len(more)} more", f"另外 {len(more)} 个")), [answer(row, words) for row in more])
        if more
        else None
    )
    said = both(
        "The first held-out prompt of each use case, whatever came out; not picked by result.",
        "每种用途的第一个留出提示词，不按结果挑选。",
    )
    return join(tag("p", said, class_="quiet"), [answer(row, words) for row in shown], folded)


def _one_a_use_case(rows: Sequence[Table]) -> list[Table]:
    """Return the first of each use case, then the rest in order."""
    first, rest, seen = list[Table](), list[Table](), set[str]()
    for row in rows:
        case = str(row.get("use_case", ""))
        (rest if case in seen else first).append(row)
        seen.add(case)
    return [*first, *rest]


def answer(row: Table, words: Words) -> Html:
    """Return a prompt with each model's response side by side, and the judge's scores."""
    utilities = table(row.get("utilities")) or table(row.get("scores"))
    asked = tag(
        "p", tag("span", use_case(str(row.get("use_case", ""))), class_="case"), tag("span", words(_said(row.get("prompt")))), dir="auto"
    )
    cards = [_response(str(name), words(_said(said)), number(utilities.get(name))) for name, said in table(row.get("responses")).items()]
    return tag("article", tag("div", asked, class_="asked"), tag("div", cards, class_="answers"))


def _response(name: str, said: Html, utility: float | None) -> Html:
    scored = None
    if utility is not None:
        scored = join(" ", tag("a", f"{utility:.2f}", href="#def-utility", title=DEFINITIONS["utility"].english))
    empty = tag("em", both("(empty)", "（空）"))
    return tag("div", tag("h4", model_name(name), scored), tag("p", said or empty, dir="auto"), class_="said")


def _said(value: object) -> str:
    """Return a text as it is; a conversation as its turns."""
    if isinstance(value, list):
        return "\n".join(str(table(turn).get("content", turn)) for turn in cast("list[object]", value))
    return str(value if value is not None else "")
