"""Results of ``accord inspect`` on incoming texts: lengths, and the shares that repeat, refuse, insult or are personal."""

from __future__ import annotations

from collections.abc import Iterator

from accord.report import classifier_cards
from accord.report.curves import framed
from accord.report.markup import Html, both, tag
from accord.report.plots import Line, draw
from accord.report.project_files import ProjectRecord, Series, Table, number, table
from accord.report.results import percent

KINDS = {"prompts": ("prompts", "提示词"), "demonstrations": ("demonstrations", "示范"), "responses": ("responses", "回复")}
SHARES = {
    "exact_duplicates": ("exact duplicates", "完全重复"),
    "near_duplicates": ("near duplicates", "近似重复"),
    "refusals": ("refusals", "拒答"),
    "toxic": ("insults", "辱骂"),
    "personal": ("personal data", "个人数据"),
    "empty": ("empty", "空"),
}
COUNTS = {
    "answer_nothing": ("demonstrations that answer nothing", "没有作答的示范"),
    "near_identical": ("near-identical demonstrations", "几乎相同的示范"),
    "contradictions": ("pairs ranked both ways", "有正反两种排序的回复对"),
}


def intake(record: ProjectRecord) -> Html | None:
    """Return the latest inspection: a chart of the texts' lengths beside a table of shares; None when there is none."""
    runs = [run for run in record.of("inspect") if run.summary]
    if not runs:
        return None
    summary = runs[-1].summary
    sets = {kind: table(summary.get(kind)) for kind in KINDS if number(table(summary.get(kind)).get("texts"))}
    pictures = tag("div", [part for part in (_lengths(sets), _shares(sets, summary)) if part], class_="charts")
    return tag(
        "div",
        tag("h3", both("What the texts are like", "文本概况"), " ", tag("span", runs[-1].name, class_="quiet")),
        pictures,
        _hints(summary),
        classifier_cards.lines(summary),
    )


def _hints(summary: Table) -> Html | None:
    """Return how many texts have a hint of a model, and how far it is to be believed."""
    found = table(summary.get("machine_written"))
    counts = {kind: number(table(found.get(kind)).get("hints")) for kind in ("prompts", "demonstrations")}
    people = number(found.get("of_ten_by_people"))
    if not any(counts.values()) or people is None:
        return None
    prompts, demonstrations = (f"{counts[kind] or 0:,.0f}" for kind in ("prompts", "demonstrations"))
    english = f"Hint: a model may have written some (prompts: {prompts}, demonstrations: {demonstrations}). "
    chinese = f"线索：{prompts} 条提示词和 {demonstrations} 条示范可能由模型所写。"
    english += f"No verdict: where it errs most, people wrote {people:.0f} of 10 texts with this hint."
    chinese += f"这不是结论：在误报最多的来源中，10 条带此线索的文本里有 {people:.0f} 条是人写的。"
    return tag("p", both(english, chinese), class_="quiet")


def _lengths(sets: dict[str, Table]) -> Html | None:
    """Return a chart of text length in words over the share of texts that are no longer."""
    drawn = {kind: points for kind, profile in sets.items() if (points := _quantiles(table(profile.get("words"))))}
    if not drawn:
        return None
    keys = [tag("span", tag("i", class_=f"swatch c{n + 1}"), both(*KINDS[kind]), class_="entry") for n, kind in enumerate(drawn)]
    picture = draw([Line(points, n) for n, points in enumerate(drawn.values())])
    unit = ("across: percent of the texts that are no longer", "横轴：不长于此的文本的百分比")
    return framed(both("Words of a text", "文本词数"), picture, tag("p", keys, class_="key"), unit=unit)


def _quantiles(words: Table) -> Series:
    """Return (percent, words) of the middle 90%, since the longest text alone would flatten the rest."""
    found = [(float(key[1:]), number(value)) for key, value in words.items() if key[:1] == "p" and key[1:].isdigit()]
    return sorted((cut, value) for cut, value in found if value is not None and 5 <= cut <= 95)


def _shares(sets: dict[str, Table], summary: Table) -> Html:
    head = tag("tr", tag("td", ""), [tag("th", both(*KINDS[kind]), scope="col") for kind in sets])
    return framed(both("Shares of all texts", "占全部文本的比例"), tag("table", head, list(_rows(sets, summary)), class_="sizes"))


def _rows(sets: dict[str, Table], summary: Table) -> Iterator[Html]:
    for key, words in SHARES.items():
        values = [number(profile.get(key)) for profile in sets.values()]
        cells = [tag("td", percent(value, 1) if value is not None else "\N{EN DASH}") for value in values]
        yield tag("tr", tag("th", both(*words), scope="row"), cells)
    for key, words in COUNTS.items():
        count = number(table(summary.get(key)).get("disputed" if key == "contradictions" else "count"))
        if count:
            yield tag("tr", tag("th", both(*words), scope="row"), tag("td", f"{count:,.0f}", colspan=str(len(sets))))
