"""Thumbs up and down: those that were given, and those out of rankings, by the ratings in them or by the place that a response got."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from accord.feedback.store import Store
from accord.records import Ranking, Thumb

Source = Literal["auto", "ratings", "ranks", "given"]


def thumbs(store: Store, source: Source, *, good: int, bad: int) -> Iterator[Thumb]:
    """Every response that was clearly liked or disliked, once for each labeler who said so.

    Args:
        source: ``given`` takes thumbs that were given to a single response alone, ``ratings`` ratings alone, ``ranks`` places alone,
            ``auto`` all of them: of a ranking a rating where there is one and else the place.
        good: ratings from here on are a thumb up. bad: ratings up to here are a thumb down.
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
    """Up, down or neither for each rated response of a ranking."""
    quality = {rating.response_id: rating.quality for rating in ranking.ratings}
    return {id: value >= good if value >= good or value <= bad else None for id, value in quality.items()}


def by_rank(ranking: Ranking) -> dict[str, bool | None]:
    """Up for what is better than more of the others than it is worse than, down for the reverse, else neither."""
    won = [sum((other > mine) - (other < mine) for other in ranking.ranks) for mine in ranking.ranks]
    return {id: lead > 0 if lead else None for id, lead in zip(ranking.response_ids, won, strict=True)}
