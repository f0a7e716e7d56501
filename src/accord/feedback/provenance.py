"""Where each prompt came from, which of InstructGPT's kinds it is, in which language and for what, and whether it may be used.

Importing, labelers and the chat write it; the prompt pipeline fills in language and use case and leaves out what has no consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, func, select, text, update

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.audit import note
from accord.feedback.inserts import batches
from accord.feedback.store import Store

PromptKind = Literal["", "plain", "few-shot", "user-based"]
"""The three kinds that labelers write (Ouyang et al. 2022, App. A.1): any task at all; an instruction with several pairs of query and
answer; one that a stated use case of a waiting user asks for. Empty for a prompt that a user wrote."""
Consent = Literal["unknown", "given", "refused", "public"]
"""``public`` is for data under a licence that allows it; ``terms`` names the licence, or the version of the text that was agreed to."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """A prompt's papers."""

    prompt_id: str
    origin: str
    """A file's name, ``labeler``, ``chat``, ``world`` ..."""
    kind: PromptKind = ""
    language: str = ""
    """ISO 639-1, e.g. ``en`` or ``zh``; ``und`` when it cannot be told; empty when nobody looked."""
    use_case: str = ""
    """What a rule takes the use case for, where the prompt itself names none."""
    consent: Consent = "unknown"
    terms: str = ""
    at: str = ""


def record(store: Store, rows: Iterable[Provenance]) -> int:
    """Writes prompts' papers; those that a prompt had before are replaced. Returns how many were written.

    Raises:
        StoreError: a kind or a consent is none, or a prompt is unknown; nothing was written.
    """
    with store.write() as connection:
        return write(connection, rows)


def write(connection: Connection, rows: Iterable[Provenance], *, tags_only: bool = False) -> int:
    """As ``record``, inside a transaction.

    Args:
        tags_only: where there are papers already, change language and use case alone.
    """
    columns = [column.name for column in schema.provenance.c]
    changed = ("language", "use_case") if tags_only else columns[1:]
    sets = ", ".join(f"{name} = excluded.{name}" for name in changed)
    values = f"INSERT INTO provenance ({', '.join(columns)}) VALUES ({', '.join(':' + name for name in columns)})"
    statement, written = text(f"{values} ON CONFLICT (prompt_id) DO UPDATE SET {sets}"), 0
    for part in batches(rows, 5000):
        for row in part:
            _check(row)
        connection.execute(statement, [asdict(row) for row in part])
        written += len(part)
    return written


def _check(row: Provenance) -> None:
    for field, value, known in (("kind", row.kind, PromptKind), ("consent", row.consent, Consent)):
        if value not in get_args(known):
            raise StoreError(f"{row.prompt_id}: {field} {value!r} is none of {', '.join(map(repr, get_args(known)))}")


def papers(store: Store) -> Iterator[Provenance]:
    """Every prompt's papers, in the order of the prompts' ids; prompts without any are left out."""
    for row in store.database.rows(select(schema.provenance).order_by(schema.provenance.c.prompt_id)):
        yield Provenance(**row)


def mark(
    store: Store,
    *,
    source: str = "",
    user: str = "",
    kind: PromptKind | None = None,
    consent: Consent | None = None,
    terms: str = "",
    by: str,
    why: str = "",
    now: datetime,
) -> int:
    """Sets kind and consent of all prompts of a source or a user, with an audit row; returns how many prompts it were.

    Raises:
        StoreError: neither source nor user is given, no prompt is of them, or a kind or a consent is none.
    """
    p, v = schema.prompts, schema.provenance
    wanted = [column == value for column, value in ((p.c.source, source), (p.c.user, user)) if value]
    if not wanted:
        raise StoreError("say whose prompts are meant", hint="a source, a user, or both")
    changes: dict[str, str] = {name: value for name, value in (("kind", kind), ("consent", consent)) if value is not None}
    if consent is not None:
        changes["terms"] = terms
    with store.write() as connection:
        ids = list(connection.execute(select(p.c.id, p.c.source).where(*wanted)))
        if not ids:
            raise StoreError("no prompt is of this source and user", hint="`accord provenance PROJECT` lists the sources")
        known = {
            id for part in batches([id for id, _ in ids]) for id in connection.scalars(select(v.c.prompt_id).where(v.c.prompt_id.in_(part)))
        }
        write(connection, (Provenance(id, origin, at=now.isoformat()) for id, origin in ids if id not in known))
        for part in batches([id for id, _ in ids]):
            _check(Provenance("", "", kind=kind or "", consent=consent or "unknown"))
            connection.execute(update(v).where(v.c.prompt_id.in_(part)).values(**changes, at=now.isoformat()))
        said = ", ".join(f"{name} {value}" for name, value in changes.items())
        note(connection, who=by, what="provenance", on=f"{len(ids)} prompts: {said}"[:320], why=why, at=now)
    return len(ids)


def summary(store: Store) -> Mapping[str, Mapping[str, int]]:
    """How many prompts there are by origin, kind, language, use case and consent; ``(none)`` where nobody wrote anything."""
    v, p = schema.provenance, schema.prompts
    counts: dict[str, dict[str, int]] = {}
    with store.read() as connection:
        for column in (v.c.kind, v.c.language, v.c.use_case, v.c.consent):
            query = select(column, func.count()).select_from(p.outerjoin(v, v.c.prompt_id == p.c.id)).group_by(column)
            counts[column.name] = {str(value or "(none)"): int(count) for value, count in connection.execute(query)}
        query = select(p.c.source, func.count()).group_by(p.c.source)
        counts["origin"] = {str(value or "(none)"): int(count) for value, count in connection.execute(query)}
    return counts
