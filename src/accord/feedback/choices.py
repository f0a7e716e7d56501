"""A person's choices between responses, wherever they were made: rankings on the labeling site, and choices of two answers in the chat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from accord.feedback import chats, reactions, tastes
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Prompt, RankedPrompt, Response

PREFERRED = {"first": (1, 2), "second": (2, 1)}
"""Ranks of the two answers of a choice in the chat; both good and both bad say nothing of taste."""


def of_person(store: Store, person: str) -> list[RankedPrompt]:
    """Return what a person chose: their own rankings, and of whoever switched their taste on also what they chose in the chat.

    Choices that they have withdrawn are left out.
    """
    ranked = [row for row in store.ranked_prompts() if row.labeler == person]
    return [*ranked, *_in_chat(store, person)] if tastes.of(store, person).on else ranked


def _in_chat(store: Store, user: str) -> Iterator[RankedPrompt]:
    for reaction in reactions.own(store, user):
        ranks = PREFERRED.get(str(reaction.payload.get("choice"))) if reaction.kind == "choice" else None
        if not ranks:
            continue
        try:
            first, second = chats.one(store, user, reaction.turn), chats.one(store, user, reaction.other)
            conversation, turns = chats.opened(store, user, first.conversation)
        except Refused:
            continue  # its conversation was deleted
        before = chats.path(turns, first.parent)
        prompt = Prompt(f"chat-{reaction.id}", chats.messages(conversation, before), user=user)
        responses = tuple(Response(turn.id, prompt.id, turn.text, turn.model) for turn in (first, second))
        yield RankedPrompt(prompt, responses, ranks, user)


def contradictions(choices: Sequence[RankedPrompt]) -> int:
    """Return the number of pairs of texts that a person chose both ways under the same conversation."""
    seen: dict[tuple[object, str, str], set[bool]] = {}
    for row in choices:
        for (one, rank), (other, other_rank) in combinations(zip(row.responses, row.ranks, strict=True), 2):
            if rank == other_rank or one.text == other.text:
                continue
            first, second = sorted([one.text, other.text])
            seen.setdefault((row.prompt.messages, first, second), set()).add((one.text == first) == (rank < other_rank))
    return sum(len(ways) == 2 for ways in seen.values())
