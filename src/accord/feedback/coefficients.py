"""Chance-corrected coefficients of agreement, and of the similarity of two orders. docs/agreement.md explains which to use.

Each chance-corrected coefficient is 1 - observed / expected disagreement; they differ in the definition of "expected". All are functions
of sums over units (a confusion matrix, a coincidence matrix, counts). The ``..._of`` functions therefore take stacks of such sums, [...,
C, C], and intervals come from resampling the prompts' contributions (``intervals.resampled``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, TypeVar

import numpy as np

from accord.errors import InputError
from accord.feedback.intervals import Floats, ratio

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Value = TypeVar("Value", str, int, float)
HERE = "agreement"


def disagreement(count: int, weights: Weights) -> Floats:
    """Return the distance between categories i and j, [count, count]: 0 or 1, |i - j|, or (i - j)^2."""
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count))).astype(np.float64)
    return {"none": np.minimum(distance, 1.0), "linear": distance, "quadratic": distance**2}[weights]


def kappa_of(confusion: Floats, weights: Floats) -> Floats:
    """Return Cohen's weighted kappa of confusion matrices, [..., C, C] to [...]: 1 - sum(w o) / sum(w e) (Cohen 1968).

    Args:
        confusion: counts of the first labeler choosing i while the second chose j.
        weights: [C, C] disagreement, 0 on the diagonal.
    Returns:
        NaN where both always choose the same category: chance alone would agree too.
    """
    total = confusion.sum((-2, -1))
    expected = confusion.sum(-1)[..., :, None] * confusion.sum(-2)[..., None, :]
    return 1 - ratio((confusion * weights).sum((-2, -1)) * total, (expected * weights).sum((-2, -1)))


def cohen_kappa(
    first: Sequence[Value], second: Sequence[Value], *, weights: Weights | Floats = "none", categories: Sequence[Value] = ()
) -> float:
    """Return the agreement of two labelers on the same units beyond the chance given by their own habits (Cohen 1960, 1968).

    Args:
        first, second: [units], the categories chosen by each.
        weights: weight of a disagreement: all equal, by distance, by squared distance, or your own matrix [C, C].
        categories: in order; when empty, those that occur, sorted. Distance is between positions in this order.

    Raises:
        InputError: the sequences differ in length or are empty, or a value is not among the categories.
    """
    known = list(categories) or sorted({*first, *second})
    if len(first) != len(second) or not first:
        raise InputError(f"{len(first)} values of one labeler, {len(second)} of the other; one each for every unit", where=HERE)
    confusion = np.zeros((len(known), len(known)))
    np.add.at(confusion, (_places(first, known), _places(second, known)), 1.0)
    costs = disagreement(len(known), weights) if isinstance(weights, str) else weights
    return float(kappa_of(confusion[None], costs)[0])


def fleiss_of(sums: Floats) -> Floats:
    """Return Fleiss's kappa of sums over units, [..., C + 2] to [...]; ``fleiss_sums`` makes the rows."""
    counts = sums[..., 2:]
    observed = ratio(sums[..., 0], sums[..., 1])
    expected = ratio((counts**2).sum(-1), counts.sum(-1) ** 2)
    return ratio(observed - expected, 1 - expected)


def fleiss_sums(counts: Floats) -> Floats:
    """Return each unit's contribution to Fleiss's kappa, [units, C] to [units, C + 2]: share of agreeing pairs, 1, its counts.

    Units with fewer than two values contribute nothing.
    """
    values = counts.sum(-1)
    pairs = values * (values - 1)
    agreeing = (counts * (counts - 1)).sum(-1) / np.maximum(pairs, 1)
    return np.concatenate([agreeing[:, None], np.ones((len(counts), 1)), counts], axis=-1) * (values >= 2)[:, None]


