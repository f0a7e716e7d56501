"""The feedback store: who asked, wrote, answered and ranked what. SQLite by default, PostgreSQL by its address.

Every ``add_...`` is one transaction: all of it or nothing. Adding is idempotent by id; the same id with another content is refused.
Nothing here updates or deletes. An answer is on disk (synchronous FULL) before ``add_...`` returns.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, get_args

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, func, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from accord.errors import StoreError
from accord.feedback import schema
from accord.records import (
    Demonstration,
    Guideline,
    GuidelineSet,
    Labeler,
    LabelerKind,
    Message,
    Prompt,
    RankedPrompt,
    Ranking,
    Rating,
    Response,
    Role,
    Split,
)

Row = dict[str, Any]
IN_ONE_QUERY = 500
UNCHANGED = "nothing was stored"


class Store:
    """An open feedback store. Use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._place = engine.url.database or str(engine.url)

    @classmethod
    def open(cls, url: str) -> Store:
        """Opens a store, creating its tables in a blank database.

        Raises:
            StoreError: the address is none, or the database is corrupt, out of reach, of something else or of a newer version.
        """
        store = cls(_engine(url))
        with _errors(store._place, "cannot be opened"), store.engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            version = connection.scalar(select(schema.meta.c.value)) if schema.meta.name in tables else None
        if tables and version is None:
            raise StoreError("a database of something else", where=store._place, hint="name another file; a new one is created")
        if version is not None and int(version) > schema.VERSION:
            what = f"the store has version {version}, this accord knows {schema.VERSION}"
            raise StoreError(what, where=store._place, hint="install a newer accord")
        if version is None:
            store._create()
        return store

    def _create(self) -> None:
        with self._write() as connection:
            schema.metadata.create_all(connection)
            if connection.scalar(select(func.count()).select_from(schema.meta)) == 0:
                connection.execute(insert(schema.meta).values(key="version", value=str(schema.VERSION)))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def add(
        self,
        *,
        prompts: Iterable[Prompt] = (),
        labelers: Iterable[Labeler] = (),
        demonstrations: Iterable[Demonstration] = (),
        responses: Iterable[Response] = (),
        rankings: Iterable[Ranking] = (),
    ) -> dict[str, int]:
        """Adds records of several kinds in one transaction; returns how many of each were new.

        Records may name others that are added with them. A demonstration brings its prompt along.

        Raises:
            StoreError: a labeler, prompt or response is unknown, a response belongs to another prompt, an id is there with
                another content, a field holds what it may not, or the store cannot be written; nothing was stored.
        """
        people = [_labeler_row(person) for person in labelers]
        asked, written, answers, judged = list(prompts), list(demonstrations), list(responses), list(rankings)
        with self._write() as connection:
            return {
                "prompts": _add(connection, schema.prompts, [_prompt_row(p) for p in (*asked, *(d.prompt for d in written))]),
                "labelers": _add(connection, schema.labelers, people),
                "demonstrations": _add_demonstrations(connection, written),
                "responses": _add_responses(connection, answers),
                "rankings": _add_rankings(connection, judged),
            }

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Adds prompts; returns how many were new."""
        return self.add(prompts=prompts)["prompts"]

    def add_labelers(self, people: Iterable[Labeler]) -> int:
        """Adds labelers; returns how many were new."""
        return self.add(labelers=people)["labelers"]

    def add_demonstrations(self, demonstrations: Iterable[Demonstration]) -> int:
        """Adds demonstrations by known labelers, and their prompts where they are new; returns how many demonstrations were new."""
        return self.add(demonstrations=demonstrations)["demonstrations"]

    def add_responses(self, responses: Iterable[Response]) -> int:
        """Adds responses to known prompts; returns how many were new."""
        return self.add(responses=responses)["responses"]

    def add_rankings(self, rankings: Iterable[Ranking]) -> int:
        """Adds rankings of known responses by known labelers; returns how many were new."""
        return self.add(rankings=rankings)["rankings"]

    def prompts(self, split: Split | None = None, use_case: str | None = None) -> Iterator[Prompt]:
        """Prompts in the order of their ids."""
        query = select(schema.prompts).order_by(schema.prompts.c.id)
        if split:
            query = query.where(schema.prompts.c.split == split)
        if use_case:
            query = query.where(schema.prompts.c.use_case == use_case)
        return (_prompt(row) for row in self._rows(query))

    def labelers(self) -> Iterator[Labeler]:
        """Labelers in the order of their ids."""
        return (Labeler(row["id"], row["kind"], row["group"]) for row in self._rows(select(schema.labelers).order_by(schema.labelers.c.id)))

    def demonstrations(self, split: Split | None = None) -> Iterator[Demonstration]:
        """Demonstrations with their prompts, in the order of their ids."""
        d = schema.demonstrations
        prompts = {prompt.id: prompt for prompt in self.prompts(split)}
        rows = self._rows(select(d).order_by(d.c.id))
        return (Demonstration(r["id"], prompts[r["prompt_id"]], r["text"], r["labeler"]) for r in rows if r["prompt_id"] in prompts)

    def responses(self, model: str | None = None) -> Iterator[Response]:
        """Responses in the order of their ids."""
        query = select(schema.responses).order_by(schema.responses.c.id)
        if model:
            query = query.where(schema.responses.c.model == model)
        return (_response(row) for row in self._rows(query))

    def rankings(self) -> Iterator[Ranking]:
        """Rankings in the order of their ids."""
        r, item = schema.rankings, schema.ranking_items
        query = select(r, item).join(item, item.c.ranking_id == r.c.id).order_by(r.c.id, item.c.position)
        for _, rows in groupby(self._rows(query), key=lambda row: row["id"]):
            yield _ranking(list(rows))

    def ranked_prompts(self, split: Split | None = None) -> Iterator[RankedPrompt]:
        """Each ranking with its prompt, its responses as they were shown, and its labeler's group."""
        prompts = {prompt.id: prompt for prompt in self.prompts(split)}
        responses = {response.id: response for response in self.responses()}
        groups = {person.id: person.group for person in self.labelers()}
        for r in self.rankings():
            if r.prompt_id in prompts:
                shown = tuple(responses[id] for id in r.response_ids)
                yield RankedPrompt(prompts[r.prompt_id], shown, r.ranks, r.labeler, groups[r.labeler])

    def counts(self) -> dict[str, int]:
        """Rows of each kind."""
        tables = (schema.prompts, schema.labelers, schema.demonstrations, schema.responses, schema.rankings)
        with self.engine.begin() as connection:
            return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    def _rows(self, query: Select[Any]) -> Iterator[Mapping[Any, Any]]:
        with _errors(self._place, "cannot be read"), self.engine.connect() as connection:
            yield from connection.execution_options(yield_per=2000).execute(query).mappings()

    @contextmanager
    def _write(self) -> Generator[Connection]:
        with _errors(self._place, "cannot be written"), self.engine.execution_options(write=True).begin() as connection:
            yield connection


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(make_url(url))
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError("not the address of a store", where="store", hint="e.g. sqlite:///feedback.sqlite") from error
    except ModuleNotFoundError as error:
        raise StoreError(f"this kind of store needs the package {error.name}", where="store", hint="install it") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: one that reads first could find that another has written since, and fail without waiting."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")


