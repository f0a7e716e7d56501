"""Records that are noted down first go into either database at once, once, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.errors import StoreError
from accord.feedback.spool import Spool
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Thumb

ANN = Labeler("ann", "person", "g")
PROMPTS = [Prompt(f"p{n}", (Message("user", f"Question {n} 中\u2028?"),)) for n in range(4500)]
RESPONSES = [Response(f"r{n}{m}", f"p{n}", f"Answer {m}", "m") for n in range(100) for m in range(2)]
RANKINGS = [Ranking(f"k{n}", f"p{n}", "ann", (f"r{n}0", f"r{n}1"), (1, 2), Guideline("training", "v"), "") for n in range(100)]
THUMBS = [Thumb(PROMPTS[n], RESPONSES[2 * n], n % 2 == 0, "ann", "g") for n in range(10)]
RECORDS: list[Any] = [*RANKINGS, *THUMBS, *RESPONSES, *PROMPTS, *PROMPTS[:10], ANN, Demonstration("d", PROMPTS[0], "So.", "ann"), ANN]
ADDED = {"labelers": 1, "prompts": 4500, "demonstrations": 1, "responses": 200, "rankings": 100, "thumbs": 10}


def put(store: Store, folder: Path, records: list[Any], before_commit: Any = lambda: None) -> dict[str, int]:
    folder.mkdir()
    with Spool(folder) as spool:
        spool.add(records)
        return spool.store(store, before_commit=before_commit)


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
        put(store, tmp_path / "fourth", RECORDS, before_commit=lambda: 1 // 0)
    assert store.counts() == before
