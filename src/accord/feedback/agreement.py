"""Pairwise agreement between labelers, and the accuracy of a single label that it implies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.feedback.intervals import Floats, Interval, resampled, share
from accord.records import Ranking

Meeting = Callable[[Ranking, Ranking], bool]


@dataclass(frozen=True)
class PairwiseAgreement:
    """Agreement under three rules for ties, over ``pairs`` judgements of one pair by two labelers.

    Each is the share of pairs judged alike, in [0, 1], with the 95% interval from resampled prompts.
    """

    dropped: Interval
    """Pairs that either labeler tied are dropped, as in InstructGPT's 72.6%. NaN if none remain."""
    disagreement: Interval
    """A tie agrees only with a tie."""
    half: Interval
    """A tie against a preference counts half."""
    pairs: int
    untied_pairs: int
    """Pairs that neither labeler tied."""


class _Sums(NamedTuple):
    """Sums over one prompt: pairs, untied pairs, and agreement under each rule."""

    pairs: int
    untied: int
    dropped: float
    disagreement: float
    half: float


def two_people(one: Ranking, other: Ranking) -> bool:
    """Return whether two rankings are by different labelers under one guideline set."""
    return one.labeler != other.labeler and one.guideline.set == other.guideline.set


def one_person(one: Ranking, other: Ranking) -> bool:
    """Return whether two rankings are by one labeler, for self-consistency."""
    return one.labeler == other.labeler and one.guideline.set == other.guideline.set


def between(first: frozenset[str], second: frozenset[str]) -> Meeting:
    """Return a rule that compares labelers of one side with labelers of the other; the sides are sets of labeler ids."""

    def meet(one: Ranking, other: Ranking) -> bool:
        there = (one.labeler in first and other.labeler in second) or (one.labeler in second and other.labeler in first)
        return there and two_people(one, other)

    return meet


def pairwise_agreement(
    rankings: Iterable[Ranking], *, meet: Meeting = two_people, of: str = "", resamples: int = 2000, seed: int = 0
) -> PairwiseAgreement:
    """Return the agreement over all pairs of responses that two labelers both ranked under the same guideline set.

    Args:
        rankings: of any prompts, in any order.
        meet: decides which two rankings of a prompt are compared.
        of: a labeler whose rankings are compared with all others'; empty for every two.
        resamples: number of bootstrap draws for the intervals. Prompts are drawn, not pairs, since the pairs of a prompt are dependent.
        seed: fixes the draws.

    Raises:
        InputError: no two labelers ranked the same responses.
    """
    sums = [found for group in by_prompt(rankings).values() if (found := _sums(group, meet, of)).pairs]
    if not sums:
        raise InputError("no two labelers ranked the same responses", where="agreement", hint="label with an overlap")
    rows = np.array(sums, dtype=np.float64)
    dropped, disagreement, half = (
        resampled(rows[:, [column, all]], share, resamples=resamples, seed=seed) for column, all in ((2, 1), (3, 0), (4, 0))
    )
    pairs, untied = (int(n) for n in rows[:, :2].sum(0))
    return PairwiseAgreement(dropped, disagreement, half, pairs, untied)


def agreement_rows(rankings: Iterable[Ranking]) -> Floats:
    """Return for each prompt that two labelers ranked the pairs judged alike and all pairs, without ties; [prompts, 2]."""
    sums = [found for group in by_prompt(rankings).values() if (found := _sums(group, two_people)).untied]
    return np.array([(each.dropped, each.untied) for each in sums], dtype=np.float64).reshape(-1, 2)


def single_label_accuracy(agreement: float) -> float:
    """Return the accuracy of one label when two agree with this probability, under symmetric noise: (1 + sqrt(2a - 1)) / 2.

    Two labels that are each right with probability p agree with a = p^2 + (1 - p)^2; this solves for p. It is the accuracy ceiling of a
    reward model that is measured against single labels. An agreement of one half or less gives 0.5.
    """
    return (1 + max(2 * agreement - 1, 0.0) ** 0.5) / 2


def majority_accuracy(agreement: float, of: int = 3) -> float:
    """Return the accuracy of the majority of an odd number of labels; for three: p^3 + 3 p^2 (1 - p) with a single label's p."""
    p = single_label_accuracy(agreement)
    return sum(comb(of, right) * p**right * (1 - p) ** (of - right) for right in range(of // 2 + 1, of + 1))


def by_prompt(rankings: Iterable[Ranking]) -> dict[str, list[Ranking]]:
    """Return the rankings of each prompt, ordered by prompt id."""
    groups: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        groups.setdefault(ranking.prompt_id, []).append(ranking)
    return dict(sorted(groups.items()))


def preferences(ranking: Ranking) -> dict[tuple[str, str], int]:
    """Return a ranking's preference on each pair of its responses, ids in order: -1 the first is better, 0 tie, 1 the second."""
    ranks = _ranks(ranking)
    return {(a, b): _sign(ranks[a] - ranks[b]) for a, b in combinations(sorted(ranks), 2)}


def _sums(group: Sequence[Ranking], meet: Meeting, of: str = "") -> _Sums:
    judged = list[tuple[int, int]]()
    for one, other in _twos(group, of):
        if meet(one, other):
            judged += _judged_by_both(_ranks(one), _ranks(other))
    untied = [(x, y) for x, y in judged if x and y]
    same = sum(x == y for x, y in judged)
    one_sided = sum((x == 0) != (y == 0) for x, y in judged)
    return _Sums(len(judged), len(untied), sum(x == y for x, y in untied), same, same + one_sided / 2)


def _twos(group: Sequence[Ranking], of: str) -> Iterable[tuple[Ranking, Ranking]]:
    """Return every two rankings of a prompt, or those of one labeler with those of others alone: few of all when many ranked it."""
    if not of:
        return combinations(group, 2)
    return product([r for r in group if r.labeler == of], [r for r in group if r.labeler != of])


def _ranks(ranking: Ranking) -> dict[str, int]:
    return dict(zip(ranking.response_ids, ranking.ranks, strict=True))


def _judged_by_both(one: Mapping[str, int], other: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return both labelers' preferences on each pair of responses that both ranked: -1, 0 (tie) or 1."""
    return [(_sign(one[a] - one[b]), _sign(other[a] - other[b])) for a, b in combinations(sorted(one.keys() & other.keys()), 2)]


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
