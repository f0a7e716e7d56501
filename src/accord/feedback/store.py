"""The feedback store: who asked, wrote, answered and ranked what. SQLite by default, PostgreSQL by its address.

Every ``add_...`` is one transaction: all of it or nothing. Adding is idempotent by id; the same id with another content is refused.
Nothing here updates or deletes. An answer is on disk (synchronous FULL) before ``add_...`` returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError

from accord.errors import StoreError
from accord.feedback import schema
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, RankedPrompt, Ranking, Rating, Response, Split

Row = dict[str, Any]
IN_ONE_QUERY = 500


class Store:
    """An open feedback store. Use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Store:
        """Opens a store, creating its tables in a blank database.

        Raises:
            StoreError: the address is none, or the database is corrupt, read-only, out of reach, or of a newer version.
        """
        try:
            engine = create_engine(url)
        except (ArgumentError, NoSuchModuleError) as error:
            raise StoreError(f"not an address of a store: {error}", where=url) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        place = make_url(url).database or url
        try:
            with engine.begin() as connection:
                schema.metadata.create_all(connection)
                version = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "version"))
                if version is None:
                    connection.execute(insert(schema.meta).values(key="version", value=str(schema.VERSION)))
        except DBAPIError as error:
            raise StoreError(f"the store cannot be opened: {error.orig}", where=place, hint="check that it is a store, and writable") from error
        if version is not None and int(version) > schema.VERSION:
            raise StoreError(f"the store has version {version}, this accord knows {schema.VERSION}", where=place, hint="install a newer accord")
        return cls(engine)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Adds prompts; returns how many were new."""
        rows = [_prompt_row(prompt) for prompt in prompts]
        with self._write() as connection:
            return _add(connection, schema.prompts, rows)

    def add_labelers(self, people: Iterable[Labeler]) -> int:
        """Adds labelers; returns how many were new."""
        rows: list[Row] = [{"id": person.id, "kind": person.kind, "group": person.group} for person in people]
        with self._write() as connection:
            return _add(connection, schema.labelers, rows)

    def add_demonstrations(self, demonstrations: Iterable[Demonstration]) -> int:
        """Adds demonstrations, and their prompts where they are new; their labelers must be known. Returns how many were new."""
        given = list(demonstrations)
        rows: list[Row] = [{"id": d.id, "prompt_id": d.prompt.id, "labeler": d.labeler, "text": d.text} for d in given]
        with self._write() as connection:
            _known(connection, schema.labelers, {row["labeler"] for row in rows}, "labeler")
            _add(connection, schema.prompts, [_prompt_row(d.prompt) for d in given])
            return _add(connection, schema.demonstrations, rows)

    def add_responses(self, responses: Iterable[Response]) -> int:
        """Adds responses to known prompts; returns how many were new."""
        rows: list[Row] = [
            {
                "id": r.id,
                "prompt_id": r.prompt_id,
                "text": r.text,
                "model": r.model,
                "tokens": ",".join(map(str, r.tokens)),
                "finished": r.finished,
            }
            for r in responses
        ]
        with self._write() as connection:
            _known(connection, schema.prompts, {row["prompt_id"] for row in rows}, "prompt")
            return _add(connection, schema.responses, rows)

    def add_rankings(self, rankings: Iterable[Ranking]) -> int:
        """Adds rankings of known responses by known labelers; returns how many were new.

        Raises:
            StoreError: a labeler, prompt or response is unknown, or a response belongs to another prompt; nothing was stored.
        """
        given = list(rankings)
        with self._write() as connection:
            _known(connection, schema.labelers, {r.labeler for r in given}, "labeler")
            _known(connection, schema.prompts, {r.prompt_id for r in given}, "prompt")
            wanted = {id for r in given for id in r.response_ids}
            owners = {row["id"]: row["prompt_id"] for row in _by_id(connection, schema.responses, wanted)}
            for ranking in given:
                _check_items(ranking, owners)
            before = {row["id"] for row in _by_id(connection, schema.rankings, {r.id for r in given})}
            added = _add(connection, schema.rankings, [_ranking_row(r) for r in given])
            _insert(connection, schema.ranking_items, [item for r in given if r.id not in before for item in _items(r)])
            _same_items(connection, [r for r in given if r.id in before])
            return added

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

    def _rows(self, query: Select[Any]) -> Iterator[Mapping[str, Any]]:
        with self.engine.connect() as connection:
            yield from connection.execution_options(yield_per=2000).execute(query).mappings()

    def _write(self) -> _Write:
        return _Write(self.engine)


class _Write:
    """A write transaction that turns the database's own errors into ours."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = engine.url.database or str(engine.url)

    def __enter__(self) -> Connection:
        self.connection = self.engine.connect()
        if self.engine.dialect.name == "sqlite":
            try:
                self.connection.exec_driver_sql("ROLLBACK")
                self.connection.exec_driver_sql("BEGIN IMMEDIATE")
            except DatabaseError as error:
                self.connection.close()
                raise StoreError(f"the store cannot be written: {error.orig}", where=self.place) from error
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.connection.commit()
            else:
                self.connection.rollback()
        except DatabaseError as failed:
            raise StoreError(f"the store cannot be written: {failed.orig}", where=self.place) from failed
        finally:
            self.connection.close()
        if isinstance(error, DatabaseError):
            raise StoreError(f"the store refused: {error.orig}", where=self.place) from error


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def _add(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Inserts the rows whose ids are new; refuses an id that is there with another content."""
    unique: dict[str, Row] = {}
    for row in rows:
        if unique.setdefault(row["id"], row) != row:
            raise StoreError(f"two different {table.name} share the id {row['id']}", hint="give each an id of its own")
    there = {row["id"]: dict(row) for row in _by_id(connection, table, set(unique))}
    for id, row in there.items():
        if row != unique[id]:
            raise StoreError(f"{table.name}: {id} is in the store with another content", hint="nothing was stored; history is not rewritten")
    new = [row for id, row in unique.items() if id not in there]
    _insert(connection, table, new)
    return len(new)


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(insert(table), list(rows))


def _by_id(connection: Connection, table: Table, ids: set[str]) -> Iterator[Mapping[str, Any]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), IN_ONE_QUERY):
        part = ordered[start : start + IN_ONE_QUERY]
        yield from connection.execute(select(table).where(table.c.id.in_(part))).mappings()


def _known(connection: Connection, table: Table, ids: set[str], what: str) -> None:
    missing = sorted(ids - {row["id"] for row in _by_id(connection, table, ids)})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StoreError(f"the store knows no {what} {missing[0]}{more}", hint="nothing was stored")


def _check_items(ranking: Ranking, owners: Mapping[str, str]) -> None:
    for id in ranking.response_ids:
        if id not in owners:
            raise StoreError(f"ranking {ranking.id}: the store knows no response {id}", hint="nothing was stored")
        if owners[id] != ranking.prompt_id:
            raise StoreError(f"ranking {ranking.id}: response {id} answers prompt {owners[id]}, not {ranking.prompt_id}", hint="nothing was stored")


def _same_items(connection: Connection, rankings: Sequence[Ranking]) -> None:
    item = schema.ranking_items
    for ranking in rankings:
        query = select(item).where(item.c.ranking_id == ranking.id).order_by(item.c.position)
        if [dict(row) for row in connection.execute(query).mappings()] != _items(ranking):
            raise StoreError(f"rankings: {ranking.id} is in the store with another content", hint="nothing was stored; history is not rewritten")


def _prompt_row(prompt: Prompt) -> Row:
    messages = json.dumps([[message.role, message.content] for message in prompt.messages], ensure_ascii=False)
    fields = {"id": prompt.id, "split": prompt.split, "use_case": prompt.use_case, "user": prompt.user, "source": prompt.source}
    return fields | {"messages": messages}


def _prompt(row: Mapping[str, Any]) -> Prompt:
    messages = tuple(Message(role, content) for role, content in json.loads(row["messages"]))
    return Prompt(row["id"], messages, row["use_case"], row["user"], row["split"], row["source"])


def _response(row: Mapping[str, Any]) -> Response:
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


def _ranking(rows: Sequence[Mapping[str, Any]]) -> Ranking:
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
