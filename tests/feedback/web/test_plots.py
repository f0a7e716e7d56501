"""The plots of the leads' page: three labelers by name, three hundred counted, and nobody marked by chance or by too few pairs."""

from __future__ import annotations

import math
import random

import pytest

from accord.feedback.intervals import UNDEFINED, Interval
from accord.feedback.quality import LabelerQuality, LengthBias, labeler_quality
from accord.feedback.store import Store
from accord.feedback.web.lead_plots import BY_NAME, FEWEST, Plot, plots_of
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response


def line(name: str, first: float, pairs: int, width: float | None = None) -> LabelerQuality:
    """A labeler of whom only the position bias is known, with the interval of as many independent pairs."""
    reach = 1.96 * math.sqrt(0.25 / pairs) if width is None else width / 2
    nothing = LengthBias(UNDEFINED, math.nan, UNDEFINED, 0)
    value = Interval(first, first - reach, first + reach)
    return LabelerQuality(name, pairs, UNDEFINED, UNDEFINED, UNDEFINED, 0, value, pairs, nothing, None)


def position(lines: list[LabelerQuality]) -> Plot:
    (plot,) = plots_of(lines, {})
    return plot


def test_three_are_shown_by_name_and_the_biased_one_is_marked() -> None:
    plot = position([line("ann", 0.5, 200), line("bob", 0.9, 200), line("cid", 0.52, 200)])
    assert [(row.name, row.off) for row in plot.rows] == [("ann", False), ("bob", True), ("cid", False)]
    assert not plot.bars


def test_nobody_is_marked_below_twenty_untied_pairs_however_far_off() -> None:
    plot = position([line("ann", 1.0, FEWEST - 1, width=0.0), line("bob", 1.0, FEWEST, width=0.0)])
    assert [(row.off, row.few) for row in plot.rows] == [(False, True), (True, False)]


def test_an_interval_of_one_prompt_is_not_believed() -> None:
    """One page of nine responses has 36 pairs and a bootstrap without width."""
    (row,) = position([line("ann", 0.6, 36, width=0.0)]).rows
    assert not row.off


def test_of_three_hundred_fair_labelers_chance_marks_hardly_any() -> None:
    """Of 20 such plots one marks anybody. With each labeler's own 95% it would be about fifteen labelers in every plot."""
    marked = 0
    for seed in range(20):
        draw = random.Random(seed)
        shares = [sum(draw.random() < 0.5 for _ in range(100)) / 100 for _ in range(300)]
        marked += position([line(f"p{n}", share, 100) for n, share in enumerate(shares)]).off
    assert marked <= 4


def test_three_hundred_are_counted_and_only_the_marked_are_named() -> None:
    lines = [line(f"p{n}", 0.5, 100) for n in range(290)] + [line(f"few{n}", 1.0, 3) for n in range(7)]
    lines += [line(f"off{n}", 0.9 + n / 100, 100) for n in range(3)]
    plot = position(lines)
    assert len(lines) > BY_NAME
    assert [row.name for row in plot.rows] == ["off2", "off1", "off0"], "furthest first"
    assert (plot.counted, plot.few, plot.off) == (293, 7, 3)
    assert sum(bar.count for bar in plot.bars) == 293
    assert max(bar.y + bar.height for bar in plot.bars) < min(row.y for row in plot.rows) - 4
    assert plot.height < 200, "no taller than the screen"


def test_imported_answers_have_no_position_bias(store: Store) -> None:
    """The order in a file is the order of no page: often the better response stands first in each row."""
    rows = list[Ranking]()
    for number in range(30):
        prompt = Prompt(f"p{number}", (Message("user", "Which?"),))
        responses = [Response(f"r{number}-{n}", prompt.id, f"text {n}", "x") for n in range(2)]
        store.add_prompts([prompt])
        store.add_responses(responses)
        for who in ("file", "model"):
            ids = tuple(response.id for response in responses)
            rows.append(Ranking(f"{who}{number}", prompt.id, who, ids, (1, 2), Guideline("training", "v"), "2026-01-01"))
    store.add_labelers([Labeler("file", "person"), Labeler("model", "simulated")])
    store.add_rankings(rows)
    assert store.imported_rankings() == {row.id for row in rows if row.labeler == "file"}
    found = {one.labeler: one for one in labeler_quality(rows, imported=store.imported_rankings(), resamples=20)}
    assert (found["file"].shown_pairs, found["model"].shown_pairs) == (0, 30)
    assert math.isnan(found["file"].first_preferred.mean)
    assert found["model"].first_preferred.mean == pytest.approx(1.0)
    assert found["file"].shared_pairs == found["model"].shared_pairs == 30
    plots = plots_of(list(found.values()), {})
    by_title = {plot.title: [row.name for row in plot.rows] for plot in plots}
    assert [names for title, names in by_title.items() if title.startswith("Position")] == [["model"]]
