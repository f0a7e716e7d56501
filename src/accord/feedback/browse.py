"""Browsing and searching of records: filters, pages that continue after an id, and a bound on the time of a search.

A search reads the table in stretches of ids and stops when its page is full or its time is over; it then says where it stopped, and the
next page continues there. No stretch is skipped by counting (OFFSET over the whole table), so that a million records are as quick as a
hundred.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select

from accord.feedback import rows, schema
from accord.feedback.arrivals import KINDS
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn
from accord.records import Prompt

Kind = Literal["prompts", "responses", "rankings", "comparisons", "demonstrations", "thumbs"]
"""What is browsed; a comparison is a ranking of two responses."""
BROWSED: tuple[Kind, ...] = get_args(Kind)
ON_A_PAGE = 50
SECONDS = 1.0
"""Time that a search may take before it shows what it has found so far."""
STRETCH = 5_000
"""Records that one query of a search looks at."""
SAMPLED = 20_000
"""Records among which the values of a filter are looked up for suggestions."""
LONGEST = 400
"""Characters of a search."""
NO_FLAGS = ("", "[]")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are shown; an empty field filters nothing."""

    kind: Kind = "prompts"
    text: str = ""
    """Words in the record, as written; upper and lower case of a to z are the same."""
    split: str = ""
    source: str = ""
    """Where the prompt came from."""
    language: str = ""
    use_case: str = ""
    labeler: str = ""
    model: str = ""
    """Of a response, or of one of the responses of a ranking or thumb."""
    ranked: Literal["", "yes", "no"] = ""
    """Whether a prompt or a response stands in a ranking."""
    flagged: Literal["", "yes", "no"] = ""
    """Whether a labeler flagged the response, or one of the prompt's or the ranking's."""
    imported: int | None = None
    """The number of the import that brought it."""
    removed: bool = False
    """Shows the withdrawn records rather than those in use."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as a list shows it."""

    id: str
    prompt: Prompt
    text: str
    """The response's or the demonstration's; empty for other kinds."""
    by: str
    """Labeler or model."""
    ranks: tuple[tuple[int, str], ...] = ()
    """Of a ranking: each rank with the beginning of its response, best first."""
    up: bool | None = None
    at: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of records."""

    rows: list[Row]
    after: str
    """Where the next page continues; empty at the end."""
    early: bool
    """Whether the time was over before the page was full."""


@dataclass(frozen=True)
class Suggestions:
    """Values that a filter may have."""

    sources: list[str] = field(default_factory=list[str])
    languages: list[str] = field(default_factory=list[str])
    use_cases: list[str] = field(default_factory=list[str])
    labelers: list[str] = field(default_factory=list[str])
    models: list[str] = field(default_factory=list[str])


def page(store: Store, given: Filter, *, after: str = "", size: int = ON_A_PAGE, seconds: float = SECONDS) -> Page:
    """Return the records after an id that a filter lets pass, ordered by id.

    Args:
        after: where the page before ended; empty for the first.
        seconds: as ``SECONDS``. One stretch is always looked at, so that every page gets further.
    """
    started, ids = time.monotonic(), list[str]()
    for stretch, reached in _stretches(store, given, after, size):
        ids += stretch
        if len(ids) > size:
            return Page(_shown(store, given.kind, ids[:size]), ids[size - 1], early=False)
        if reached and time.monotonic() - started > seconds:
            return Page(_shown(store, given.kind, ids), reached, early=True)
    return Page(_shown(store, given.kind, ids), "", early=False)


def every_id(store: Store, given: Filter) -> Iterator[str]:
    """Yield the id of every record that a filter lets pass, in order; read a stretch at a time."""
    for stretch, _ in _stretches(store, given, "", STRETCH):
        yield from stretch


def suggestions(store: Store) -> Suggestions:
    """Return the values that are common among the first records, and the labelers."""
    p, v, r = schema.prompts, schema.provenance, schema.responses
    with store.read() as connection:
        return Suggestions(
            _values(connection, p.c.source),
            _values(connection, v.c.language),
            _values(connection, p.c.use_case),
            list(connection.scalars(select(schema.labelers.c.id).order_by(schema.labelers.c.id).limit(500))),
            _values(connection, r.c.model),
        )


def _values(connection: Connection, column: Any) -> list[str]:
    first = select(column.label("value")).limit(SAMPLED).subquery()
    values = connection.scalars(select(first.c.value).distinct().limit(200))
    return sorted(value for value in values if value)


def _stretches(store: Store, given: Filter, after: str, size: int) -> Iterator[tuple[list[str], str]]:
    """Yield matching ids, at most one more than ``size`` at a time, each time with the id up to which was looked; empty at the end."""
    table, conditions = _table(given.kind), _conditions(given)
    query = select(table.c.id).where(*conditions).order_by(table.c.id)
    if given.text and given.kind == "prompts":
        query = query.add_columns(table.c.messages)
    while True:
        with store.read() as connection:
            end = select(table.c.id).where(table.c.id > after).order_by(table.c.id).offset(STRETCH - 1).limit(1)
            last = connection.scalar(end)
            window = and_(table.c.id > after, table.c.id <= last) if last is not None else table.c.id > after
            found = connection.execute(query.where(window).limit(size + 1)).all()
        full = len(found) > size
        reached = found[-1][0] if full else last or ""
        yield [row[0] for row in found if len(row) == 1 or _says(row[1], given.text)], reached
        if not reached:
            return
        after = reached


def _says(messages: str, text: str) -> bool:
    """Return whether a prompt has the text in what is said, and not in the JSON around it."""
    wanted = text.lower()
    return any(wanted in content.lower() for _, content, *_ in json.loads(messages))


def _table(kind: Kind) -> Table:
    return schema.rankings if kind == "comparisons" else cast("Table", getattr(schema, kind))


def _conditions(given: Filter) -> list[ColumnElement[bool]]:
    table, p = _table(given.kind), schema.prompts
    own = table is p
    gone = is_withdrawn(KINDS[table.name], table.c.id)
    if table is schema.responses:  # they go with their prompt
        gone = or_(gone, is_withdrawn("prompt", table.c.prompt_id))
    where: list[ColumnElement[bool]] = [gone if given.removed else ~gone]
    asked: list[ColumnElement[bool]] = []
    """What is asked of the record's prompt."""
    for value, column in ((given.split, p.c.split), (given.source, p.c.source)):
        if value:
            asked.append(column == value)
    v = schema.provenance
    of_prompt = select(v.c.prompt_id).where(v.c.prompt_id == p.c.id)
    if given.language:
        asked.append(of_prompt.where(v.c.language == given.language).exists())
    if given.use_case:
        by_rule = and_(p.c.use_case == "", of_prompt.where(v.c.use_case == given.use_case).exists())
        asked.append(or_(p.c.use_case == given.use_case, by_rule))
    if asked:
        where += asked if own else [select(p.c.id).where(p.c.id == table.c.prompt_id, *asked).exists()]
    if given.kind == "comparisons":
        third = _items().where(schema.ranking_items.c.position > 1).exists()
        where.append(~third)
    if given.imported is not None:
        where.append(table.c.imported == given.imported)
    if given.labeler:
        where.append(_labeled(table, given.labeler))
    if given.model:
        where.append(_modelled(table, given.model))
    if given.ranked:
        ranked = _rankings_of(table).exists()
        where.append(ranked if given.ranked == "yes" else ~ranked)
    if given.flagged:
        flagged = _flagged(table)
        where.append(flagged if given.flagged == "yes" else ~flagged)
    if given.text:
        where.append(_holds(table, given.text))
    return where


