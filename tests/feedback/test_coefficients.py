"""Coefficients against the tables they were published with, and against what must hold of any table."""

from __future__ import annotations

import itertools
import math
import random
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.feedback.coefficients import Level, Weights, cohen_kappa, fleiss_kappa, kendall_tau_b, krippendorff_alpha

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Four observers, twelve units, gaps (Krippendorff 2011, section D)."""
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
"""Thirty patients, six psychiatrists each, five diagnoses: counts (Fleiss 1971, table 1)."""
COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
"""Two judges, 200 cases (Cohen 1968, table 1; the proportions are those of Cohen 1960)."""
HUSBANDS_AND_WIVES = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]
"""Agresti 1990, table 2.10: 91 couples on a scale of four."""


def columns(table: str) -> list[list[int]]:
    rows = [line.split() for line in table.split("\n") if line]
    return [[int(value) for value in unit if value != "."] for unit in zip(*rows, strict=True)]


def said(table: list[list[int]]) -> tuple[list[int], list[int]]:
    cells = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return [i for i, _ in cells], [j for _, j in cells]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_four_observers(level: Level, published: float) -> None:
    assert krippendorff_alpha(columns(KRIPPENDORFF), level=level) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(
    ("one", "two", "published"),
    [("0100000010", "1110010000", 0.095), ("aabbdcccedda", "babbbccceddd", 0.692)],
    ids=["two observers, binary", "two observers, five values"],
)
def test_krippendorffs_two_observers(one: str, two: str, published: float) -> None:
    assert krippendorff_alpha([list(pair) for pair in zip(one, two, strict=True)]) == pytest.approx(published, abs=5e-4)


def test_fleisss_psychiatrists() -> None:
    counts = np.array([[int(n) for n in row] for row in FLEISS.split()], dtype=float)
    assert counts.sum(0).tolist() == [26, 26, 30, 55, 43]
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)
    by_diagnosis = [fleiss_kappa(np.stack([counts[:, j], 6 - counts[:, j]], 1)) for j in range(5)]
    assert by_diagnosis == pytest.approx([0.245, 0.245, 0.520, 0.471, 0.566], abs=1e-3)


def test_cohens_judges() -> None:
    first, second = said(COHEN)
    assert cohen_kappa(first, second) == pytest.approx(0.492, abs=5e-4)
    own = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]], dtype=float)
    assert cohen_kappa(first, second, weights=own) == pytest.approx(0.348, abs=5e-4)


def test_agrestis_couples() -> None:
    """The figures that R's vcd prints for this table."""
    first, second = said(HUSBANDS_AND_WIVES)
    assert cohen_kappa(first, second) == pytest.approx(0.1293, abs=5e-5)
    assert cohen_kappa(first, second, weights="linear") == pytest.approx(0.2374, abs=5e-5)


ratings = st.lists(st.integers(1, 5), min_size=2, max_size=30)
tables = st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=20)
levels: list[Level] = ["nominal", "ordinal", "interval"]
weightings: list[Weights] = ["none", "linear", "quadratic"]


def same(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))


@given(ratings)
def test_perfect_agreement_is_one_and_of_one_value_undefined(values: list[int]) -> None:
    figures = [cohen_kappa(values, values, weights=w) for w in weightings]
    figures += [krippendorff_alpha([[v, v, v] for v in values], level=level) for level in levels]
    figures.append(fleiss_kappa(np.array([[3.0 * (v == c) for c in range(1, 6)] for v in values])))
    for figure in figures:
        assert math.isnan(figure) if len(set(values)) == 1 else figure == pytest.approx(1.0)


@given(tables, st.permutations(range(1, 6)), st.randoms(use_true_random=False))
def test_names_of_categories_and_order_of_labelers_do_not_matter(table: list[list[int]], names: list[int], rng: random.Random) -> None:
    renamed = [[names[v - 1] for v in rng.sample(unit, len(unit))] for unit in table]
    assert same(krippendorff_alpha(table), krippendorff_alpha(renamed))
    assert same(krippendorff_alpha(table), krippendorff_alpha([[f"word {v}" for v in unit] for unit in table]))
    counts = [np.array([[float(unit.count(c)) for c in range(1, 6)] for unit in t]) for t in (table, renamed)]
    assert same(fleiss_kappa(counts[0]), fleiss_kappa(counts[1]))


