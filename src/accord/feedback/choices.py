"""A person's choices between responses, wherever they were made: rankings on the labeling site, and choices of two answers in the chat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice

from accord.feedback import chats, reactions, tastes
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Prompt, RankedPrompt, Response

PREFERRED = {"first": (1, 2), "second": (2, 1)}
"""Ranks of the two answers of a choice in the chat; both good and both bad say nothing of taste."""


def of_person(store: Store, person: str, *, most: int | None = None) -> list[RankedPrompt]:
    """Return what a person chose: their own rankings, and of whoever switched their taste on also what they chose in the chat.

    Choices that they have withdrawn are left out.

    Args:
        most: choices of each kind, the newest ones of those in the chat; None returns all.
    """
    ranked = list(islice(store.ranked_prompts(labeler=person), most)) if person else []
    return [*ranked, *_in_chat(store, person, most)] if tastes.of(store, person).on else ranked


def _in_chat(store: Store, user: str, most: int | None) -> Iterator[RankedPrompt]:
    told = [reaction for reaction in reactions.own(store, user) if reaction.kind == "choice"]
    for reaction in told if most is None else told[:most]:
        ranks = PREFERRED.get(str(reaction.payload.get("choice")))
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
