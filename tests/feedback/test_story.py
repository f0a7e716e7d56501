"""The story of a record names its import, its answers with their revisions, the notes, the removals and the models; on either database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from accord.errors import StoreError
from accord.feedback import answers, doubts, schema, story, tasks
from accord.feedback.export import What, values
from accord.feedback.imports import remove
from accord.feedback.removals import models_of
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Response, Thumb
from accord.runtime import lineage
from accord.runtime.project import Project

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROMPT = Prompt("p1", (Message("user", "Which bread?"),), source="breads.jsonl")
OTHER = Prompt("p2", (Message("user", "Which cake?"),))
RESPONSES = tuple(Response(f"r{n}", "p1", f"bread {n}", "sft") for n in range(3))
RANKED: dict[str, Any] = {
    "ranks": {"r0": 2, "r1": 1, "r2": 2},
    "ratings": {"r0": {"quality": 3, "flags": ["hallucination"]}, "r1": {"quality": 7}, "r2": {"quality": 4}},
}


@pytest.fixture
def lived(store: Store) -> Store:
    """A prompt that was imported, ranked, ranked again, thought about, and liked."""
    store.add(labelers=[Labeler("ann", "person"), Labeler("bo", "person")], prompts=[OTHER])
    brought: dict[str, Any] = {
        "source": "breads.jsonl",
        "digest": "d",
        "format": "jsonl",
        "counts": "{}",
        "files": "[]",
        "undone": "",
        "why": "",
    }
    with store.write() as connection:
        connection.execute(insert(schema.imports).values(number=1, at=NOW.isoformat(), **brought))
        connection.execute(insert(schema.imports).values(number=2, at=NOW.isoformat(), **brought))
    tasks.add(store, [Task("t1", "rank", PROMPT, RESPONSES)])
    with store.write() as connection:
        connection.execute(update(schema.prompts).where(schema.prompts.c.id == "p1").values(imported=1))
        connection.execute(insert(schema.import_repeats).values(number=2, kind="prompt", record_id="p1"))
    rest: dict[str, Any] = {"seconds": 9.0, "guideline": Guideline("training", "v1"), "now": NOW}
    assert tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
    answers.submit(store, "ann", "t1", RANKED | {"reason": "crust"}, key="k1", revision=0, **rest)
    answers.submit(store, "ann", "t1", RANKED | {"reason": "crumb"}, key="k2", revision=1, **rest)
    doubts.ask(store, "ann", "t1", "Is cake bread?", now=NOW)
    store.add(
        demonstrations=[Demonstration("d1", PROMPT, "Rye.", "bo")],
        thumbs=[Thumb(PROMPT, RESPONSES[0], True, "bo")],
        responses=RESPONSES[:1],
    )
    return store


def test_a_story_tells_everything_of_a_prompt(lived: Store) -> None:
    told = story.told(lived, "p1")
    assert (told.kind, told.prompt.id, told.withdrawn) == ("prompt", "p1", None)
    assert told.imported
    assert (told.imported.number, told.imported.source, told.again) == (1, "breads.jsonl", [2])
    assert [(part.id, part.text, part.by) for part in told.responses] == [(r.id, r.text, "sft") for r in RESPONSES]
    assert [(part.text, part.by) for part in told.demonstrations] == [("Rye.", "bo")]
    assert [(part.text, part.by, part.up) for part in told.thumbs] == [("r0", "bo", True)]
    standing = [one for one in told.rankings if one.withdrawn is None]
    assert len(told.rankings) == 2
    assert sorted((item.rank, item.response, item.quality, item.flags) for item in standing[0].items) == [
        (1, "r1", 7, ()),
        (2, "r0", 3, ("hallucination",)),
        (2, "r2", 4, ()),
    ]
    assert [(given.revision, given.reason, given.withdrawn is None) for given in told.answers] == [(1, "crust", False), (2, "crumb", True)]
    assert [note.text for doubt in told.doubts for note in doubt.notes] == ["Is cake bread?"]
    assert [(task.id, task.open) for task in told.tasks] == [("t1", True)] or told.tasks[0].taken == 1
    assert told.of("r2") == "bread 2"
    assert story.told(lived, "p2").rankings == []


def test_a_response_is_told_with_its_prompt_and_a_removal_with_its_reason(lived: Store) -> None:
    remove(lived, "r2", by="ann", why="burnt", now=NOW)
    told = story.told(lived, "r2")
    assert (told.kind, told.id, told.prompt.id, told.ids) == ("response", "r2", "p1", {"response": ["r2"]})
    gone = next(part for part in told.responses if part.id == "r2").withdrawn
    assert gone
    assert (gone.why, gone.at) == ("burnt", NOW.isoformat())
    assert [(entry.who, entry.what, entry.on, entry.why) for entry in told.audit] == [("ann", "remove", "response r2", "burnt")]
    remove(lived, "p1", by="ann", why="", now=NOW)
    assert story.told(lived, "p1").withdrawn
    with pytest.raises(StoreError, match="has no prompt"):
        story.told(lived, "p99")


def test_two_records_of_one_id_are_told_apart_by_their_kind(lived: Store) -> None:
    with lived.write() as connection:
        connection.execute(update(schema.demonstrations).values(id="same"))
        connection.execute(update(schema.thumbs).values(id="same"))
    assert story.told(lived, "same").kind == "demonstration"
    assert story.told(lived, "same", kind="thumb").kind == "thumb"
    assert remove(lived, "same", kind="thumb", by="ann", why="", now=NOW) == {"thumb": ["same"]}
    assert story.told(lived, "same", kind="demonstration").demonstrations[0].withdrawn is None


def test_the_models_that_learned_from_a_record_are_found(lived: Store, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "bakery")
    digest = write_snapshot(lived.demonstrations(), project.path / "runs" / "sft" / "demonstrations.jsonl")
    for name, parents, data in (("sft", {}, {"demonstrations": digest}), ("ppo", {"sft": "x"}, {}), ("base", {}, {})):
        folder = project.path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        lineage.write(folder, stage=name, parents=parents, data=data, settings={}, metrics={})
    assert models_of(project, lived, {"demonstration": ["d1"]}) == {"sft": "learned from it", "ppo": "descends from sft"}
    assert models_of(project, lived, {"prompt": ["p1"]}) == {"sft": "learned from it", "ppo": "descends from sft"}
    assert models_of(project, lived, {"prompt": ["p2"]}) == {}
    assert models_of(project, lived, {"prompt": [*(f"q{n}" for n in range(60)), "p1"]}) != {}, "many are found without the short cut"


@pytest.mark.parametrize("what", ["prompts", "demonstrations", "responses", "rankings", "comparisons", "thumbs"])
def test_an_export_of_named_records_is_that_of_all_without_the_others(lived: Store, what: What) -> None:
    everything = list(values(lived, what))
    assert everything

    def named(ids: Sequence[str]) -> list[dict[str, object]]:
        return list(values(lived, what, ids=ids))

    table = schema.rankings if what == "comparisons" else getattr(schema, what)
    with lived.read() as connection:
        ids = list(connection.scalars(table.select().with_only_columns(table.c.id).order_by(table.c.id)))
    assert named(ids) == everything
    assert named([]) == []
    if what in ("prompts", "responses"):
        assert named(ids[:1]) == everything[:1]
