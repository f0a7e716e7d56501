"""Provenance of prompts: origin, InstructGPT's kind of prompt, language, use case, and consent.

Imports, labelers and the chat write these records. The prompt pipeline adds language and use case and drops prompts without consent.
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
"""The three kinds of prompts that labelers write (Ouyang et al. 2022, App. A.1): plain (any task), few-shot (an instruction with several
pairs of query and answer), and user-based (for a use case stated by a waiting user). Empty for a prompt written by a user."""
Consent = Literal["unknown", "given", "refused", "public"]
"""``public`` is for data under a permissive licence; ``terms`` names the licence, or the version of the text that was agreed to."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """A prompt's provenance record."""

    prompt_id: str
    origin: str
    """A file's name, ``labeler``, ``chat``, ``world`` ..."""
    kind: PromptKind = ""
    language: str = ""
    """ISO 639-1 code, for example ``en`` or ``zh``; ``und`` when undetermined; empty when not yet detected."""
    use_case: str = ""
    """The use case by rule, for a prompt that names none."""
    consent: Consent = "unknown"
    terms: str = ""
    at: str = ""


def record(store: Store, rows: Iterable[Provenance]) -> int:
    """Write provenance records of prompts, replacing earlier ones, and return their number.

    Raises:
        StoreError: a kind or a consent is invalid, or a prompt is unknown; nothing was written.
    """
    with store.write() as connection:
        return write(connection, rows)


def write(connection: Connection, rows: Iterable[Provenance], *, tags_only: bool = False) -> int:
    """Write as ``record`` does, inside a transaction.

    Args:
        tags_only: where a record exists, change only language and use case.
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
    """Yield every provenance record, ordered by prompt id; prompts without one are left out."""
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
    """Set kind and consent of all prompts of a source or a user, with an audit row; return the number of prompts.

    Raises:
        StoreError: neither source nor user is given, they have no prompts, or a kind or a consent is invalid.
    """
    p, v = schema.prompts, schema.provenance
    wanted = [column == value for column, value in ((p.c.source, source), (p.c.user, user)) if value]
    if not wanted:
        raise StoreError("no prompts are named", hint="give a source, a user, or both")
    changes: dict[str, str] = {name: value for name, value in (("kind", kind), ("consent", consent)) if value is not None}
    if consent is not None:
        changes["terms"] = terms
    with store.write() as connection:
        ids = list(connection.execute(select(p.c.id, p.c.source).where(*wanted)))
        if not ids:
            raise StoreError("no prompt has this source and user", hint="`accord provenance PROJECT` lists the sources")
        known = set[str]()
        for part in batches([id for id, _ in ids]):
            known.update(connection.scalars(select(v.c.prompt_id).where(v.c.prompt_id.in_(part))))
        write(connection, (Provenance(id, origin, at=now.isoformat()) for id, origin in ids if id not in known))
        for part in batches([id for id, _ in ids]):
            _check(Provenance("", "", kind=kind or "", consent=consent or "unknown"))
            connection.execute(update(v).where(v.c.prompt_id.in_(part)).values(**changes, at=now.isoformat()))
        said = ", ".join(f"{name} {value}" for name, value in changes.items())
        note(connection, who=by, what="provenance", on=f"{len(ids)} prompts: {said}"[:320], why=why, at=now)
    return len(ids)


def origin_of(source: str) -> str:
    """Return where prompts of a source come from: the chat or an app rather than each of their turns and responses."""
    words = source.split(" ", 2)
    if len(words) == 3 and words[0] in ("chat", "api"):
        return "chat" if words[0] == "chat" else f"api {words[2]}"
    return source or "(none)"


def summary(store: Store) -> Mapping[str, Mapping[str, int]]:
    """Return the number of prompts by origin, kind, language, use case and consent; ``(none)`` where there is no record."""
    v, p = schema.provenance, schema.prompts
    counts: dict[str, dict[str, int]] = {}
    with store.read() as connection:
        for column in (v.c.kind, v.c.language, v.c.use_case, v.c.consent):
            query = select(column, func.count()).select_from(p.outerjoin(v, v.c.prompt_id == p.c.id)).group_by(column)
            counts[column.name] = {str(value or "(none)"): int(count) for value, count in connection.execute(query)}
        origins = counts["origin"] = dict[str, int]()
        for source, count in connection.execute(select(p.c.source, func.count()).group_by(p.c.source).order_by(p.c.source)):
            origins[origin_of(source)] = origins.get(origin_of(source), 0) + int(count)
    return counts
