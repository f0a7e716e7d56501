"""Formulas in the words of models are drawn in the report, and nothing that they write becomes markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.report import markup
from accord.report.page import write_report
from accord.report.said import Words


def shown(text: str) -> str:
    return str(Words()(text))


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("So $x^2$ it is.", 1),
        (r"Both \(a_1\) and \[\frac{1}{2}\] and $$x$$", 3),
        ("It costs $5 and then $10 more.", 0),
        (r"It costs \$x^2\$ in all.", 0),
        ("`echo $x$` and\n```\n$y$\n```\nbut $z$", 1),
        ("An open end $x^2", 0),
    ],
)
def test_formulas_are_told_from_prices_and_code(text: str, formulas: int) -> None:
    assert shown(text).count("<math") == formulas


def test_what_stands_around_and_in_a_formula_is_escaped() -> None:
    drawn = shown("<img src=x> $a<b>c</b>$ \x00\ud800 $\\text{<script>}\x07$ &amp;")
    assert "<img" not in drawn
    assert "<b>" not in drawn
    assert "<script" not in drawn
    assert drawn.isprintable()
    assert drawn.startswith("&lt;img src=x&gt; ")
    assert drawn.endswith(" &amp;amp;")


def test_a_text_and_a_page_have_their_most_formulas() -> None:
    words = Words(2)
    assert [str(words(f"${letter}$")).count("<math") for letter in "abc"] == [1, 1, 0]
    assert '<code class="tex">c</code>' in str(Words(0)("$c$"))
    many = shown(" ".join(["$" + "+".join(["x"] * 400) + "$"] * 20))
    assert (many.count("<math"), many.count("<code")) == (10, 10)


@given(st.text(alphabet=st.characters(blacklist_characters="$\\")))
def test_a_text_without_formulas_is_escaped_and_nothing_else(text: str) -> None:
    assert Words()(text) == markup.text(text)


def test_the_reports_responses_have_their_formulas(project: Path) -> None:
    samples = project / "runs" / "ppo" / "samples.jsonl"
    with samples.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 9, "prompt": "Solve $q^2=4$.", "response": r"\[q=\pm 2\]", "score": 1.0}) + "\n")
    page = write_report(project).read_text("utf-8")
    for tex in ("q^2=4", r"q=\pm 2"):
        assert f'<annotation encoding="application/x-tex">{tex}</annotation>' in page
