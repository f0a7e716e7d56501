"""Distinct n-grams and self-BLEU against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from accord.data.diversity import distinct, self_bleu


def test_distinct_counts_different_n_grams_of_all_responses() -> None:
    assert distinct([[1, 2, 3], [1, 2, 4]]) == pytest.approx(3 / 4)
    assert distinct([[1, 1, 1, 1]], 1) == pytest.approx(1 / 4)
    assert distinct([["a", "b"], ["a", "b"]]) == pytest.approx(1 / 2)
    assert distinct([[1], []]) == 1.0


def test_self_bleu_is_one_for_repeats_and_zero_for_nothing_in_common() -> None:
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1.0)
    assert self_bleu([[1], [1]]) == pytest.approx(1.0)
    assert self_bleu([[], []]) == 1.0
    assert self_bleu([[], [1, 2]]) == 0.0
    assert self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]) == pytest.approx(0.0)


def test_self_bleu_by_its_formula() -> None:
    """Precisions of 1 to 4 tokens: 4/6, 3/5, 2/4, 1/3 in both directions, and no brevity penalty."""
    precisions = [4 / 6, 3 / 5, 2 / 4, 1 / 3]
    expected = math.exp(sum(map(math.log, precisions)) / 4)
    assert self_bleu([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 8, 9]]) == pytest.approx(expected)


def test_a_shorter_response_pays_for_its_brevity() -> None:
    """[1, 2, 3, 4] matches all of its n-grams in six tokens: exp(1 - 6/4). The other way 4/6, 3/5, 2/4 and 1/3 match."""
    back = math.exp(sum(map(math.log, [4 / 6, 3 / 5, 2 / 4, 1 / 3])) / 4)
    assert self_bleu([[1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]) == pytest.approx((math.exp(1 - 6 / 4) + back) / 2)


def test_self_bleu_needs_two_responses() -> None:
    with pytest.raises(ValueError, match="two at least"):
        self_bleu([[1, 2]])
