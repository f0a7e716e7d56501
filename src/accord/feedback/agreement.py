"""How often labelers agree on which of two responses is better, and what that says of a single label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accord.errors import InputError
from accord.records import Ranking


class Agreement(NamedTuple):
    """Share of pairs judged alike, in [0, 1], with the 95% interval from resampled prompts."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairwiseAgreement:
    """Agreement under three rules for ties, over ``pairs`` judgements of one pair by two labelers."""

    dropped: Agreement
    """Pairs that either labeler tied are left out: the rule of InstructGPT's 72.6%. NaN when that leaves none."""
    disagreement: Agreement
    """A tie agrees with a tie and with nothing else."""
    half: Agreement
    """A tie against a preference counts half."""
    pairs: int
    untied_pairs: int
    """Those that neither labeler tied."""


class _Sums(NamedTuple):
    """Of one prompt: pairs, untied pairs, and what counts as agreement under each rule."""

    pairs: int
    untied: int
    dropped: float
    disagreement: float
    half: float


def pairwise_agreement(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> PairwiseAgreement:
    """Agreement over all pairs of responses that two labelers both ranked under the same guideline set.

    Args:
        rankings: of any prompts, in any order.
        resamples: how often prompts are drawn with replacement for the intervals (not pairs: those of a prompt go together).
        seed: fixes the draws.

    Raises:
        InputError: no two labelers ranked the same responses.
    """
    by_prompt: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        by_prompt.setdefault(ranking.prompt_id, []).append(ranking)
    sums = [found for _, group in sorted(by_prompt.items()) if (found := _sums(group)).pairs]
    if not sums:
        raise InputError("no two labelers ranked the same responses", where="agreement", hint="label with an overlap")
    rows, rng = np.array(sums, dtype=float), np.random.default_rng(seed)
    drawn = np.array([rows[rng.integers(0, len(rows), len(rows))].sum(0) for _ in range(resamples)])
    pairs, untied, *alike = rows.sum(0)
    return PairwiseAgreement(
        dropped=_interval(alike[0] / untied if untied else np.nan, drawn[:, 2], drawn[:, 1]),
        disagreement=_interval(alike[1] / pairs, drawn[:, 3], drawn[:, 0]),
        half=_interval(alike[2] / pairs, drawn[:, 4], drawn[:, 0]),
        pairs=int(pairs),
        untied_pairs=int(untied),
    )


def single_label_accuracy(agreement: float) -> float:
    """How often one label is right when two agree this often, under symmetric noise: (1 + sqrt(2a - 1)) / 2.

    Two labels that are right with probability p each agree with a = p^2 + (1 - p)^2; this solves for p. It is the accuracy
    ceiling of a reward model that is measured against single labels. An agreement of one half or less says 0.5.
    """
    return (1 + max(2 * agreement - 1, 0.0) ** 0.5) / 2


def majority_accuracy(agreement: float) -> float:
    """How often the majority of three labels is right: p^3 + 3 p^2 (1 - p) with p of a single label."""
    p = single_label_accuracy(agreement)
    return p**3 + 3 * p**2 * (1 - p)


def _sums(group: Sequence[Ranking]) -> _Sums:
    judged = [
        pair
        for one, other in combinations(group, 2)
        if one.labeler != other.labeler and one.guideline.set == other.guideline.set
        for pair in _judged_by_both(_ranks(one), _ranks(other))
    ]
    untied = [(x, y) for x, y in judged if x and y]
    same = sum(x == y for x, y in judged)
    one_sided = sum((x == 0) != (y == 0) for x, y in judged)
    return _Sums(len(judged), len(untied), sum(x == y for x, y in untied), same, same + one_sided / 2)


def _ranks(ranking: Ranking) -> dict[str, int]:
    return dict(zip(ranking.response_ids, ranking.ranks, strict=True))


def _judged_by_both(one: Mapping[str, int], other: Mapping[str, int]) -> list[tuple[int, int]]:
    """For each pair of responses both ranked, each labeler's word: -1, 0 (tie) or 1."""
    return [(_sign(one[a] - one[b]), _sign(other[a] - other[b])) for a, b in combinations(sorted(one.keys() & other.keys()), 2)]


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _interval(mean: float, alike: npt.NDArray[np.float64], pairs: npt.NDArray[np.float64]) -> Agreement:
    """The mean with the 2.5% and 97.5% quantiles of the draws that have pairs."""
    shares = alike[pairs > 0] / pairs[pairs > 0]
    if not len(shares):
        return Agreement(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(shares, [0.025, 0.975])
    return Agreement(float(mean), float(low), float(high))
