"""What is exported is the same bytes wherever and whenever it is kept, and comes in again as what it was."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from accord.data.importers import read
from accord.errors import UsageError
from accord.feedback import accounts, answers, tasks
from accord.feedback.export import What, lines
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = Guideline("training", "v1")
PROMPTS = [Prompt(f"p-{name}", (Message("user", f"{name} é 中\u2028 <b>?"),), user=f"u{name}") for name in "aBcÉ"]
LABELERS = [Labeler("ann", "person", "g"), Labeler("bob", "person", "h")]
RESPONSES = [Response(f"{p.id}-{n}", p.id, f"Answer {n}\r\n\tto {p.id}\x07", "m") for p in PROMPTS for n in range(3)]
RANKINGS = [
    Ranking(f"k-{p.id}-{who}", p.id, who, tuple(f"{p.id}-{n}" for n in (2, 0, 1)), ranks, TRAINING, NOW.isoformat())
    for p in PROMPTS
    for who, ranks in (("ann", (1, 2, 2)), ("bob", (3, 1, 2)))
]
DEMONSTRATIONS = [Demonstration(f"d-{p.id}", p, f"For {p.id}", "ann") for p in PROMPTS]
EVERYTHING: dict[str, list[Any]] = {
    "prompts": PROMPTS,
    "labelers": LABELERS,
    "responses": RESPONSES,
    "rankings": RANKINGS,
    "demonstrations": DEMONSTRATIONS,
}


def fill(store: Store, seed: int) -> None:
    """Everything, in an order of its own."""
    rng = random.Random(seed)
    for kind in ("labelers", "prompts", "responses", "rankings", "demonstrations"):
        for record in rng.sample(EVERYTHING[kind], len(EVERYTHING[kind])):
            store.add(**{kind: [record]})


@pytest.mark.parametrize("what", get_args(What))
def test_the_same_content_gives_the_same_bytes_in_any_order_on_either_database(store: Store, tmp_path: Path, what: What) -> None:
    fill(store, 1)
    with Store.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        fill(other, 2)
        assert list(lines(store, what)) == list(lines(other, what))
    rows = [json.loads(line) for line in lines(store, what)]
    assert all("\n" not in line[:-1] for line in lines(store, what))
    counts = {"comparisons": 3 * len(RANKINGS), "answers": 0, "audit": 0}
    assert len(rows) == counts.get(what, len(EVERYTHING.get(what, ())))
    if what not in ("comparisons", "answers", "audit"):
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_rankings_are_imported_again_as_they_were(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    file = tmp_path / "rankings.jsonl"
    file.write_text("".join(lines(store, "rankings")), "utf-8")
    found = read(file)
    texts = {r.id: r.text for r in (*found.responses, *RESPONSES)}

    def said(rankings: list[Ranking]) -> list[Any]:
        return sorted((r.labeler, r.at, *zip([texts[id] for id in r.response_ids], r.ranks, strict=True)) for r in rankings)

    assert said(list(found.rankings)) == said(RANKINGS)
    assert {p.messages for p in found.prompts} == {p.messages for p in PROMPTS}
    assert sorted(found.labelers, key=lambda p: p.id) == LABELERS


def test_what_is_withdrawn_or_excluded_is_left_out(store: Store) -> None:
    fill(store, 1)
    accounts.exclude(store, "bob", by="lead", why="", now=NOW)
    assert {json.loads(line)["labeler"] for line in lines(store, "rankings")} == {"ann"}


def test_rows_are_read_as_they_are_taken(store: Store) -> None:
    fill(store, 1)
    taken = lines(store, "responses")
    assert json.loads(next(taken))["id"] == min(r.id for r in RESPONSES)


def test_what_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="songs"):
        lines(store, "songs")


def test_a_snapshot_does_not_depend_on_ids_times_or_the_order_of_adding(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    digest = write_snapshot(store.ranked_prompts(), tmp_path / "one.jsonl")
    with Store.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        other.add(prompts=PROMPTS[::-1], labelers=LABELERS[::-1], responses=RESPONSES[::-1])
        for n, r in enumerate(reversed(RANKINGS)):
            other.add_rankings([Ranking(f"other-{n}", r.prompt_id, r.labeler, r.response_ids, r.ranks, TRAINING, f"later {n}")])
        assert write_snapshot(other.ranked_prompts(), tmp_path / "two.jsonl") == digest


def test_answers_through_the_queue_give_the_snapshot_of_rankings_given_directly(store: Store, tmp_path: Path) -> None:
    store.add(prompts=PROMPTS, labelers=LABELERS, responses=RESPONSES)
    tasks.add(store, tasks.from_responses({p.id: p for p in PROMPTS}, RESPONSES, overlap=2))
    given = {(r.labeler, r.prompt_id): dict(zip(r.response_ids, r.ranks, strict=True)) for r in RANKINGS}
    direct = list[Ranking]()
    for who in ("bob", "ann"):
        while leased := tasks.next_task(store, who, now=NOW, lease_seconds=60, seed=5):
            ranks = given[who, leased.task.prompt.id]
            payload = {"ranks": {id: 10 * rank for id, rank in ranks.items()}, "ratings": {id: {"quality": 4} for id in ranks}}
            rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": TRAINING, "now": NOW}
            answers.submit(store, who, leased.task.id, payload, **rest)
            order = tasks.shown_order(5, who, leased.task)
            direct.append(Ranking(f"x{len(direct)}", leased.task.prompt.id, who, order, tuple(ranks[i] for i in order), TRAINING, ""))
    with Store.open(f"sqlite:///{tmp_path / 'direct.db'}") as other:
        other.add(prompts=PROMPTS, labelers=LABELERS, responses=RESPONSES, rankings=direct)
        assert write_snapshot(other.ranked_prompts(), tmp_path / "one.jsonl") == write_snapshot(
            store.ranked_prompts(), tmp_path / "two.jsonl"
        )