@contextmanager
def _errors(place: str, what: str) -> Generator[None]:
    """Turns what the database says into a StoreError. The driver's own errors come unwrapped out of the connect event."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"the store {what}: {error.orig}", where=place) from error
    except sqlite3.Error as error:
        raise StoreError(f"the store {what}: {error}", where=place, hint="check that it is a store and writable") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"the store {what}: a text holds half of a surrogate pair", where=place, hint=UNCHANGED) from error


def _add(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Inserts the rows whose ids are new; refuses an id that is there with another content."""
    unique: dict[str, Row] = {}
    for row in rows:
        if unique.setdefault(row["id"], row) != row:
            raise StoreError(f"two different {table.name} share the id {row['id']}", hint="give each an id of its own")
    there = {row["id"]: dict(row) for row in _by_id(connection, table, set(unique))}
    for id, row in there.items():
        if row != unique[id]:
            raise StoreError(f"{table.name}: {id} is in the store with another content", hint=f"{UNCHANGED}; history is not rewritten")
    new = [row for id, row in unique.items() if id not in there]
    _insert(connection, table, new)
    return len(new)


def _add_demonstrations(connection: Connection, demonstrations: Sequence[Demonstration]) -> int:
    _known(connection, schema.labelers, {d.labeler for d in demonstrations}, "labeler")
    rows: list[Row] = [{"id": d.id, "prompt_id": d.prompt.id, "labeler": d.labeler, "text": d.text} for d in demonstrations]
    return _add(connection, schema.demonstrations, rows)


def _add_responses(connection: Connection, responses: Sequence[Response]) -> int:
    _known(connection, schema.prompts, {response.prompt_id for response in responses}, "prompt")
    return _add(connection, schema.responses, [_response_row(response) for response in responses])


