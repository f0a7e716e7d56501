"""`accord queue`: tasks out of the world's responses, of imported ones, and with known answers."""

from __future__ import annotations

import dataclasses
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from accord.commands.app import main
from accord.commands.feedback.label import label
from accord.commands.feedback.queue import queue
from accord.commands.world import world_of
from accord.data.importers import read
from accord.errors import InputError, UsageError
from accord.feedback import accounts, answers, schema, tasks
from accord.feedback.guidelines import reference
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import LabelConfig, WorldConfig
from accord.world import World, labelers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("davinci", "t0", "one", "two", "three", "four", "five", "six")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder like Self-Instruct's human evaluation: tasks of users, and the outputs of eight models, a file each."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    rows = [("Shorten this.", "A long text."), ("Write a poem.", ""), ("Say nothing.", "")]
    users = [{"id": f"u{n}", "motivation_app": "Mail", "instruction": i, "instances": [{"input": x}]} for n, (i, x) in enumerate(rows)]
    (folder / "user_oriented.jsonl").write_text("".join(json.dumps(row) + "\n" for row in users))
    for m, model in enumerate(MODELS):
        said = [{"prompt": f"{i}\n{x}", "instruction": f"{i}\n", "input": x, "response": " same" if n == 1 else "" if n == 2 else model}
                for n, (i, x) in enumerate(rows)]  # fmt: skip
        text = "".join(json.dumps(row) + "\n" for row in said).encode()
        (folder / f"{model}_predictions.jsonl{'.gz' if m % 2 else ''}").write_bytes(gzip.compress(text) if m % 2 else text)
    return folder


def add_outputs(project: Project, outputs: Path) -> None:
    found = read(outputs, "responses")
    with Store.open(project.store_url) as store:
        store.add(prompts=found.prompts, responses=found.responses)


