"""Reward-model accuracy: how often it orders two responses like a labeler, a held-out group of labelers, or the
gold utility.

Follows Ouyang et al. 2022, section 4.1: accuracy over all untied pairs of a ranking. Pairs are averaged within their
prompt first, so that K = 9 does not count six times as much as K = 4, and prompts are resampled for the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from accord.errors import InputError
from accord.evaluation.statistics import Interval, group_means, outcomes, rate
from accord.records import RankedPrompt

Rows = Sequence[Sequence[float]]


def prompt_accuracy(scores: Sequence[float], ranks: Sequence[float], *, margin: float = 1e-9) -> float | None:
    """Return the share of one prompt's untied pairs that the scores order as the ranks do; equal scores count half.

    Args:
        scores: [K], higher is better.
        ranks: [K], lower is better (1 is best); pairs whose ranks differ by at most ``margin`` are ties and left out.
    Returns:
        In [0, 1], or None when every pair is tied.
    """
    if len(scores) != len(ranks):
        raise InputError(f"{len(scores)} scores but {len(ranks)} ranks", where="reward accuracy")
    pairs = [(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2) if abs(ranks[i] - ranks[j]) > margin]
    if not pairs:
        return None
    return float(outcomes([scores[i] for i, _ in pairs], [scores[j] for _, j in pairs]).mean())


def pair_accuracy(
    scores: Rows, ranks: Rows, *, prompt_ids: Sequence[str] | None = None, margin: float = 1e-9, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return ``prompt_accuracy`` averaged over prompts, with its interval.

    Args:
        scores, ranks: one row per ranking, [K] numbers each.
        prompt_ids: each row's prompt, when several labelers ranked the same one. Their rows then count as one prompt.
    Raises:
        InputError: rows do not fit each other, or no row has an untied pair.
    """
    if len(scores) != len(ranks):
        raise InputError(f"{len(scores)} rows of scores but {len(ranks)} of ranks", where="reward accuracy")
    keys = prompt_ids if prompt_ids is not None else [str(row) for row in range(len(scores))]
    rows = [(key, prompt_accuracy(s, r, margin=margin)) for key, s, r in zip(keys, scores, ranks, strict=True)]
    known = [(key, value) for key, value in rows if value is not None]
    if not known:
        raise InputError("no ranking has two responses of different rank", where="reward accuracy")
    return rate(group_means([key for key, _ in known], [value for _, value in known]), resamples=resamples, seed=seed)


def labeler_accuracy(scores: Rows, ranked: Sequence[RankedPrompt], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return accuracy against labelers: ``scores[i]`` are the rewards of ``ranked[i].responses``."""
    ids = [row.prompt.id for row in ranked]
    return pair_accuracy(scores, [row.ranks for row in ranked], prompt_ids=ids, resamples=resamples, seed=seed)


def group_accuracy(scores: Rows, ranked: Sequence[RankedPrompt], *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return ``labeler_accuracy`` of each labeler group. A group unseen in training shows how well the reward
    model generalises."""
    rows: dict[str, list[int]] = {}
    for index, row in enumerate(ranked):
        rows.setdefault(row.group, []).append(index)
    found = dict[str, Interval]()
    for group, part in sorted(rows.items()):
        group_scores, group_ranked = [scores[i] for i in part], [ranked[i] for i in part]
        found[group] = labeler_accuracy(group_scores, group_ranked, resamples=resamples, seed=seed)
    return found


def gold_accuracy(scores: Rows, utilities: Rows, *, margin: float = 1e-9, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the accuracy against the gold utility of the same responses. Differences up to ``margin`` are ties."""
    ranks: list[list[float]] = []
    for row in utilities:
        ranks.append([-utility for utility in row])  # the highest utility is the lowest, best rank
    return pair_accuracy(scores, ranks, margin=margin, resamples=resamples, seed=seed)
