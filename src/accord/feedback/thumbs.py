"""Thumbs up and down: those given directly, and those derived from rankings by rating or rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from accord.feedback.store import Store
from accord.records import Ranking, Thumb

Source = Literal["auto", "ratings", "ranks", "given"]


def thumbs(store: Store, source: Source, *, good: int, bad: int) -> Iterator[Thumb]:
    """Yield every clearly liked or disliked response, once per labeler.

    Args:
        source: ``given`` uses only thumbs given to single responses, ``ratings`` only ratings, ``ranks`` only ranks, ``auto`` all of
            them, with a ranking's rating before its rank.
        good: lowest rating that is a thumb up.
        bad: highest rating that is a thumb down.
    """
    if source in ("auto", "given"):
        yield from store.thumbs()
    if source == "given":
        return
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    groups = {person.id: person.group for person in store.labelers()}
    for ranking in store.rankings():
        rated = {} if source == "ranks" else by_rating(ranking, good, bad)
        placed = {} if source == "ratings" else by_rank(ranking)
        for id in ranking.response_ids:
            up = rated[id] if id in rated else placed.get(id)
            if up is not None:
                yield Thumb(prompts[ranking.prompt_id], responses[id], up, ranking.labeler, groups[ranking.labeler])


def by_rating(ranking: Ranking, good: int, bad: int) -> dict[str, bool | None]:
    """Return up, down or neither for each rated response of a ranking."""
    quality = {rating.response_id: rating.quality for rating in ranking.ratings}
    return {id: value >= good if value >= good or value <= bad else None for id, value in quality.items()}


def by_rank(ranking: Ranking) -> dict[str, bool | None]:
    """Return up for a response that beats more of the others than beat it, down for the reverse, otherwise neither."""
    return {id: lead > 0 if lead else None for id, lead in leads(ranking).items()}


def leads(ranking: Ranking) -> dict[str, int]:
    """Return for each response how many of the others it beats, minus how many beat it; rank 1 is the best."""
    found: dict[str, int] = {}
    for id, mine in zip(ranking.response_ids, ranking.ranks, strict=True):
        found[id] = sum((other > mine) - (other < mine) for other in ranking.ranks)
    return found
