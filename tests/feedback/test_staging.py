"""Records that are noted down first go into either database at once, once, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from feedback.conftest import Postgres, empty
from sqlalchemy import event, select

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.spool import TABLES, About, Spool, Stored
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Rating, Response, Thumb

ABOUT = About("a file", "", "accord", "2026-11-30T00:00:00+00:00")
ANN = Labeler("ann", "person", "g")
PROMPTS = [Prompt(f"p{n}", (Message("user", f"Question {n} 中\u2028?"),)) for n in range(4500)]
RESPONSES = [Response(f"r{n}{m}", f"p{n}", f"Answer {m}", "m") for n in range(100) for m in range(2)]
RANKINGS = [Ranking(f"k{n}", f"p{n}", "ann", (f"r{n}0", f"r{n}1"), (1, 2), Guideline("training", "v"), "") for n in range(100)]
THUMBS = [Thumb(PROMPTS[n], RESPONSES[2 * n], n % 2 == 0, "ann", "g") for n in range(10)]
RECORDS: list[Any] = [*RANKINGS, *THUMBS, *RESPONSES, *PROMPTS, *PROMPTS[:10], ANN, Demonstration("d", PROMPTS[0], "So.", "ann"), ANN]
ADDED = {"labelers": 1, "prompts": 4500, "demonstrations": 1, "responses": 200, "rankings": 100, "thumbs": 10}


def put(
    store: Store, folder: Path, records: list[Any], before_commit: Callable[[Stored], Mapping[str, Any]] = lambda _: {}
) -> dict[str, int]:
    folder.mkdir()
    with Spool(folder) as spool:
        spool.add(records)
        return spool.store(store, ABOUT, before_commit=before_commit).new


def test_records_of_any_order_come_in_once(store: Store, tmp_path: Path) -> None:
    assert put(store, tmp_path / "one", RECORDS) == ADDED
    assert put(store, tmp_path / "two", RECORDS) == dict.fromkeys(ADDED, 0)
    assert sorted(store.rankings(), key=lambda r: r.id) == sorted(RANKINGS, key=lambda r: r.id)
    assert sorted((t.response.id, t.up) for t in store.thumbs()) == sorted((t.response.id, t.up) for t in THUMBS)
    assert {prompt.messages for prompt in store.prompts()} == {prompt.messages for prompt in PROMPTS}


def test_what_is_refused_at_the_end_takes_everything_back(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path / "first", [ANN, PROMPTS[0], *RESPONSES[:2], RANKINGS[0]])
    before = store.counts()
    other = Ranking("k0", "p0", "ann", ("r00", "r01"), (2, 1), Guideline("training", "v"), "")
    with pytest.raises(StoreError, match="rankings: k0 is in the store with another content"):
        put(store, tmp_path / "second", [*PROMPTS, *RESPONSES, *RANKINGS[1:], other])
    with pytest.raises(StoreError, match="cannot be written"):
        put(store, tmp_path / "third", [*PROMPTS, Response("x", "nobody", "x", "m")])
    with pytest.raises(ZeroDivisionError):
        put(store, tmp_path / "fourth", RECORDS, before_commit=lambda stored: {"x": stored.number // 0})
    assert store.counts() == before


ODD = ["\0 and \x1a and \x1a0", "\\N", "\\.", "tab\tline\nreturn\r back\\slash", "", "é 中 \u2028 😀", "NULL", '{"a": [1, "]"]}']
RATINGS = (Rating("s10", 7, ("hallucination",)), Rating("s11", 1))
FULL: list[Any] = [
    ANN,
    Labeler("bob", "model", "o'group"),
    *(Prompt(f"q{n}", (Message("user", odd or "?"),), user=f"u{n}") for n, odd in enumerate(ODD)),
    *(Response(f"s{n}{m}", f"q{n}", odd, "m\\n", (1, 2) if m else (), m == 0) for n, odd in enumerate(ODD) for m in range(3)),
    *(Demonstration(f"e{n}", Prompt("q0", (Message("user", ODD[0]),), user="u0"), odd, "bob") for n, odd in enumerate(ODD)),
    Ranking("l0", "q0", "ann", ("s00", "s02", "s01"), (1, 1, 2), Guideline("training", "v"), "2026-01-01"),
    Ranking("l1", "q1", "bob", ("s11", "s10"), (2, 1), Guideline("evaluation", "v"), "", RATINGS),
]  # fmt: skip


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    tables = [schema.metadata.tables[name] for name in (*TABLES, "ranking_items")]
    found: dict[str, list[tuple[Any, ...]]] = {}
    with store.read() as connection:
        for table in tables:
            columns = [column for column in table.c if column.name != "imported"]
            rows: Any = connection.execute(select(*columns))
            found[table.name] = sorted(map(tuple, rows), key=repr)
    return found


def test_a_bulk_import_leaves_what_the_rows_one_by_one_leave(store: Store, tmp_path: Path) -> None:
    store.add_labelers([record for record in FULL if isinstance(record, Labeler)])
    store.add_prompts([record for record in FULL if isinstance(record, Prompt)])
    store.add_responses([record for record in FULL if isinstance(record, Response)])
    store.add_demonstrations([record for record in FULL if isinstance(record, Demonstration)])
    store.add_rankings([record for record in FULL if isinstance(record, Ranking)])
    expected = content(store)
    assert len(expected["ranking_items"]) == 5
    assert not any(put(store, tmp_path / "again", FULL).values())
    assert content(store) == expected
    empty(store)
    added = put(store, tmp_path / "anew", [*FULL, *FULL])
    assert content(store) == expected
    assert added == {name: len(expected[name]) for name in TABLES}


@pytest.mark.parametrize(
    ("records", "what"),
    [
        ([PROMPTS[0], Prompt("p0", (Message("user", "Another?"),))], "two different prompts share the id p0"),
        ([ANN, *PROMPTS[:1], *RESPONSES[:2], RANKINGS[0], replace(RANKINGS[0], ranks=(2, 1))], "two different rankings share the id k0"),
        ([ANN, *PROMPTS[:1], *RESPONSES[:2], RANKINGS[0], replace(RANKINGS[0], at="later")], "two different rankings share the id k0"),
        ([ANN, *PROMPTS[:1], Response("r", "p0", "x" * 9, "m"), Response("r", "p0", "y", "m")], "two different responses share the id r"),
    ],
)
def test_one_id_has_one_content(records: list[Any], what: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=what):
        put(store, tmp_path / "both", records)
    assert not any(store.counts().values())


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_id_with_a_character_that_postgresql_has_not_is_refused(store: Store, tmp_path: Path) -> None:
    records = [Prompt("p0", (Message("user", "?"),), user="u" * 5), Prompt("p0\0", (Message("user", "Another?"),))]
    with pytest.raises(StoreError, match="cannot be written"):
        put(store, tmp_path / "both", records)
    assert not any(store.counts().values())


def test_a_ranking_with_other_items_is_another_ranking(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path / "first", FULL)
    rated = next(record for record in FULL if isinstance(record, Ranking) and record.id == "l1")
    for number, other in enumerate((replace(rated, ratings=rated.ratings[:1]), replace(rated, response_ids=("s11", "s12")))):
        with pytest.raises(StoreError, match="rankings: l1 is in the store with another content"):
            put(store, tmp_path / str(number), [other])


def test_postgresql_joins_rankings_with_their_items_in_order(postgres: Postgres, tmp_path: Path) -> None:
    """Nobody is excluded and nothing withdrawn, and no statistics say so: the plan of a stream must not compare every two rows."""
    asked: list[Any] = []
    with Store.open(postgres.blank()) as store:
        put(store, tmp_path / "many", [ANN, *PROMPTS, *answers(PROMPTS), *many(PROMPTS)])
        event.listen(store.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        assert sum(1 for _ in store.rankings("training")) == len(PROMPTS)
        statement, values = next(each for each in asked if "JOIN ranking_items" in each[0])
        with store.read() as connection:
            plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN DECLARE c CURSOR FOR {statement}", values)]
    assert not [line for line in plan if "Join Filter" in line], "\n".join(plan)


def answers(prompts: list[Prompt]) -> list[Response]:
    return [Response(f"{prompt.id}-{n}", prompt.id, f"Answer {n}", "m") for prompt in prompts for n in range(2)]


def many(prompts: list[Prompt]) -> list[Ranking]:
    return [
        Ranking(f"k-{prompt.id}", prompt.id, "ann", (f"{prompt.id}-0", f"{prompt.id}-1"), (1, 2), Guideline("training", "v"), "")
        for prompt in prompts
    ]
