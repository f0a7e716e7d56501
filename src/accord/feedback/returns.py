"""Returns of ranked responses, from the ratings given with a ranking or from the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from accord.feedback.store import Store
from accord.feedback.thumbs import leads
from accord.records import Ranking, Worth

Source = Literal["auto", "ratings", "ranks"]


def returns(store: Store, source: Source) -> Iterator[Worth]:
    """Yield every ranked response with its return from -1 to 1, once per labeler.

    Args:
        source: ``ratings`` uses only ratings, ``ranks`` only ranks, ``auto`` a rating where there is one and otherwise the rank.
    """
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    groups = {person.id: person.group for person in store.labelers()}
    for ranking in store.rankings("training"):
        rated = {} if source == "ranks" else by_rating(ranking)
        placed = {} if source == "ratings" else by_rank(ranking)
        for id in ranking.response_ids:
            worth = rated.get(id, placed.get(id))
            if worth is not None:
                yield Worth(prompts[ranking.prompt_id], responses[id], worth, ranking.labeler, groups[ranking.labeler])


def by_rating(ranking: Ranking) -> dict[str, float]:
    """Map 1 to 7 to -1 to 1."""
    return {rating.response_id: (rating.quality - 4) / 3 for rating in ranking.ratings}


def by_rank(ranking: Ranking) -> dict[str, float]:
    """Return for each response the share of the others that it beats, minus the share that beats it."""
    others = len(ranking.ranks) - 1
    return {id: lead / others for id, lead in leads(ranking).items()}
