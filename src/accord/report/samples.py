"""Samples to search and filter: answers side by side, and each training run's responses while it learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from accord.report.captions import use_case
from accord.report.markup import Html, both, join, tag
from accord.report.project_files import ProjectRecord, RunRecord, Table, number, table
from accord.report.results import answer
from accord.report.said import MOST_FORMULAS, Words

BYTES = 2_400_000
"""Most bytes of the page that samples may take."""
OUTCOMES = {
    "better": ("policy above SFT", "策略高于 SFT"),
    "worse": ("policy below SFT", "策略低于 SFT"),
    "same": ("no difference", "无差别"),
}


@dataclass(frozen=True)
class Piece:
    """One sample as markup, and the values to filter it by."""

    run: str
    case: str
    outcome: str
    html: Html


def browser(record: ProjectRecord) -> Html | None:
    """Return a search box, filters and samples. Without a script all samples are shown, folded."""
    runs = [run for run in record.runs if run.samples.rows]
    pieces = fitting([list(_pieces(run, Words(MOST_FORMULAS // len(runs)))) for run in runs], BYTES)
    if not pieces:
        return None
    total = sum(run.samples.total for run in runs)
    said = both(f"{len(pieces):,} of {total:,} samples, evenly spread.", f"共 {total:,} 个样本，均匀取出 {len(pieces):,} 个。")
    controls = tag("form", _search(), _choices(pieces), class_="controls", id="controls", role="search", aria_label="samples")
    items = tag("div", [piece.html for piece in pieces], id="pieces")
    more = tag("button", both("Show more", "显示更多"), type="button", id="more")
    count = tag("output", id="count", class_="quiet", aria_live="polite")
    title = tag("summary", both("Search all samples", "搜索全部样本"))
    return tag("details", title, tag("p", said, class_="quiet"), controls, count, items, more)


def fitting(groups: Sequence[Sequence[Piece]], limit: int) -> list[Piece]:
    """Return as many samples of all groups as fit into this many bytes, each group thinned evenly to its share."""
    sizes = [_size(group) for group in groups]
    kept: list[Piece] = []
    for group, size in zip(groups, sizes, strict=True):
        share = limit // len(groups)
        count = len(group) if sum(sizes) <= limit or size <= share else max(1, len(group) * share // size)
        kept += [group[len(group) * number // count] for number in range(count)] if group else []
    return kept


def _size(group: Sequence[Piece]) -> int:
    return sum(len(piece.html.encode()) for piece in group)


def _pieces(run: RunRecord, words: Words) -> Iterator[Piece]:
    for row in run.samples.rows:
        sides, case = table(row.get("responses")), str(row.get("use_case", ""))
        if sides:
            yield _piece(run.name, case, _outcome(row), answer(row, words))
        elif isinstance(row.get("response"), str):
            yield _piece(run.name, case, "", _said(row, words))
        elif isinstance(row.get("responses"), list):
            said = cast("list[object]", row["responses"])
            yield _piece(run.name, case, "", answer({**row, "responses": {str(n): text for n, text in enumerate(said, 1)}}, words))


def _piece(run: str, case: str, outcome: str, content: Html) -> Piece:
    head = tag("p", run, class_="of quiet")
    html = tag("div", head, content, class_="piece", data_run=run, data_case=case or None, data_outcome=outcome or None)
    return Piece(run, case, outcome, html)


def _outcome(row: Table) -> str:
    """Return the first policy's outcome against the SFT model."""
    worth = table(row.get("utilities")) or table(row.get("scores"))
    policy = next((name for name in worth if name not in ("base", "sft", "best-of-n")), "")
    ours, theirs = number(worth.get(policy)), number(worth.get("sft"))
    if ours is None or theirs is None:
        return ""
    return "same" if abs(ours - theirs) < 1e-9 else "better" if ours > theirs else "worse"


def _said(row: Table, words: Words) -> Html:
    """Return one response of a training run as markup."""
    score, step = number(row.get("score")), number(row.get("step"))
    figures = [
        join(both("step ", "第 "), f"{step:.0f}", both("", " 步")) if step else None,
        join(both("reward ", "奖励 "), f"{score:.2f}".replace("-", "\N{MINUS SIGN}")) if score is not None else None,
        both("cut", "被截断") if row.get("finished") is False else None,
    ]
    head = tag("h4", join([join(figure, " ") for figure in figures if figure]))
    asked = tag("p", tag("span", words(row.get("prompt", ""))), dir="auto", class_="asked")
    response = tag("div", head, tag("p", words(row["response"]), dir="auto"), class_="said")
    return tag("article", asked, tag("div", response, class_="answers"))


# --- controls -----------------------------------------------------------------------------------------------------------------------


def _search() -> Html:
    return tag("label", both("Words ", "文字 "), tag("input", type="search", id="words", autocomplete="off"), class_="search")


def _choices(pieces: Sequence[Piece]) -> Html:
    named = dict.fromkeys(piece.run for piece in pieces)
    known = {piece.case for piece in pieces if piece.case}
    found = {piece.outcome for piece in pieces}
    runs = [(run, join(run)) for run in named]
    cases = [(case, use_case(case)) for case in sorted(known)]
    outcomes = [(key, both(*words)) for key, words in OUTCOMES.items() if key in found]
    groups = (("run", ("Run", "运行"), runs), ("case", ("Use case", "用途"), cases), ("outcome", ("Outcome", "结果"), outcomes))
    return join([_group(name, title, options) for name, title, options in groups if len(options) > 1])


def _group(name: str, title: tuple[str, str], options: Sequence[tuple[str, Html]]) -> Html:
    every = _radio(name, "", both("all", "全部"), checked=True)
    return tag("fieldset", tag("legend", both(*title)), every, [_radio(name, key, words) for key, words in options])


def _radio(name: str, value: str, words: Html, *, checked: bool = False) -> Html:
    return tag("label", tag("input", type="radio", name=name, value=value, checked=checked), tag("span", words))