def _add_rankings(connection: Connection, rankings: Sequence[Ranking]) -> int:
    _known(connection, schema.labelers, {r.labeler for r in rankings}, "labeler")
    _known(connection, schema.prompts, {r.prompt_id for r in rankings}, "prompt")
    wanted = {id for r in rankings for id in r.response_ids}
    owners = {row["id"]: row["prompt_id"] for row in _by_id(connection, schema.responses, wanted)}
    unique: dict[str, Ranking] = {}
    for ranking in rankings:
        _check(ranking, owners)
        if unique.setdefault(ranking.id, ranking) != ranking:
            raise StoreError(f"two different rankings share the id {ranking.id}", hint=UNCHANGED)
    before = {row["id"] for row in _by_id(connection, schema.rankings, set(unique))}
    added = _add(connection, schema.rankings, [_ranking_row(r) for r in unique.values()])
    _insert(connection, schema.ranking_items, [item for id, r in unique.items() if id not in before for item in _items(r)])
    for id in before:
        _same_items(connection, unique[id])
    return added


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(insert(table), list(rows))


def _by_id(connection: Connection, table: Table, ids: set[str]) -> Iterator[Mapping[Any, Any]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), IN_ONE_QUERY):
        part = ordered[start : start + IN_ONE_QUERY]
        yield from connection.execute(select(table).where(table.c.id.in_(part))).mappings()


def _known(connection: Connection, table: Table, ids: set[str], what: str) -> None:
    missing = sorted(ids - {row["id"] for row in _by_id(connection, table, ids)})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StoreError(f"the store knows no {what} {missing[0]}{more}", hint=UNCHANGED)


def _check(ranking: Ranking, owners: Mapping[str, str]) -> None:
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
    _allowed(f"ranking {ranking.id}", "guideline set", ranking.guideline.set, get_args(GuidelineSet))


def _same_items(connection: Connection, ranking: Ranking) -> None:
    item = schema.ranking_items
    query = select(item).where(item.c.ranking_id == ranking.id).order_by(item.c.position)
    if [dict(row) for row in connection.execute(query).mappings()] != _items(ranking):
        raise StoreError(f"rankings: {ranking.id} is in the store with another content", hint=f"{UNCHANGED}; history is not rewritten")


def _allowed(id: str, field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise StoreError(f"{id}: {field} {value!r} is none of {', '.join(known)}", hint=UNCHANGED)


def _labeler_row(person: Labeler) -> Row:
    _allowed(person.id, "kind", person.kind, get_args(LabelerKind))
    return {"id": person.id, "kind": person.kind, "group": person.group}


def _prompt_row(prompt: Prompt) -> Row:
    _allowed(prompt.id, "split", prompt.split, get_args(Split))
    for message in prompt.messages:
        _allowed(prompt.id, "role", message.role, get_args(Role))
    messages = json.dumps([[message.role, message.content] for message in prompt.messages], ensure_ascii=False)
    fields = {"id": prompt.id, "split": prompt.split, "use_case": prompt.use_case, "user": prompt.user, "source": prompt.source}
    return fields | {"messages": messages}


def _prompt(row: Mapping[Any, Any]) -> Prompt:
    messages = tuple(Message(role, content) for role, content in json.loads(row["messages"]))
    return Prompt(row["id"], messages, row["use_case"], row["user"], row["split"], row["source"])


def _response_row(response: Response) -> Row:
    fields = {"id": response.id, "prompt_id": response.prompt_id, "text": response.text, "model": response.model}
    return fields | {"tokens": ",".join(map(str, response.tokens)), "finished": response.finished}


def _response(row: Mapping[Any, Any]) -> Response:
    tokens = tuple(map(int, row["tokens"].split(","))) if row["tokens"] else ()
    return Response(row["id"], row["prompt_id"], row["text"], row["model"], tokens, row["finished"])


def _ranking_row(ranking: Ranking) -> Row:
    guideline = {"guideline_set": ranking.guideline.set, "guideline_version": ranking.guideline.version}
    return {"id": ranking.id, "prompt_id": ranking.prompt_id, "labeler": ranking.labeler, **guideline, "at": ranking.at}


def _items(ranking: Ranking) -> list[Row]:
    ratings = {rating.response_id: rating for rating in ranking.ratings}
    rows: list[Row] = []
    for position, (id, rank) in enumerate(zip(ranking.response_ids, ranking.ranks, strict=True)):
        rating = ratings.get(id)
        row = {"ranking_id": ranking.id, "position": position, "response_id": id, "rank": rank}
        rows.append(row | {"quality": rating.quality if rating else None, "flags": json.dumps(rating.flags) if rating else None})
    return rows


def _ranking(rows: Sequence[Mapping[Any, Any]]) -> Ranking:
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
