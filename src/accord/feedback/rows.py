"""Conversion of records to rows of the store's tables and back, and validation of records before storage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from accord.errors import StoreError
from accord.records import (
    MEDIUM,
    Demonstration,
    Guideline,
    GuidelineSet,
    Labeler,
    LabelerKind,
    Media,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Role,
    Split,
    Thumb,
    conversation_key,
    flag_named,
)

TableRow = dict[str, Any]
UNCHANGED = "nothing was stored"


def check_ranking(ranking: Ranking, owners: Mapping[str, str]) -> None:
    for id in ranking.response_ids:
        if id not in owners:
            raise StoreError(f"ranking {ranking.id}: the store knows no response {id}", hint=UNCHANGED)
        if owners[id] != ranking.prompt_id:
            raise StoreError(f"ranking {ranking.id}: response {id} answers prompt {owners[id]}, not {ranking.prompt_id}", hint=UNCHANGED)
    rated = [rating.response_id for rating in ranking.ratings]
    if len(set(rated)) != len(rated) or not set(rated) <= set(ranking.response_ids):
        raise StoreError(f"ranking {ranking.id}: its ratings are not one each of responses in it", hint=UNCHANGED)
    if min(ranking.ranks) < 1:
        raise StoreError(f"ranking {ranking.id}: rank {min(ranking.ranks)}; ranks start at 1 (best)", hint=UNCHANGED)
    for rating in ranking.ratings:
        if not 1 <= rating.quality <= 7:
            raise StoreError(f"ranking {ranking.id}: quality {rating.quality} of {rating.response_id} is not in 1..7", hint=UNCHANGED)
    allowed(f"ranking {ranking.id}", "guideline set", ranking.guideline.set, get_args(GuidelineSet))


def allowed(id: str, field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise StoreError(f"{id}: {field} {value!r} is none of {', '.join(known)}", hint=UNCHANGED)


def of_labeler(person: Labeler) -> TableRow:
    allowed(person.id, "kind", person.kind, get_args(LabelerKind))
    return {"id": person.id, "kind": person.kind, "group": person.group}


def of_demonstration(demonstration: Demonstration) -> TableRow:
    fields = {"id": demonstration.id, "prompt_id": demonstration.prompt.id}
    return fields | {"labeler": demonstration.labeler, "text": demonstration.text}


def of_prompt(prompt: Prompt) -> TableRow:
    allowed(prompt.id, "split", prompt.split, get_args(Split))
    for message in prompt.messages:
        allowed(prompt.id, "role", message.role, get_args(Role))
    written = of_messages(prompt.messages)
    fields = {"id": prompt.id, "split": prompt.split, "use_case": prompt.use_case, "user": prompt.user, "source": prompt.source}
    return fields | {"messages": written, "extra": of_extra(prompt), "key": conversation_key(prompt.messages)}


def of_messages(messages: Sequence[Message]) -> str:
    """Return a conversation as the table of prompts holds it: role and content, and in third place the media of a message with some."""
    turns = list[list[object]]()
    for message in messages:
        media = of_media(message.media)
        turns.append([message.role, message.content, *([media] if media else [])])
    return json.dumps(turns, ensure_ascii=False)


def of_media(media: Sequence[Media]) -> list[list[str]]:
    """Return media as JSON values: kind, digest and alternative text."""
    return [[each.kind, each.digest, each.alt] for each in media]


def media(given: Sequence[Sequence[Any]]) -> tuple[Media, ...]:
    """Return the media that ``of_media`` wrote."""
    return tuple(Media(*each) for each in given)


def media_in(written: str) -> list[str]:
    """Return the digests of the media in a conversation as the table of prompts holds it."""
    if MEDIUM not in written:
        return []
    return [each.digest for message in messages(written) for each in message.media]


def messages(written: str) -> tuple[Message, ...]:
    """Return the conversation that ``of_messages`` wrote."""
    turns: list[list[Any]] = json.loads(written)
    return tuple(Message(role, content, media=media(*told)) if told else Message(role, content) for role, content, *told in turns)


def with_transcripts(written: str, known: Mapping[str, tuple[str, bool]]) -> str:
    """Return a conversation as the table of prompts holds it, with other transcripts.

    Args:
        known: by digest, each with whether it replaces one that is there.
    """
    given = messages(written)
    new = tuple(replace(message, media=media_with_transcripts(message.media, known)) for message in given)
    return written if new == given else of_messages(new)


def media_with_transcripts(given: Sequence[Media], known: Mapping[str, tuple[str, bool]]) -> tuple[Media, ...]:
    """Return media with other transcripts. Args: as for ``with_transcripts``."""
    return tuple(_with_transcript(each, known) for each in given)


def _with_transcript(medium: Media, known: Mapping[str, tuple[str, bool]]) -> Media:
    text, replaces = known.get(medium.digest, ("", False))
    return replace(medium, alt=text) if medium.digest in known and (replaces or not medium.alt.strip()) else medium


def of_extra(prompt: Prompt) -> str:
    """Return a prompt's ``extra`` as JSON with sorted keys, so that equal ones are equal texts."""
    try:
        written = json.dumps(dict(prompt.extra), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        same = json.loads(written).keys() == prompt.extra.keys()  # JSON turns a key that is a number into text
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{prompt.id}: extra is not a JSON object: {error}", hint=UNCHANGED) from error
    if not same:
        raise StoreError(f"{prompt.id}: extra has a key that is not a text", hint=UNCHANGED)
    return written


def stored_key(written: str) -> str:
    """Return the key of a conversation as the table of prompts holds it."""
    return conversation_key(messages(written))


def prompt(row: Mapping[Any, Any]) -> Prompt:
    return Prompt(row["id"], messages(row["messages"]), row["use_case"], row["user"], row["split"], row["source"], json.loads(row["extra"]))


def of_response(response: Response) -> TableRow:
    fields = {"id": response.id, "prompt_id": response.prompt_id, "text": response.text, "model": response.model}
    return fields | {"tokens": ",".join(map(str, response.tokens)), "finished": response.finished}


def response(row: Mapping[Any, Any]) -> Response:
    tokens = tuple(map(int, row["tokens"].split(","))) if row["tokens"] else ()
    return Response(row["id"], row["prompt_id"], row["text"], row["model"], tokens, row["finished"])


def of_thumb(thumb: Thumb) -> TableRow:
    """Return the row of an imported thumb; its id is a hash of its content, so that it is added only once."""
    id = thumb_id(thumb.response.id, thumb.labeler, up=thumb.up)
    row = {"id": id, "prompt_id": thumb.prompt.id, "response_id": thumb.response.id}
    return row | {"labeler": thumb.labeler, "up": thumb.up, "flags": "[]", "at": ""}


def thumb_id(response: str, labeler: str, *, up: bool) -> str:
    """Return the id of an imported thumb."""
    return f"t-{hashlib.sha256(chr(0).join((response, labeler, str(up))).encode()).hexdigest()[:20]}"


def of_ranking(ranking: Ranking) -> TableRow:
    guideline = {"guideline_set": ranking.guideline.set, "guideline_version": ranking.guideline.version}
    return {"id": ranking.id, "prompt_id": ranking.prompt_id, "labeler": ranking.labeler, **guideline, "at": ranking.at}


def of_items(ranking: Ranking) -> list[TableRow]:
    ratings = {rating.response_id: rating for rating in ranking.ratings}
    rows: list[TableRow] = []
    for position, (id, rank) in enumerate(zip(ranking.response_ids, ranking.ranks, strict=True)):
        rating = ratings.get(id)
        row = {"ranking_id": ranking.id, "position": position, "response_id": id, "rank": rank}
        rows.append(
            row
            | {
                "quality": rating.quality if rating else None,
                "flags": json.dumps([flag_named(flag) for flag in rating.flags]) if rating else None,
            }
        )
    return rows


def ranking(rows: Sequence[Mapping[Any, Any]]) -> Ranking:
    first = rows[0]
    ratings = tuple(Rating(r["response_id"], r["quality"], tuple(json.loads(r["flags"]))) for r in rows if r["quality"] is not None)
    return Ranking(
        id=first["id"],
        prompt_id=first["prompt_id"],
        labeler=first["labeler"],
        response_ids=tuple(r["response_id"] for r in rows),
        ranks=tuple(r["rank"] for r in rows),
        guideline=Guideline(first["guideline_set"], first["guideline_version"]),
        at=first["at"],
        ratings=ratings,
    )