def _items() -> Any:
    """Return the query for the items of the ranking in the query around it."""
    item = schema.ranking_items
    return select(item.c.ranking_id).where(item.c.ranking_id == schema.rankings.c.id)


def _labeled(table: Table, labeler: str) -> ColumnElement[bool]:
    """Return the condition that a labeler gave the record; for prompts and responses, that the labeler ranked, wrote or rated on it."""
    if "labeler" in table.c:
        return table.c.labeler == labeler
    k, item, d, t = schema.rankings, schema.ranking_items, schema.demonstrations, schema.thumbs
    if table is schema.prompts:
        of_prompt = [select(other.c.id).where(other.c.prompt_id == table.c.id, other.c.labeler == labeler).exists() for other in (k, d, t)]
        return or_(*of_prompt)
    ranked = select(item.c.ranking_id).join(k, k.c.id == item.c.ranking_id)
    ranked = ranked.where(item.c.response_id == table.c.id, k.c.labeler == labeler)
    return or_(ranked.exists(), select(t.c.id).where(t.c.response_id == table.c.id, t.c.labeler == labeler).exists())


def _modelled(table: Table, model: str) -> ColumnElement[bool]:
    r, item = schema.responses, schema.ranking_items
    if table is r:
        return r.c.model == model
    if table is schema.rankings:
        return _items().join(r, r.c.id == item.c.response_id).where(r.c.model == model).exists()
    if table is schema.thumbs:
        return select(r.c.id).where(r.c.id == table.c.response_id, r.c.model == model).exists()
    own = table.c.id if table is schema.prompts else table.c.prompt_id
    return select(r.c.id).where(r.c.prompt_id == own, r.c.model == model).exists()


