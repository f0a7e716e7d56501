"""What a row says beyond our records, kept in ``Prompt.extra``, so that rewards and scripts find it.

- What belongs to the prompt itself, such as the right answer, stands under its column's own name.
- ``judgement-DIGEST`` is an object for one judgement: the labeler, what was said about the responses together (a strength, reasons), and
  under ``responses`` one object per response: its model, the first 16 hex digits of the SHA-256 of its text, and what was said about it.
- ``suggestions-DIGEST`` holds a model's suggestions for one record of Argilla.
- ``row-DIGEST`` is an object for one row that asked the prompt: ids, languages, flags, dates.

Several rows may ask one prompt, and ``extra`` is completed by the keys that it lacks; the digest of its content gives each object a key of
its own. Responses are named by digests of their texts, since ids differ between projects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accord.data.row_records import Record, Taken
from accord.data.rows import Row, empty, plain
from accord.records import Demonstration, Prompt, Ranking, Response, Thumb


def columns(row: Row, *names: str) -> dict[str, Any]:
    """Return the named columns that say something, as JSON values."""
    found = {name: row.raw(name) for name in names}
    return {name: plain(value) for name, value in found.items() if not empty(value)}


def noted(taken: Taken, extra: Mapping[str, Any]) -> Taken:
    """Return the records with more in the ``extra`` of their prompts."""
    return replace(taken, records=tuple(with_extra(record, extra) for record in taken.records)) if extra else taken


def with_extra(record: Record, extra: Mapping[str, Any]) -> Record:
    """Return a record with more in the ``extra`` of its prompt."""
    if isinstance(record, Prompt):
        return replace(record, extra={**record.extra, **extra})
    if isinstance(record, Demonstration | Thumb):
        return replace(record, prompt=replace(record.prompt, extra={**record.prompt.extra, **extra}))
    return record


def told(taken: Taken, details: Mapping[str, Any]) -> Taken:
    """Return the records with a row's details in the ``extra`` of their prompts."""
    return noted(taken, keyed("row", details)) if details else taken


def judged(taken: Taken, pair: Mapping[str, Any], each: Sequence[Mapping[str, Any]] = ()) -> Taken:
    """Return the records of one ranking with the details of its judgement in the ``extra`` of their prompt.

    Args:
        taken: the records of a row with one ranking.
        pair: what was said about the responses together, such as the strength of the preference.
        each: what was said about each response, in the order of the ranking.
    """
    ranking = next((record for record in taken.records if isinstance(record, Ranking)), None)
    if ranking is None or not (pair or any(each)):
        return taken
    responses = {record.id: record for record in taken.records if isinstance(record, Response)}
    details: Sequence[Mapping[str, Any]] = each or [{} for _ in ranking.response_ids]
    said = [describe(responses[id], about) for id, about in zip(ranking.response_ids, details, strict=True)]
    return noted(taken, keyed("judgement", {"labeler": ranking.labeler, **pair, "responses": said}))


def keyed(kind: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return details under a key of their own."""
    written = json.dumps(dict(details), ensure_ascii=False, sort_keys=True)
    return {f"{kind}-{hashlib.sha256(written.encode()).hexdigest()[:12]}": dict(details)}


def describe(response: Response, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said about a response, with its model and the digest of its text."""
    digest = hashlib.sha256(response.text.encode()).hexdigest()[:16]
    return {"sha256": digest, "model": response.model, **details}
