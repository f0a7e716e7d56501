"""Thumbs out of rankings: by ratings, by ranks, and what gives none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.snapshot import read_snapshot, write_snapshot
from accord.feedback.store import Store
from accord.feedback.thumbs import Source, by_rank, by_rating, thumbs
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Rating, Response, Thumb

GUIDELINE = Guideline("training", "1")


def ranking(ranks: list[int], qualities: list[int] | None = None, id: str = "k") -> Ranking:
    ids = tuple(f"r{i}" for i in range(len(ranks)))
    ratings = tuple(Rating(one, quality) for one, quality in zip(ids, qualities or [], strict=False))
    return Ranking(id, "p", "ann", ids, tuple(ranks), GUIDELINE, "2025-01-01T00:00:00Z", ratings)


def test_ratings_at_the_bounds() -> None:
    found = by_rating(ranking([1, 2, 3, 4, 5], [7, 5, 4, 3, 1]), 5, 3)
    assert found == {"r0": True, "r1": True, "r2": None, "r3": False, "r4": False}


def test_the_middle_of_a_ranking_and_ties_give_no_thumb() -> None:
    assert list(by_rank(ranking([2, 1, 3])).values()) == [None, True, False]
    assert list(by_rank(ranking([1, 1, 1])).values()) == [None] * 3
    assert list(by_rank(ranking([1, 1, 2])).values()) == [True, True, False]
    assert list(by_rank(ranking([1, 2, 2, 2])).values()) == [True, False, False, False]


@given(st.lists(st.integers(1, 6), min_size=2, max_size=9))
def test_turning_a_ranking_round_turns_every_thumb(ranks: list[int]) -> None:
    there, back = by_rank(ranking(ranks)), by_rank(ranking([7 - rank for rank in ranks]))
    assert {id: None if up is None else not up for id, up in there.items()} == back
    best = [id for id, rank in zip(there, ranks, strict=True) if rank == min(ranks)]
    assert {there[id] for id in best} == {None if len(set(ranks)) == 1 else True}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ratings", {("r0", False), ("r1", True)}),
        ("ranks", {("r0", True), ("r2", False)}),
        ("auto", {("r0", False), ("r1", True), ("r2", False)}),
    ],
)
def test_auto_takes_the_rating_where_there_is_one_and_else_the_rank(
    source: Source, expected: set[tuple[str, bool]], tmp_path: Path
) -> None:
    prompt = Prompt("p", (Message("user", "Where?"),))
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.add(
            prompts=[prompt],
            labelers=[Labeler("ann", "person", "one")],
            responses=[Response(f"r{i}", "p", f"There {i}.", "m", (5, i, 1)) for i in range(3)],
            rankings=[ranking([1, 2, 3], [2, 6])],
        )
        found = list(thumbs(store, source, good=5, bad=3))
    assert {(thumb.response.id, thumb.up) for thumb in found} == expected
    assert {(thumb.prompt, thumb.labeler, thumb.group) for thumb in found} == {(prompt, "ann", "one")}
    digest = write_snapshot(found, tmp_path / "thumbs.jsonl")
    assert sorted(read_snapshot(tmp_path / "thumbs.jsonl", Thumb, digest), key=str) == sorted(found, key=str)
