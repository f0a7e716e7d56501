"""The feedback store: prompts, demonstrations, responses, rankings and their authors. SQLite by default, PostgreSQL by address.

Every ``add_...`` is one transaction that happens entirely or not at all. Adding is idempotent by id; an existing id with another content
is refused. Nothing here updates or deletes. An answer is on disk (synchronous FULL) before ``add_...`` returns.

Withdrawn records and those of excluded labelers stay in the tables; the readers skip them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from typing import Any

from sqlalchemy import Connection, Select, exists, func, select, text

from accord.feedback import rows, schema
from accord.feedback.database import BUSY_SECONDS, LONGEST_ANSWER, Database, connect
from accord.feedback.inserts import (
    add_demonstrations,
    add_media,
    add_rankings,
    add_responses,
    add_rows,
    add_thumbs,
    batches,
    prompts_by_id,
    responses_by_id,
)
from accord.feedback.withdrawals import is_in_use, is_withdrawn
from accord.records import Demonstration, GuidelineSet, Labeler, MediaFile, Prompt, RankedPrompt, Ranking, Response, Split, Thumb

ADDING = 0x616464
"""The advisory lock that lets bulk writers take turns on PostgreSQL, as they do on SQLite."""


class Store:
    """An open feedback store. Use it as a context manager."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.engine = database.engine

    @classmethod
    def open(cls, url: str, *, seconds: float = LONGEST_ANSWER) -> Store:
        """Open a store: create its tables in an empty database, migrate those of an older version.

        Args:
            seconds: longest wait for an answer of a PostgreSQL server that neither answers nor closes.

        Raises:
            StoreError: the address is invalid, or the database is corrupt, out of reach, of another program or of a newer version.
        """
        return cls(connect(url, seconds=seconds))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    @contextmanager
    def write(self, *, wait: float = BUSY_SECONDS) -> Generator[Connection]:
        """Open a write transaction, which happens entirely or not at all. Raises StoreError when the database refuses.

        Args:
            wait: seconds to wait for other processes; a shorter time than usual is also the longest wait for this process's other threads.
        """
        with self.database.write(wait=wait) as connection:
            yield connection

    @contextmanager
    def read(self) -> Generator[Connection]:
        """Open a read transaction. Raises StoreError when the database refuses."""
        with self.database.read() as connection:
            yield connection

    def add(
        self,
        *,
        prompts: Iterable[Prompt] = (),
        labelers: Iterable[Labeler] = (),
        demonstrations: Iterable[Demonstration] = (),
        responses: Iterable[Response] = (),
        rankings: Iterable[Ranking] = (),
        thumbs: Iterable[Thumb] = (),
        media: Iterable[MediaFile] = (),
    ) -> dict[str, int]:
        """Add records of several kinds in one transaction; return the number of new ones per kind (of thumbs only if any are given).

        Records may refer to others that are added with them. A demonstration brings its prompt along, a thumb its prompt and its response.
        ``media`` are the files of pictures and recordings that the prompts hold, each of which is stored once.

        Raises:
            StoreError: a labeler, prompt or response is unknown, a response belongs to another prompt, an id exists with another
                content, a field has an invalid value, or the store cannot be written; nothing was stored.
        """
        people = [rows.of_labeler(person) for person in labelers]
        written, judged, liked = list(demonstrations), list(rankings), list(thumbs)
        asked = [*prompts, *(row.prompt for row in written), *(row.prompt for row in liked)]
        answers = [*responses, *(row.response for row in liked)]
        with self.write() as connection:
            if not self.database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING})
            add_media(connection, media)
            added = {
                "prompts": add_rows(connection, schema.prompts, [rows.of_prompt(prompt) for prompt in asked]),
                "labelers": add_rows(connection, schema.labelers, people),
                "demonstrations": add_demonstrations(connection, written),
                "responses": add_responses(connection, answers),
                "rankings": add_rankings(connection, judged),
            }
            return added | {"thumbs": add_thumbs(connection, liked)} if liked else added

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Add prompts; return the number of new ones."""
        return self.add(prompts=prompts)["prompts"]

    def add_labelers(self, people: Iterable[Labeler]) -> int:
        """Add labelers; return the number of new ones."""
        return self.add(labelers=people)["labelers"]

    def add_demonstrations(self, demonstrations: Iterable[Demonstration]) -> int:
        """Add demonstrations by known labelers, with their prompts if new; return the number of new demonstrations."""
        return self.add(demonstrations=demonstrations)["demonstrations"]

    def add_responses(self, responses: Iterable[Response]) -> int:
        """Add responses to known prompts; return the number of new ones."""
        return self.add(responses=responses)["responses"]

    def add_rankings(self, rankings: Iterable[Ranking]) -> int:
        """Add rankings of known responses by known labelers; return the number of new ones."""
        return self.add(rankings=rankings)["rankings"]

    def prompts(self, split: Split | None = None, use_case: str | None = None, *, ids: Sequence[str] | None = None) -> Iterator[Prompt]:
        """Yield prompts, ordered by id; with ``ids`` only those."""
        table = schema.prompts
        query = _only(select(table).where(~is_withdrawn("prompt", table.c.id)).order_by(table.c.id), table.c.id, ids)
        if split:
            query = query.where(table.c.split == split)
        if use_case:
            query = query.where(table.c.use_case == use_case)
        return (rows.prompt(row) for row in self.database.rows(query))

    def labelers(self) -> Iterator[Labeler]:
        """Yield labelers, ordered by id."""
        query = select(schema.labelers).order_by(schema.labelers.c.id)
        return (Labeler(row["id"], row["kind"], row["group"]) for row in self.database.rows(query))

    def demonstrations(self, split: Split | None = None, *, ids: Sequence[str] | None = None) -> Iterator[Demonstration]:
        """Yield demonstrations with their prompts, ordered by id; with ``ids`` only those."""
        d, p = schema.demonstrations, schema.prompts
        query = select(d, *(c.label(f"prompt_{c.name}") for c in p.c if c.name != "id")).join(p, p.c.id == d.c.prompt_id)
        query = _only(query.where(~is_withdrawn("demonstration", d.c.id), _heard(d.c.labeler)).order_by(d.c.id), d.c.id, ids)
        if split:
            query = query.where(p.c.split == split)
        for row in self.database.rows(query):
            asked = {c.name: row[f"prompt_{c.name}"] for c in p.c}
            yield Demonstration(row["id"], rows.prompt(asked), row["text"], row["labeler"])

    def responses(self, model: str | None = None, *, ids: Sequence[str] | None = None) -> Iterator[Response]:
        """Yield responses, ordered by id; with ``ids`` only those."""
        table = schema.responses
        used = (~is_withdrawn("prompt", table.c.prompt_id), ~is_withdrawn("response", table.c.id))
        query = _only(select(table).where(*used).order_by(table.c.id), table.c.id, ids)
        if model:
            query = query.where(table.c.model == model)
        return (rows.response(row) for row in self.database.rows(query))

    def rankings(
        self,
        guideline: GuidelineSet | None = None,
        split: Split | None = None,
        *,
        shared: bool = False,
        ids: Sequence[str] | None = None,
        labeler: str = "",
    ) -> Iterator[Ranking]:
        """Yield rankings, ordered by id, of one guideline set or of both. A removed response is left out of the rankings that it is in.

        Args:
            shared: leave out prompts that one labeler alone ranked, which say nothing about agreement.
            ids: yield only these.
            labeler: yield only theirs; empty yields everybody's.
        """
        r, item = schema.rankings, schema.ranking_items
        query = select(r, item).join(item, item.c.ranking_id == r.c.id).order_by(r.c.id, item.c.position)
        query = query.where(~is_withdrawn("ranking", r.c.id), is_in_use("response", item.c.response_id), _heard(r.c.labeler))
        query = _only(query, r.c.id, ids)
        if labeler:
            query = query.where(r.c.labeler == labeler)
        if guideline:
            query = query.where(r.c.guideline_set == guideline)
        if split:
            query = query.where(r.c.prompt_id.in_(select(schema.prompts.c.id).where(schema.prompts.c.split == split)))
        if shared:
            several = select(schema.rankings.c.prompt_id).group_by(schema.rankings.c.prompt_id)
            query = query.where(r.c.prompt_id.in_(several.having(func.count(schema.rankings.c.labeler.distinct()) > 1)))
        for _, group in groupby(self.database.rows(query), key=lambda row: row["id"]):
            items = list(group)
            if len(items) > 1:  # else all others were removed, and what is left says nothing
                yield rows.ranking(items)

    def imported_rankings(self) -> set[str]:
        """Return the ids of the rankings that came from a file: those of an import, and people's that answer no task of ours."""
        r, a, person = schema.rankings, schema.answers, schema.labelers
        ours = exists().where(a.c.id == func.substr(r.c.id, len("k-") + 1))  # so that the index of answers serves
        foreign = (person.c.kind == "person") & ~ours
        query = select(r.c.id).join(person, person.c.id == r.c.labeler).where((r.c.imported != 0) | foreign)
        with self.read() as connection:
            return set(connection.scalars(query))

    def ranked_by(self) -> dict[tuple[GuidelineSet, str], int]:
        """Return the number of rankings that ``rankings`` yields, by guideline set and labeler."""
        r = schema.rankings
        query = select(r.c.guideline_set, r.c.labeler, func.count()).group_by(r.c.guideline_set, r.c.labeler)
        query = query.where(~is_withdrawn("ranking", r.c.id), _heard(r.c.labeler))
        with self.read() as connection:
            return {(set, labeler): count for set, labeler, count in connection.execute(query)}

    def ranked_prompts(
        self, split: Split | None = None, guideline: GuidelineSet | None = "training", *, labeler: str = ""
    ) -> Iterator[RankedPrompt]:
        """Yield each ranking with its prompt, its responses as they were shown, and its labeler's group; read a few hundred at a time.

        Rankings under the evaluation guideline are for measuring, not for training, and are left out unless requested. With ``labeler``
        only theirs are read.
        """
        groups = {person.id: person.group for person in self.labelers()}
        for batch in batches(self.rankings(guideline, split, labeler=labeler)):
            with self.read() as connection:
                prompts = prompts_by_id(connection, (r.prompt_id for r in batch))
                responses = responses_by_id(connection, chain.from_iterable(r.response_ids for r in batch))
            for r in batch:
                shown = tuple(responses[id] for id in r.response_ids)
                yield RankedPrompt(prompts[r.prompt_id], shown, r.ranks, r.labeler, groups[r.labeler])

    def thumbs(self, *, ids: Sequence[str] | None = None) -> Iterator[Thumb]:
        """Yield thumbs given to single responses, ordered by id; ``feedback.thumbs`` derives those of rankings.

        Args:
            ids: yield only these.
        """
        groups = {person.id: person.group for person in self.labelers()}
        t, p, r = schema.thumbs, schema.prompts, schema.responses
        query = select(t.c.labeler, t.c.up, *(c.label(f"prompt_{c.name}") for c in p.c), *(c.label(f"response_{c.name}") for c in r.c))
        query = query.join(p, p.c.id == t.c.prompt_id).join(r, r.c.id == t.c.response_id)
        query = _only(query.where(~is_withdrawn("thumb", t.c.id), _heard(t.c.labeler)).order_by(t.c.id), t.c.id, ids)
        for row in self.database.rows(query):
            prompt = rows.prompt({c.name: row[f"prompt_{c.name}"] for c in p.c})
            response = rows.response({c.name: row[f"response_{c.name}"] for c in r.c})
            yield Thumb(prompt, response, row["up"], row["labeler"], groups[row["labeler"]])

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each kind, including withdrawn ones."""
        tables = (schema.prompts, schema.labelers, schema.demonstrations, schema.responses, schema.rankings)
        with self.read() as connection:
            return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def _only(query: Select[Any], id: Any, ids: Sequence[str] | None) -> Select[Any]:
    return query if ids is None else query.where(id.in_(ids))


def _heard(labeler: Any) -> Any:
    """Return the SQL condition that the labeler was not excluded.

    NOT IN rather than NOT EXISTS: PostgreSQL takes an empty table that it never analysed to exclude everybody, expects a single row
    of the whole query, and joins rankings with their items by comparing every two of them.
    """
    return labeler.not_in(select(schema.excluded.c.labeler))