def _rankings_of(table: Table) -> Any:
    """Return the query for the standing rankings of a record's prompt, of a response the rankings that it is in."""
    k, item = schema.rankings, schema.ranking_items
    standing = select(k.c.id).where(~is_withdrawn("ranking", k.c.id))
    if table is schema.responses:
        return standing.join(item, item.c.ranking_id == k.c.id).where(item.c.response_id == table.c.id)
    if table is k:
        return select(k.c.id)
    return standing.where(k.c.prompt_id == (table.c.id if table is schema.prompts else table.c.prompt_id))


def _flagged(table: Table) -> ColumnElement[bool]:
    """Return the condition that a flag stands: on the ranking or thumb itself, else in any of those in use that are about the record."""
    k, item, t = schema.rankings, schema.ranking_items, schema.thumbs
    in_ranking = item.c.flags.is_not(None) & item.c.flags.not_in(NO_FLAGS)
    by_thumb = t.c.flags.not_in(NO_FLAGS)
    if table is k:
        return _items().where(in_ranking).exists()
    if table is t:
        return by_thumb
    ranked = select(k.c.id).join(item, item.c.ranking_id == k.c.id).where(in_ranking, ~is_withdrawn("ranking", k.c.id))
    rated = select(t.c.id).where(by_thumb, ~is_withdrawn("thumb", t.c.id))
    if table is schema.responses:
        flagged = ranked.where(item.c.response_id == table.c.id).exists()
        return or_(flagged, rated.where(t.c.response_id == table.c.id).exists())
    own = table.c.id if table is schema.prompts else table.c.prompt_id
    return or_(ranked.where(k.c.prompt_id == own).exists(), rated.where(t.c.prompt_id == own).exists())


def _holds(table: Table, text: str) -> ColumnElement[bool]:
    """Return the condition that a record has a text in it; of a prompt, that its JSON has, which ``_says`` looks at again."""
    p, r, item = schema.prompts, schema.responses, schema.ranking_items
    in_json = json.dumps(text, ensure_ascii=False)[1:-1]
    if table is p:
        return p.c.messages.icontains(in_json, autoescape=True)
    if table is schema.rankings:
        return _items().join(r, r.c.id == item.c.response_id).where(r.c.text.icontains(text, autoescape=True)).exists()
    if table is schema.thumbs:
        return select(r.c.id).where(r.c.id == table.c.response_id, r.c.text.icontains(text, autoescape=True)).exists()
    return table.c.text.icontains(text, autoescape=True)


def _shown(store: Store, kind: Kind, ids: Sequence[str]) -> list[Row]:
    """Return the records of these ids, in their order."""
    if not ids:
        return []
    table, p = _table(kind), schema.prompts
    if table is p:
        with store.read() as connection:
            found = {row["id"]: row for row in connection.execute(select(p).where(p.c.id.in_(ids))).mappings()}
        return [Row(id, rows.prompt(found[id]), "", found[id]["user"]) for id in ids]
    query = select(table, *(column.label(f"prompt_{column.name}") for column in p.c if column.name != "id"))
    with store.read() as connection:
        joined = connection.execute(query.join(p, p.c.id == table.c.prompt_id).where(table.c.id.in_(ids))).mappings()
        found: dict[str, Mapping[Any, Any]] = {row["id"]: row for row in joined}
        ranks = _ranks(connection, ids if table is schema.rankings else ())
        texts = _texts(connection, [row["response_id"] for row in found.values()] if table is schema.thumbs else ())
    shown = list[Row]()
    for row in (found[id] for id in ids):
        asked = rows.prompt({column.name: row[f"prompt_{column.name}"] for column in p.c})
        text: str = row["text"] if "text" in row else texts.get(row.get("response_id", ""), "")
        by = row["model"] if table is schema.responses else row["labeler"]
        shown.append(Row(row["id"], asked, text, by, ranks.get(row["id"], ()), row.get("up"), row.get("at", "")))
    return shown


def _ranks(connection: Connection, ids: Sequence[str]) -> Mapping[str, tuple[tuple[int, str], ...]]:
    item, r, found = schema.ranking_items, schema.responses, dict[str, list[tuple[int, str]]]()
    query = select(item.c.ranking_id, item.c.rank, func.substr(r.c.text, 1, 300)).join(r, r.c.id == item.c.response_id)
    for ranking, rank, text in connection.execute(query.where(item.c.ranking_id.in_(ids)).order_by(item.c.rank, item.c.position)):
        found.setdefault(ranking, []).append((rank, text))
    return {ranking: tuple(ranks) for ranking, ranks in found.items()}


def _texts(connection: Connection, ids: Sequence[str]) -> Mapping[str, str]:
    r = schema.responses
    return {row.id: row.text for row in connection.execute(select(r.c.id, r.c.text).where(r.c.id.in_(ids)))}
