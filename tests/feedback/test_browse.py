"""What a filter lets pass is what a plain loop over the records would, page after page, on either database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text

from accord.feedback import browse, provenance, schema, withdrawals
from accord.feedback.browse import Filter, Kind
from accord.feedback.imports import remove
from accord.feedback.provenance import Provenance
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Rating, Response, Thumb

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TRAINING = Guideline("training", "1")
WORDS = ("rye bread", 'a "quoted" loaf', "100% wheat_bread", "面包在哪里", "the user asks", "Two\nlines", "back\\slash", "plain")
PROMPTS = [
    Prompt(
        f"p{n:02}",
        (Message("user", f"{WORDS[n % 8]} {n}?"),),
        use_case=("qa", "", "chat")[n % 3],
        user=f"u{n % 4}",
        split="train" if n % 5 else "test",
        source=f"file{n % 2}.jsonl",
    )
    for n in range(24)
]
RESPONSES = [
    Response(f"r{p.id}-{k}", p.id, f"{WORDS[(n + k) % 8].upper()} baked", f"m{k}") for n, p in enumerate(PROMPTS) for k in range(3)
]
RANKINGS = [
    Ranking(
        f"k{p.id}",
        p.id,
        ("ann", "bo")[n % 2],
        tuple(f"r{p.id}-{k}" for k in range(2 + n % 2)),
        (2, 1, 1)[: 2 + n % 2],
        TRAINING,
        "",
        (Rating(f"r{p.id}-0", 3, ("hallucination",) if n % 4 == 0 else ()),),
    )
    for n, p in enumerate(PROMPTS[:16])
]


@pytest.fixture
def filled(store: Store) -> Store:
    people = [Labeler("ann", "person"), Labeler("bo", "person")]
    written = [Demonstration(f"d{p.id}", p, f"{WORDS[n % 8]} written", "ann") for n, p in enumerate(PROMPTS[:6])]
    liked = [Thumb(p, RESPONSES[3 * n], n % 2 == 0, "bo") for n, p in enumerate(PROMPTS[:4])]
    store.add(prompts=PROMPTS, labelers=people, responses=RESPONSES, rankings=RANKINGS, demonstrations=written, thumbs=liked)
    languages = [Provenance(p.id, "file", language="zh" if n % 8 == 3 else "en", use_case="brainstorm") for n, p in enumerate(PROMPTS)]
    provenance.record(store, languages)
    return store


def ids(store: Store, given: Filter, size: int = 5) -> list[str]:
    """Every id, read page by page."""
    found, after = list[str](), ""
    for _ in range(100):
        page = browse.page(store, given, after=after, size=size)
        assert len(page.rows) <= size
        assert not page.early
        found += [row.id for row in page.rows]
        if not page.after:
            assert found == list(browse.every_id(store, given))
            return found
        after = page.after
    raise AssertionError("the pages do not end")


def asked(id: str) -> Prompt:
    return next(p for p in PROMPTS if p.id in id)


RANKED = {r.prompt_id for r in RANKINGS}
CASES: list[tuple[Filter, Callable[[str], bool]]] = [
    (Filter(), lambda id: True),
    (Filter(split="test"), lambda id: asked(id).split == "test"),
    (Filter(source="file1.jsonl", use_case="qa"), lambda id: asked(id).source == "file1.jsonl" and asked(id).use_case == "qa"),
    (Filter(use_case="brainstorm"), lambda id: asked(id).use_case == ""),
    (Filter(language="zh"), lambda id: "面包" in asked(id).messages[0].content),
    (Filter(ranked="yes"), lambda id: asked(id).id in RANKED),
    (Filter(ranked="no", split="train"), lambda id: asked(id).id not in RANKED and asked(id).split == "train"),
    (Filter(labeler="bo"), lambda id: (int(id[1:]) < 16 and int(id[1:]) % 2 == 1) or int(id[1:]) < 4),
    (Filter(flagged="yes"), lambda id: int(id[1:]) < 16 and int(id[1:]) % 4 == 0),
    (Filter(text="user"), lambda id: "user" in asked(id).messages[0].content),
    (Filter(text="RYE"), lambda id: "rye" in asked(id).messages[0].content),
    (Filter(text='"quoted"'), lambda id: '"quoted"' in asked(id).messages[0].content),
    (Filter(text="100% wheat_"), lambda id: "100% wheat_" in asked(id).messages[0].content),
    (Filter(text="Two\nlines"), lambda id: "Two\nlines" in asked(id).messages[0].content),
    (Filter(text="back\\slash"), lambda id: "back\\slash" in asked(id).messages[0].content),
    (Filter(text="面包"), lambda id: "面包" in asked(id).messages[0].content),
    (Filter(text="%"), lambda id: "%" in asked(id).messages[0].content),
    (Filter(imported=3), lambda id: False),
]


@pytest.mark.parametrize(("given", "passes"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_prompts_pass_as_a_plain_loop_would_let_them(
    filled: Store, given: Filter, passes: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "STRETCH", 7)
    assert ids(filled, given) == [p.id for p in PROMPTS if passes(p.id)]


def of(kind: Kind, store: Store, **given: Any) -> list[str]:
    return ids(store, Filter(kind, **given))


def test_other_kinds_pass_by_their_own_fields_and_their_prompts(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "STRETCH", 11)
    assert of("responses", filled, model="m1", split="test") == [r.id for r in RESPONSES if r.model == "m1" and asked(r.id).split == "test"]
    assert of("responses", filled, text="rye") == [r.id for r in RESPONSES if "RYE" in r.text]
    in_a_ranking = {id for r in RANKINGS for id in r.response_ids}
    assert of("responses", filled, ranked="no") == [r.id for r in RESPONSES if r.id not in in_a_ranking]
    assert of("responses", filled, flagged="yes") == [f"rp{n:02}-0" for n in range(0, 16, 4)]
    assert of("rankings", filled) == [r.id for r in RANKINGS]
    assert of("comparisons", filled, labeler="ann") == [r.id for r in RANKINGS if len(r.ranks) == 2]
    assert of("rankings", filled, flagged="no", labeler="bo") == [r.id for r in RANKINGS if r.labeler == "bo"]
    said = {r.id: r.text for r in RESPONSES}
    assert of("rankings", filled, text="100% WHEAT") == [r.id for r in RANKINGS if any("100% WHEAT" in said[id] for id in r.response_ids)]
    assert of("rankings", filled, model="m2") == [r.id for r in RANKINGS if len(r.ranks) == 3]
    assert of("demonstrations", filled, text="written", split="test") == ["dp00", "dp05"]
    assert len(of("thumbs", filled, labeler="bo")) == 4


def test_a_row_shows_what_it_is_about(filled: Store) -> None:
    ranking = browse.page(filled, Filter("rankings"), size=2).rows[1]
    assert (ranking.id, ranking.prompt.id, ranking.by) == ("kp01", "p01", "bo")
    said = {r.id: r.text for r in RESPONSES}
    assert ranking.ranks == ((1, said["rp01-1"]), (1, said["rp01-2"]), (2, said["rp01-0"]))
    thumb = browse.page(filled, Filter("thumbs", text=RESPONSES[3].text)).rows
    assert [(row.prompt.id, row.up, row.text) for row in thumb] == [("p01", False, RESPONSES[3].text)]
    assert browse.page(filled, Filter("responses")).rows[0].by == "m0"


def test_what_was_removed_is_shown_only_when_asked_for(filled: Store) -> None:
    remove(filled, "p03", by="ann", why="a name", now=NOW)
    assert "p03" not in ids(filled, Filter())
    assert ids(filled, Filter(removed=True)) == ["p03"]
    assert of("rankings", filled, removed=True) == ["kp03"]


def test_a_flag_goes_with_the_ranking_that_was_corrected(filled: Store) -> None:
    flagged = {kind: ids(filled, Filter(kind=kind, flagged="yes")) for kind in ("prompts", "responses", "rankings")}
    assert flagged == {
        "prompts": ["p00", "p04", "p08", "p12"],
        "responses": ["rp00-0", "rp04-0", "rp08-0", "rp12-0"],
        "rankings": ["kp00", "kp04", "kp08", "kp12"],
    }
    with filled.write() as connection:
        withdrawals.withdraw(connection, "ranking", [("kp04", "corrected")], by="ann", now=NOW)
    assert ids(filled, Filter(flagged="yes")) == ["p00", "p08", "p12"]
    assert ids(filled, Filter(kind="responses", flagged="yes")) == ["rp00-0", "rp08-0", "rp12-0"]
    assert ids(filled, Filter(kind="rankings", flagged="yes", removed=True)) == ["kp04"]


def test_responses_are_removed_with_their_prompt(filled: Store) -> None:
    remove(filled, "p03", by="lead", why="", now=NOW)
    assert ids(filled, Filter(kind="responses")) == sorted(response.id for response in filled.responses())
    assert ids(filled, Filter(kind="responses", removed=True)) == ["rp03-0", "rp03-1", "rp03-2"]


def test_a_search_ends_in_time_says_so_and_goes_on_where_it_stopped(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "STRETCH", 4)
    wanted = [p.id for p in PROMPTS if "plain" in p.messages[0].content]
    found, after, early = list[str](), "", 0
    for _ in range(20):
        page = browse.page(filled, Filter(text="plain"), after=after, size=50, seconds=0.0)
        found, early, after = found + [row.id for row in page.rows], early + page.early, page.after
        assert page.early == bool(after)
        if not after:
            break
    assert found == wanted
    assert early == 6, "24 records in stretches of 4, and each page looked at one"


def test_a_page_reads_no_more_than_a_stretch_of_many_records(filled: Store) -> None:
    """The plan of the query, as the database tells it: it goes to the id by the index, and sorts nothing."""
    with filled.write() as connection:
        row = {"split": "train", "use_case": "", "user": "", "source": "", "extra": "{}", "key": ""}
        said = json.dumps([["user", "?"]])
        connection.execute(schema.prompts.insert(), [row | {"id": f"x{n:06}", "messages": said} for n in range(20_000)])
        if not filled.database.is_sqlite:
            connection.execute(text("ANALYZE prompts"))
    statements = list[tuple[str, Any]]()
    remember = lambda _c, _k, statement, parameters, *_: statements.append((statement, parameters))  # noqa: E731
    event.listen(filled.engine, "before_cursor_execute", remember)
    page = browse.page(filled, Filter(), after="x015000", size=10)
    event.remove(filled.engine, "before_cursor_execute", remember)
    assert [row.id for row in page.rows] == [f"x{15_001 + n:06}" for n in range(10)]
    explain = "EXPLAIN QUERY PLAN " if filled.database.is_sqlite else "EXPLAIN "
    with filled.read() as connection:
        for statement, parameters in statements[:2]:
            plan = " ".join(map(str, connection.exec_driver_sql(explain + statement, parameters)))
            assert "SORT" not in plan.upper(), plan
            assert "SCAN prompts" not in plan.replace("SCAN prompts USING COVERING INDEX", "")
            assert "Seq Scan on prompts" not in plan
            assert "TEMP B-TREE" not in plan


def test_values_of_filters_are_suggested(filled: Store) -> None:
    found = browse.suggestions(filled)
    assert found.sources == ["file0.jsonl", "file1.jsonl"]
    assert found.languages == ["en", "zh"]
    assert found.use_cases == ["chat", "qa"]
    assert found.labelers == ["ann", "bo"]
    assert found.models == ["m0", "m1", "m2"]
