"""Self-consistency: the most frequent of several answers to a problem counts (Wang et al. 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal


def majority(answers: Sequence[Decimal | None]) -> Decimal | None:
    """Return the most frequent answer, the first given of equally frequent ones; None if there is none.

    Responses without an answer have no vote. 4 and 4.0 are one answer.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.__getitem__) if votes else None


def right(voted: Sequence[Sequence[Decimal | None]], keys: Sequence[Decimal]) -> list[float]:
    """Return 1 for each problem whose majority is its key, else 0.

    Args:
        voted: the answers to each problem, one or several. keys: the right ones.
    """
    return [float(majority(answers) == key) for answers, key in zip(voted, keys, strict=True)]