def test_the_outputs_of_eight_models_become_tasks_of_eight(project: Project, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those that say nothing or the same: that, too, is what the models said."""
    main(["import", str(project.path), str(outputs), "--format", "responses", "--json"])
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["read"], metrics["kept"], metrics["prompts"], metrics["responses"]) == (24, 24, 3, 24)
    assert queue(project, kind="rank", k=8) == {"tasks": 3, "new": 3}
    assert queue(project, kind="rank", k=8) == {"tasks": 3, "new": 0}
    with Store.open(project.store_url) as store:
        assert {prompt.user for prompt in store.prompts()} == {"Mail"}
        assert {prompt.source for prompt in store.prompts()} == {"user_oriented.jsonl"}
        accounts.invite(store, "labeler", "Ann", by="lead", now=NOW)
        (ann,) = accounts.people(store)
        leased = tasks.next_task(store, ann.id, now=NOW, lease_seconds=60)
        assert leased
        assert {response.model for response in leased.task.responses} == set(MODELS)


def test_one_file_of_responses_is_told_by_its_fields(outputs: Path, tmp_path: Path) -> None:
    found = read(outputs / "davinci_predictions.jsonl")
    assert {response.model for response in found.responses} == {"davinci"}
    other = tmp_path / "rows.jsonl"
    other.write_text(json.dumps({"prompt": "Hi?", "response": "Yes.", "model": "ours"}) + "\n")
    (response,) = read(other).responses
    assert (response.model, response.text) == ("ours", "Yes.")


def test_a_folder_without_responses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "raw"}\n')
    with pytest.raises(InputError, match="no file in the folder holds responses"):
        read(tmp_path, "responses")


@pytest.mark.parametrize(
    ("kind", "count"), [("rank", 3), ("compare", 12), ("correct", 24), ("evaluate", 3), ("demonstrate", 3), ("conversation", 0)]
)
def test_every_kind_of_task(project: Project, outputs: Path, kind: Any, count: int) -> None:
    add_outputs(project, outputs)
    if not count:
        with pytest.raises(InputError, match="nothing to make"):
            queue(project, kind=kind)
    else:
        assert queue(project, kind=kind)["new"] == count


def test_known_answers_become_gold_and_nobody_sees_the_item_twice(project: Project, outputs: Path, tmp_path: Path) -> None:
    add_outputs(project, outputs)
    queue(project, kind="compare")
    with Store.open(project.store_url) as store, store.read() as connection:
        ids = [row.id for row in connection.exec_driver_sql("SELECT id FROM tasks ORDER BY place")]
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps({"task": ids[0], "expected": {"choice": "first"}}) + "\n")
    assert queue(project, gold=file) == {"tasks": 1, "new": 1, "closed": 1}
    assert queue(project, gold=file) == {"tasks": 1, "new": 0, "closed": 0}
    with Store.open(project.store_url) as store:
        accounts.invite(store, "labeler", "Ann", by="lead", now=NOW)
        (ann,) = accounts.people(store)
        seen = list[str]()
        while leased := tasks.next_task(store, ann.id, now=NOW, lease_seconds=60, gold_rate=0.5, kinds=["compare"]):
            seen.append(" ".join(sorted(response.id for response in leased.task.responses)))
            rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": reference("training"), "now": NOW}
            answers.submit(store, ann.id, leased.task.id, {"choice": "tie"}, **rest)
        assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"task": "t-none", "expected": {}}, "no task t-none"),
        ({"task": "ID", "expected": 1}, "not an object"),
        ({"task": "ID", "expected": {}}, "choice"),
    ],
)
def test_an_expected_answer_that_could_not_be_given_is_named(project: Project, outputs: Path, tmp_path: Path, row: Any, says: str) -> None:
    add_outputs(project, outputs)
    queue(project, kind="compare")
    with Store.open(project.store_url) as store, store.read() as connection:
        id = connection.exec_driver_sql("SELECT min(id) FROM tasks").scalar_one()
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps(row).replace("ID", id) + "\n")
    with pytest.raises(InputError, match=rf"gold\.jsonl:1.*{says}"):
        queue(project, gold=file)


WORLD = WorldConfig(seed=3, documents=10, prompts=30, demonstrations=4, users=10)


def town(path: Path) -> Project:
    project = Project.create(path, settings={"world": dataclasses.asdict(WORLD)})
    with Store.open(project.store_url) as store:
        store.add_prompts(World.generate(WORLD.seed, WORLD).prompts)
        texts = ("I do not know.", "It is made of wool.", "Go away!", "Yes, certainly.")
        prompts = sorted(store.prompts(), key=lambda prompt: prompt.id)
        store.add_responses(Response(f"{p.id}-{n}", p.id, text, "sft") for p in prompts for n, text in enumerate(texts))
    return project


def test_the_worlds_labelers_say_the_same_through_the_queue_and_directly(tmp_path: Path) -> None:
    """They are given the same pages, so what a model would learn from is the same to the byte."""
    direct, queued, config = town(tmp_path / "direct"), town(tmp_path / "queued"), LabelConfig(seed=1, overlap=0.5)
    label(direct, by="world", config=config)
    queue(queued, as_world=True, config=config)
    people = {person.record.id: person for person in labelers(world_of(queued))}
    with Store.open(queued.store_url) as store:
        for id, person in people.items():
            while leased := tasks.next_task(store, id, now=NOW, lease_seconds=60, seed=WORLD.seed):
                guideline = reference("training")
                said = person.rank(leased.task.prompt, leased.task.responses, guideline=guideline, at="", id="")
                assert said.response_ids == leased.order
                ratings = {r.response_id: {"quality": r.quality, "flags": r.flags} for r in said.ratings}
                payload = {"ranks": dict(zip(said.response_ids, said.ranks, strict=True)), "ratings": ratings}
                rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": guideline, "now": NOW}
                answers.submit(store, id, leased.task.id, payload, **rest)
        digest = write_snapshot(store.ranked_prompts(), tmp_path / "queued.jsonl")
    with Store.open(direct.store_url) as store:
        assert write_snapshot(store.ranked_prompts(), tmp_path / "direct.jsonl") == digest
        assert store.counts()["rankings"] >= 30


def answered(store: Store, who: str, payloads: Any) -> list[str]:
    """One labeler's answers to what comes next; the payload follows from what is shown."""
    said = list[str]()
    while leased := tasks.next_task(store, who, now=NOW, lease_seconds=60):
        rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": reference("training"), "now": NOW}
        answers.submit(store, who, leased.task.id, payloads(leased), **rest)
        said.append(leased.task.id)
    return said


def test_a_leads_answers_become_known_ones_as_they_were_exported(
    project: Project, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the order on the lead's page was, the expected choice is the response that the lead chose."""
    add_outputs(project, outputs)
    queue(project, kind="compare", split="train")
    with Store.open(project.store_url) as store:
        accounts.invite(store, "lead", "Lea", by="tests", now=NOW)
        (lead,) = accounts.people(store)
        done = answered(store, lead.id, lambda leased: {"choice": "first" if leased.order[0] < leased.order[1] else "second"})
        shown = {answer.task_id: answer.shown for answer in answers.every(store)}
    assert {order[0] < order[1] for order in shown.values()} == {True, False}, "both orders are tried"
    main(["export", str(project.path), "--what", "answers", "--out", str(tmp_path / "known.jsonl")])
    main(["queue", str(project.path), "--gold", str(tmp_path / "known.jsonl"), "--json"])
    assert json.loads(capsys.readouterr().out)["new"] == len(done) == 12
    main(["export", str(project.path), "--what", "tasks", "--out", str(tmp_path / "tasks.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    gold = [row["id"] for row in rows if row["purpose"] == "gold"]
    assert len(gold) == 12
    assert {row["taken"] for row in rows if row["id"] in done} == {1}
    with Store.open(project.store_url) as store, store.read() as connection:
        known = tasks.load_all(connection, set(gold))
        assert all(task.expected == {"choice": "first"} and task.responses[0].id < task.responses[1].id for task in known)


def test_pairs_that_are_ranked_already_are_not_queued_again(project: Project, outputs: Path) -> None:
    add_outputs(project, outputs)
    with Store.open(project.store_url) as store:
        prompt = next(iter(store.prompts()))
        ids = [response.id for response in store.responses() if response.prompt_id == prompt.id]
        store.add_labelers([Labeler("ann", "person")])
        given = Ranking("k", prompt.id, "ann", tuple(ids), tuple(range(1, len(ids) + 1)), Guideline("training", "v"), "")
        store.add_rankings([given])
    assert queue(project, kind="rank", k=8) == {"tasks": 2, "new": 2, "already_ranked": 1}
    assert queue(project, kind="compare")["already_ranked"] == 4
    assert queue(project, kind="evaluate", k=8) == {"tasks": 3, "new": 3}, "that is another guideline"
    assert queue(project, kind="rank", k=8, again=True) == {"tasks": 3, "new": 1}
    with Store.open(project.store_url) as store:
        others = [r for r in store.responses() if r.prompt_id != prompt.id]
        for asked in {r.prompt_id for r in others}:
            ids = [r.id for r in others if r.prompt_id == asked]
            ranks = tuple(range(1, len(ids) + 1))
            store.add_rankings([Ranking(f"k{asked}", asked, "ann", tuple(ids), ranks, Guideline("training", "v"), "")])
    with pytest.raises(InputError, match="all responses have been ranked: 3 rank tasks"):
        queue(project, kind="rank", k=8)


def test_a_dry_run_counts_and_adds_nothing_and_parts_can_be_left_out(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    prompt = Prompt("p1", (Message("user", "Which?"),))
    with Store.open(project.store_url) as store:
        store.add_prompts([prompt])
        store.add_responses([Response(f"r{n}", "p1", f"text {n}", "m") for n in range(4)])
    assert queue(project, k=4, dry_run=True) == {"tasks": 1, "new": 1}
    assert queue(project, k=4) == {"tasks": 1, "new": 1}, "the dry run added nothing"
    assert queue(project, k=4, dry_run=True) == {"tasks": 1, "new": 0}
    assert queue(project, k=4, without=("ratings", "flags")) == {"tasks": 1, "new": 1}, "the same responses once more, on one page"
    with Store.open(project.store_url) as store, store.read() as connection:
        assert sorted(connection.scalars(select(schema.tasks.c.without))) == ["", "flags ratings"]
    assert queue(project, kind="prompt", count=5, dry_run=True) == {"tasks": 5, "new": 5}
    with pytest.raises(UsageError, match="no flags or ratings"):
        queue(project, kind="demonstrate", without=("flags",))
    with pytest.raises(UsageError, match="no dry run"):
        queue(project, gold=tmp_path / "x", dry_run=True)