@given(tables)
def test_scales_keep_what_their_level_says(table: list[list[int]]) -> None:
    """Order survives any growing function, distances survive another origin and unit, and a mirror changes neither."""
    assert same(krippendorff_alpha(table, level="ordinal"), krippendorff_alpha([[v**3 for v in u] for u in table], level="ordinal"))
    assert same(krippendorff_alpha(table, level="interval"), krippendorff_alpha([[9 - 3 * v for v in u] for u in table], level="interval"))
    assert same(krippendorff_alpha(table, level="ordinal"), krippendorff_alpha([[-v for v in u] for u in table], level="ordinal"))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=30))
def test_cohen_is_symmetric_and_quadratic_weights_give_the_intraclass_correlation(pairs: list[tuple[int, int]]) -> None:
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    for weights in weightings:
        assert same(cohen_kappa(one, two, weights=weights), cohen_kappa(two, one, weights=weights))
    x, y = np.array(one, dtype=float), np.array(two, dtype=float)
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    if spread:  # Fleiss and Cohen 1973: quadratic kappa is the intraclass correlation
        expected = 2 * float(((x - x.mean()) * (y - y.mean())).mean()) / spread
        assert cohen_kappa(one, two, weights="quadratic", categories=range(1, 5)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=12))
def test_tau_b_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    with warnings.catch_warnings(action="ignore"):
        assert same(kendall_tau_b(one, two), float(scipy.stats.kendalltau(one, two).statistic))


def test_tau_b_of_opposite_orders_and_of_nothing() -> None:
    assert kendall_tau_b([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau_b([1, 2, 2], [5, 7, 7]) == 1
    assert math.isnan(kendall_tau_b([1, 1], [1, 2]))


def test_chance_is_zero() -> None:
    """Labelers who roll dice agree as often as dice do."""
    rng = random.Random(1)
    units = [[rng.choice((1, 2, 2, 3)) for _ in range(3)] for _ in range(6000)]
    assert [krippendorff_alpha(units, level=level) for level in levels] == pytest.approx([0, 0, 0], abs=0.02)
    assert fleiss_kappa(np.array([[float(u.count(c)) for c in (1, 2, 3)] for u in units])) == pytest.approx(0, abs=0.02)
    assert cohen_kappa([u[0] for u in units], [u[1] for u in units], weights="linear") == pytest.approx(0, abs=0.03)


def test_fleiss_and_alpha_meet_in_large_samples() -> None:
    """They differ by the correction for small samples alone when every unit has as many labelers."""
    units = [list(unit) for unit in itertools.product((1, 2), repeat=3)] * 500 + [[1, 1, 1], [2, 2, 2]] * 900
    counts = np.array([[float(u.count(c)) for c in (1, 2)] for u in units])
    assert fleiss_kappa(counts) == pytest.approx(krippendorff_alpha(units), abs=1e-3)


@pytest.mark.parametrize(
    ("one", "two", "categories"), [([1], [1, 2], []), ([], [], []), ([1, 9], [1, 2], [1, 2])], ids=["lengths", "nothing", "stranger"]
)
def test_what_is_no_table_is_refused(one: list[int], two: list[int], categories: list[int]) -> None:
    with pytest.raises(InputError, match="agreement"):
        cohen_kappa(one, two, categories=categories)


def test_words_have_no_distances() -> None:
    with pytest.raises(InputError, match="nominal"):
        krippendorff_alpha([["good", "bad"]], level="interval")


def test_gaps_are_no_values() -> None:
    """A unit that one labeler alone saw adds nothing, whatever was said of it."""
    table = [[1, 1], [2, 1], [2, 2]]
    assert krippendorff_alpha(table) == krippendorff_alpha([*table, [2], []])
