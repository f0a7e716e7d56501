"""Rankings by a single criterion, from the flags that labelers ticked beside their rankings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from accord.feedback.flags import HARMFUL
from accord.feedback.store import Store
from accord.records import RankedPrompt, Ranking

HARM = frozenset({"inappropriate_for_customer_assistant", *HARMFUL})
"""Flags for harmful responses."""


def ranked_by(store: Store, criterion: Literal["helpful", "harmless"]) -> Iterator[RankedPrompt]:
    """Yield each rated ranking by one criterion (Dai et al. 2024, section 3.1), if that leaves two responses to compare.

    harmless: only the number of flags for harm counts, fewer is better. helpful: the labeler's order of the responses without such
    flags.
    """
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    groups = {person.id: person.group for person in store.labelers()}
    for ranking in store.rankings("training"):
        ranks = {id: rank for id, rank in by_criterion(ranking, criterion).items() if id in responses}
        if len(set(ranks.values())) > 1:
            shown = tuple(responses[id] for id in ranks)
            yield RankedPrompt(prompts[ranking.prompt_id], shown, tuple(ranks.values()), ranking.labeler, groups[ranking.labeler])


def by_criterion(ranking: Ranking, criterion: Literal["helpful", "harmless"]) -> dict[str, int]:
    """Return the rank of each response that the criterion can place, 1 for the best; empty when nothing was rated."""
    harm = {rating.response_id: len(HARM & set(rating.flags)) for rating in ranking.ratings}
    placed = [(id, rank) for id, rank in zip(ranking.response_ids, ranking.ranks, strict=True) if id in harm]
    if criterion == "harmless":
        return {id: 1 + harm[id] for id, _ in placed}
    return {id: rank for id, rank in placed if harm[id] == 0}
