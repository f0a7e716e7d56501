"""The database's side of `accord prompts`: which prompts it may decide about, and how its decisions are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import exists, func, select

from accord.data.pipeline import REASONS, Asked, Curated
from accord.data.tags import is_few_shot
from accord.errors import StoreError
from accord.feedback import rows, schema, withdrawals
from accord.feedback.audit import OPERATOR, note
from accord.feedback.provenance import PromptKind, Provenance
from accord.feedback.provenance import write as write_provenance
from accord.feedback.store import Store
from accord.runtime.progress import Track

PIPELINE = "pipeline"
"""Who withdraws prompts for `accord prompts`; a later run decides anew about those."""


class Digest(Protocol):
    """A hash of hashlib's."""

    def update(self, data: bytes, /) -> None: ...


def count(store: Store) -> int:
    """Return how many prompts there are to decide about."""
    p = schema.prompts
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(p).where(_undecided(p.c.id))) or 0


def read(store: Store, seen: Digest) -> Iterator[Asked]:
    """Yield the prompts with their consent, ordered by id, and add each id to the digest ``seen``.

    Prompts that were kept before, or have answers, are marked ``first``: of two doubles they stay.
    """
    p, v = schema.prompts, schema.provenance
    answered, demonstrated = (exists(select(t.c.id).where(t.c.prompt_id == p.c.id)) for t in (schema.responses, schema.demonstrations))
    left_out = withdrawals.is_withdrawn("prompt", p.c.id)
    columns = (*p.c, v.c.consent, v.c.language, (answered | demonstrated).label("answered"), left_out.label("left_out"))
    query = select(*columns).select_from(p.outerjoin(v, v.c.prompt_id == p.c.id)).where(_undecided(p.c.id)).order_by(p.c.id)
    for row in store.database.rows(query):
        seen.update(row["id"].encode() + b"\0")
        kept_before = bool(row["language"]) and not row["left_out"]
        yield Asked(rows.prompt(row), row["consent"] or "unknown", first=kept_before or bool(row["answered"]))


def write(store: Store, curated: Curated, seen: str, bar: Track) -> int:
    """Write the decisions in one transaction; return how many prompts are withdrawn.

    Prompts that an earlier run withdrew come back first, and every prompt is tagged.

    Args:
        seen: the digest of the ids that were decided about.

    Raises:
        StoreError: the prompts are others by now.
    """
    now = datetime.now(UTC)
    p = schema.prompts
    with store.write() as connection:
        ids = list(connection.scalars(select(p.c.id).where(_undecided(p.c.id)).order_by(p.c.id)))
        if hashlib.sha256("".join(f"{id}\0" for id in ids).encode()).hexdigest() != seen:
            raise StoreError("prompts came or went meanwhile", hint="nothing was changed; run the same command again")
        withdrawals.restore(connection, "prompt", by=PIPELINE)
        dropped = ((ids[row], _why(curated, row, ids)) for row in curated.reasons.nonzero()[0].tolist())
        withdrawn = withdrawals.withdraw(connection, "prompt", dropped, by=PIPELINE, now=now)
        write_provenance(connection, _tags(store, curated, now, bar), tags_only=True)
        note(connection, who=OPERATOR, what="prompts", on=f"{len(ids)} prompts, {withdrawn} left out", why="", at=now)
    return withdrawn


def _undecided(prompt: Any) -> Any:
    """The prompt is there, or it was the pipeline that withdrew it."""
    w = schema.withdrawn.alias()
    return ~exists(select(w.c.record_id).where(w.c.kind == "prompt", w.c.record_id == prompt, w.c.by != PIPELINE))


def _why(curated: Curated, row: int, ids: Sequence[str]) -> str:
    reason, original = REASONS[curated.reasons[row]], int(curated.original[row])
    return f"{reason} of {ids[original]}" if original >= 0 else reason


def _tags(store: Store, curated: Curated, now: datetime, bar: Track) -> Iterator[Provenance]:
    p = schema.prompts
    query = select(p).where(_undecided(p.c.id)).order_by(p.c.id)
    for number, row in enumerate(store.database.rows(query)):
        kind: PromptKind = "few-shot" if row["source"] == "labeler" and is_few_shot(rows.prompt(row).messages) else ""
        language, use_case = curated.language(number), curated.use_case(number)
        yield Provenance(row["id"], row["source"], kind, language, use_case, at=now.isoformat())
        bar.advance()
