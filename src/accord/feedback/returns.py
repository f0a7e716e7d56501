"""Returns of responses: from the ratings given with a ranking, from the ranks, and from the marks of users' surveys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal

from sqlalchemy import select

from accord.feedback import schema
from accord.feedback.inserts import batches
from accord.feedback.reactions import found
from accord.feedback.store import Store
from accord.feedback.thumbs import leads
from accord.feedback.withdrawals import is_withdrawn
from accord.records import Prompt, Ranking, Response, Worth

Source = Literal["auto", "ratings", "ranks"]


def returns(store: Store, source: Source) -> Iterator[Worth]:
    """Yield every ranked response with its return from -1 to 1, once per labeler, and the last answer of each conversation that its user
    marked in the chat's survey.

    Args:
        source: ``ratings`` uses only ratings and marks, ``ranks`` only ranks, ``auto`` a rating where there is one and otherwise the rank.
    """
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    groups = {person.id: person.group for person in store.labelers()}
    if source != "ranks":
        yield from of_surveys(store, prompts, responses, groups)
    for ranking in store.rankings("training"):
        rated = {} if source == "ranks" else by_rating(ranking)
        placed = {} if source == "ratings" else by_rank(ranking)
        for id in ranking.response_ids:
            worth = rated.get(id, placed.get(id))
            if worth is not None:
                yield Worth(prompts[ranking.prompt_id], responses[id], worth, ranking.labeler, groups[ranking.labeler])


def of_surveys(
    store: Store, prompts: Mapping[str, Prompt], responses: Mapping[str, Response], groups: Mapping[str, str]
) -> Iterator[Worth]:
    """Yield the answer at which each accepted survey stands, worth (mark - 3) / 2; surveys of users who are excluded are left out."""
    r, v = schema.reactions, schema.reviews
    with store.read() as connection:
        out = set(connection.scalars(select(schema.excluded.c.labeler)))
        marks = [each for each in found(connection, r.c.kind == "survey", ~is_withdrawn("reaction", r.c.id)) if each.state == "accepted"]
        made = dict[str, dict[str, str]]()
        for part in batches(sorted(mark.id for mark in marks)):
            accepted = select(v.c.reaction, v.c.records).where(v.c.reaction.in_(part), v.c.verdict == "accepted").order_by(v.c.number)
            made |= {str(reaction): dict(json.loads(records)) for reaction, records in connection.execute(accepted)}
    for mark in sorted(marks, key=lambda mark: mark.id):
        prompt, response = (made.get(mark.id, {}).get(kind, "") for kind in ("prompt", "response"))
        if prompt in prompts and response in responses:
            labeler = prompts[prompt].user  # the name under which the user's chats become records
            if not out & {labeler, mark.user}:
                yield Worth(prompts[prompt], responses[response], (mark.payload["mark"] - 3) / 2, labeler, groups.get(labeler, ""))


def by_rating(ranking: Ranking) -> dict[str, float]:
    """Map 1 to 7 to -1 to 1."""
    return {rating.response_id: (rating.quality - 4) / 3 for rating in ranking.ratings}


def by_rank(ranking: Ranking) -> dict[str, float]:
    """Return for each response the share of the others that it beats, minus the share that beats it."""
    others = len(ranking.ranks) - 1
    return {id: lead / others for id, lead in leads(ranking).items()}
