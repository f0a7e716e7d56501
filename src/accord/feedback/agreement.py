"""How often labelers agree on which of two responses is better, and what that says of a single label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from accord.errors import InputError
from accord.records import Ranking


@dataclass(frozen=True)
class Agreement:
    """Share of pairs judged alike, in [0, 1], with the 95% interval from resampled prompts."""

    mean: float
    low: float
    high: float
    pairs: int

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.mean, self.low, self.high))


@dataclass(frozen=True)
class PairwiseAgreement:
    """Agreement under three rules for ties."""

    dropped: Agreement
    """Pairs that either labeler tied are left out: the rule of InstructGPT's 72.6%."""
    disagreement: Agreement
    """A tie agrees with a tie and with nothing else."""
    half: Agreement
    """A tie against a preference counts half."""


def pairwise_agreement(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> PairwiseAgreement:
    """Agreement over all pairs of responses that two labelers both ranked.

    Raises:
        InputError: no two labelers ranked the same responses.
    """
    by_prompt: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        by_prompt.setdefault(ranking.prompt_id, []).append(ranking)
    rows = np.array([_prompt_sums(group) for group in by_prompt.values()]).reshape(-1, 6)
    rows = rows[rows[:, 1] > 0]
    if not len(rows):
        raise InputError("no two labelers ranked the same responses", where="agreement", hint="label with an overlap")
    picks = np.random.default_rng(seed).integers(0, len(rows), (resamples, len(rows)))
    drawn = rows[picks].sum(1)
    return PairwiseAgreement(*(_interval(rows.sum(0)[[i, j]], drawn[:, [i, j]]) for i, j in ((2, 3), (0, 1), (4, 1))))


def single_label_accuracy(agreement: float) -> float:
    """How often one label is right when two agree this often, under symmetric noise: (1 + sqrt(2a - 1)) / 2.

    The accuracy ceiling of a reward model that is measured against single labels. An agreement of one half or less says 0.5.
    """
    return (1 + max(2 * agreement - 1, 0.0) ** 0.5) / 2


def majority_accuracy(agreement: float) -> float:
    """How often the majority of three labels is right: p^3 + 3 p^2 (1 - p) with p of a single label."""
    p = single_label_accuracy(agreement)
    return p**3 + 3 * p**2 * (1 - p)


def _prompt_sums(group: list[Ranking]) -> list[float]:
    """Of one prompt: same, pairs, same among untied, untied pairs, same with half for one-sided ties, pairs."""
    same = pairs = same_untied = untied = half = 0.0
    for one, other in combinations(group, 2):
        if one.labeler == other.labeler:
            continue
        mine, theirs = dict(zip(one.response_ids, one.ranks, strict=True)), dict(zip(other.response_ids, other.ranks, strict=True))
        for a, b in combinations(sorted(set(mine) & set(theirs)), 2):
            x, y = np.sign(mine[a] - mine[b]), np.sign(theirs[a] - theirs[b])
            pairs += 1
            same += x == y
            half += 1.0 if x == y else 0.5 if x * y == 0 else 0.0
            if x * y != 0:
                untied += 1
                same_untied += x == y
    return [same, pairs, same_untied, untied, half, pairs]


def _interval(total: np.ndarray, drawn: np.ndarray) -> Agreement:
    usable = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(usable[:, 0] / usable[:, 1], [0.025, 0.975])
    return Agreement(float(total[0] / total[1]), float(low), float(high), int(total[1]))