def fleiss_kappa(counts: Floats) -> float:
    """Return the agreement of several labelers on nominal categories (Fleiss 1971).

    Units may have different numbers of labelers. The observed agreement is then a mean over units, as Fleiss defined it, and chance is
    that of all values together.

    Args:
        counts: [units, C], the number of labelers who put the unit into the category. Units with fewer than two are left out.
    """
    return float(fleiss_of(fleiss_sums(np.asarray(counts, dtype=np.float64)).sum(0)[None])[0])


def coincidences(counts: Floats) -> Floats:
    """Return Krippendorff's coincidence matrices, [..., V] to [..., V, V]: pairs of values of a unit by different labelers, over m - 1.

    A unit with fewer than two values has no pairs.
    """
    values = counts.sum(-1)
    pairs = counts[..., :, None] * counts[..., None, :] - counts[..., :, None] * np.eye(counts.shape[-1])
    return pairs / np.maximum(values - 1, 1)[..., None, None] * (values >= 2)[..., None, None]


def alpha_of(matrices: Floats, level: Level, values: Floats | None = None) -> Floats:
    """Return Krippendorff's alpha of coincidence matrices, [..., V, V] to [...].

    Args:
        matrices: sums of ``coincidences``, values in order.
        level: distance between values: none (0 or 1), between mid-ranks, or between the values themselves; squared.
        values: [V], for ``interval``.
    Returns:
        NaN where fewer than two different values were paired.
    """
    counts = matrices.sum(-1)
    total = counts.sum(-1)
    observed = (matrices * _distances(counts, level, values)).sum((-2, -1))
    expected = (counts[..., :, None] * counts[..., None, :] * _distances(counts, level, values)).sum((-2, -1))
    return 1 - ratio((total - 1) * observed, expected)


def krippendorff_alpha(units: Iterable[Sequence[Value]], *, level: Level = "nominal") -> float:
    """Return the agreement of any number of labelers, with gaps, at a level of measurement (Krippendorff 2011): 1 - Do / De.

    Args:
        units: the values of each unit, one per labeler who answered, in any order. The labelers' identity does not matter.
        level: nominal (flags, choices), ordinal (only the order counts), interval (differences count).

    Raises:
        InputError: the level is interval and values are not numbers.
    """
    rows = [list(unit) for unit in units]
    known = sorted(set(chain.from_iterable(rows)))
    if level == "interval" and any(isinstance(value, str) for value in known):
        raise InputError("values that are not numbers have no distances", where=HERE, hint="use the nominal level")
    counts = np.zeros((len(rows), len(known)))
    for unit, row in enumerate(rows):
        np.add.at(counts[unit], _places(row, known), 1.0)
    values = np.array(known, dtype=np.float64) if level == "interval" else None
    return float(alpha_of(coincidences(counts).sum(0)[None], level, values)[0])


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the similarity of two orders of K things, with ties: (same - opposite) / sqrt(untied in first * untied in second).

    Kendall 1945. From -1 (opposite) to 1 (the same order); NaN when one order ties everything.

    Raises:
        InputError: they differ in length.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} ranks against {len(second)}", where=HERE)
    one, two = (np.sign(np.subtract.outer(np.asarray(x, dtype=np.float64), np.asarray(x, dtype=np.float64))) for x in (first, second))
    return float(ratio((one * two).sum(), np.sqrt((one**2).sum() * (two**2).sum())))


def _distances(counts: Floats, level: Level, values: Floats | None) -> Floats:
    """Return squared distances between values, [..., V, V] or [V, V]."""
    if level == "nominal":
        return disagreement(counts.shape[-1], "none")
    place = np.arange(counts.shape[-1], dtype=np.float64) if values is None else values
    if level == "ordinal":
        place = np.cumsum(counts, -1) - counts / 2
    return (place[..., :, None] - place[..., None, :]) ** 2


def _places(values: Sequence[Value], known: Sequence[Value]) -> list[int]:
    place = {value: index for index, value in enumerate(known)}
    strange = next((value for value in values if value not in place), None)
    if strange is not None:
        raise InputError(f"{strange!r} is none of the categories", where=HERE, hint=f"they are {', '.join(map(str, known))}")
    return [place[value] for value in values]
