"""Marked passages and checked facts: queued, answered, exported, agreed upon, learned from, erased."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accord.commands.feedback.agreement import agreement
from accord.commands.feedback.queue import queue
from accord.commands.feedback.queue_known import queue_known
from accord.commands.train.process import marked
from accord.errors import InputError, StoreError, UsageError
from accord.feedback import answers, payloads, privacy, questions, tasks
from accord.feedback.criteria import ranked_by
from accord.feedback.export import values
from accord.feedback.facts import checks
from accord.feedback.queue import Fact
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import Guideline, Labeler, Message, Prompt, Response
from accord.runtime.project import Project
from accord.settings import AgreementConfig, ProcessConfig
from accord.settings.questions import Questions, usual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Guideline("training", "v")
SAID = "Rye keeps long. Wheat is from 𝟚 fields!"
DOCUMENT = "Rye bread keeps for ten days. Wheat is grown on one field."
SPANS = "marked_errors"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "p")
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"p{n}", (Message("user", f"Which bread, {n}?"),), split="train") for n in range(2)])
        store.add_responses([Response("r0", "p0", SAID, "sft"), Response("r1", "p1", "Rye.", "sft")])
        store.add_labelers([Labeler(who, "person") for who in ("ann", "bob")])
    return project


def answer(store: Store, who: str, payload: dict[str, Any], asked: Questions | None = None) -> Task:
    leased = tasks.next_task(store, who, now=NOW, lease_seconds=60)
    assert leased
    rest: dict[str, Any] = {"key": f"{who} {leased.task.id}", "revision": 0, "seconds": 1, "guideline": RULES, "now": NOW}
    answers.submit(store, who, leased.task.id, payload, **rest, questions=asked)
    return leased.task


def facts_of(project: Project, *rows: dict[str, Any]) -> Path:
    file = project.path.parent / "facts.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def test_a_claim_is_checked_by_two_people_and_exported_with_its_place(project: Project) -> None:
    row = {"response_id": "r0", "document": DOCUMENT, "title": "Baker", "claim": "Wheat is from 𝟚 fields"}
    file = facts_of(project, row, row)
    assert queue(project, kind="fact", facts=file, overlap=2, dry_run=True) == {"tasks": 1, "new": 1}
    assert queue(project, kind="fact", facts=file, overlap=2) == {"tasks": 1, "new": 1}
    assert queue(project, kind="fact", facts=file, overlap=2)["new"] == 0
    with Store.open(project.store_url) as store:
        task = answer(store, "ann", {"verdict": "contradicted", "reason": "one field"})
        assert task.fact == Fact("Wheat is from 𝟚 fields", 16, DOCUMENT, "Baker")
        answer(store, "bob", {"verdict": "contradicted"})
        first, second = sorted(checks(store), key=lambda check: check.labeler)
        assert SAID[first.start : first.end] == first.claim == "Wheat is from 𝟚 fields"
        assert (first.verdict, first.reason, first.labeler, second.labeler) == ("contradicted", "one field", "ann", "bob")
        exported = list(values(store, "facts"))
        assert [(row["claim"], row["verdict"], row["response"]) for row in exported] == [(first.claim, "contradicted", SAID)] * 2
        (listed,) = values(store, "tasks")
        assert listed["fact"]["document"] == DOCUMENT
        assert not list(store.rankings()), "a fact check orders nothing"


def test_every_sentence_is_a_claim_where_none_is_named_and_labelers_agree_claim_by_claim(project: Project) -> None:
    assert queue(project, kind="fact", facts=facts_of(project, {"response_id": "r0", "document": DOCUMENT}), overlap=2)["new"] == 2
    said = {"ann": ("supported", "contradicted"), "bob": ("supported", "absent")}
    with Store.open(project.store_url) as store:
        for who, verdicts in said.items():
            for verdict in verdicts:
                answer(store, who, {"verdict": verdict})
        assert sorted({(check.start, check.claim) for check in checks(store)}) == [(0, "Rye keeps long."), (16, "Wheat is from 𝟚 fields!")]
    (found,) = agreement(project, config=AgreementConfig(resamples=50))["questions"]
    # Krippendorff by hand: observed disagreement 1/2; of the 12 ordered pairs of the values s s c a, 10 differ.
    assert (found["name"], found["shared"], found["metrics"]["alpha"][0]) == ("fact", 2, pytest.approx(1 - 0.5 / (10 / 12)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"document": DOCUMENT}, "response_id"),
        ({"response_id": "r9", "document": DOCUMENT}, "the project has no response 'r9'"),
        ({"response_id": "r0"}, "document"),
        ({"response_id": "r0", "document": " "}, "1 to 20000"),
        ({"response_id": "r0", "document": "x" * 20_001}, "20001 characters"),
        ({"response_id": "r0", "document": DOCUMENT, "claim": "Rye keeps short."}, "does not say 'Rye keeps short.'"),
        ({"response_id": "r0", "document": DOCUMENT, "cliam": "Rye keeps long."}, "cliam"),
    ],
)
def test_a_row_that_checks_nothing_is_named_and_nothing_is_queued(project: Project, row: dict[str, Any], words: str) -> None:
    good = {"response_id": "r1", "document": DOCUMENT}
    with pytest.raises(InputError, match=r"facts\.jsonl:2") as caught:
        queue(project, kind="fact", facts=facts_of(project, good, row))
    assert words in str(caught.value)
    with Store.open(project.store_url) as store:
        assert not list(values(store, "tasks"))


def test_facts_belong_to_their_kind(project: Project) -> None:
    with pytest.raises(UsageError, match="needs claims and documents"):
        queue(project, kind="fact")
    with pytest.raises(UsageError, match="a rank task checks no facts"):
        queue(project, kind="rank", facts=facts_of(project, {}))
    asked, response = Prompt("p9", (Message("user", "?"),)), Response("r9", "p9", SAID, "sft")
    with pytest.raises(StoreError, match="a mark task has no claim"):
        Task("t", "mark", asked, (response,), fact=Fact("Rye", 0, DOCUMENT))
    with Store.open(project.store_url) as store, pytest.raises(StoreError, match="no claim"):
        tasks.add(store, [Task("t", "fact", asked, (response,))])


def test_a_gold_fact_is_known_by_its_claim(project: Project, tmp_path: Path) -> None:
    queue(project, kind="fact", facts=facts_of(project, {"response_id": "r0", "document": DOCUMENT}))
    with Store.open(project.store_url) as store:
        ids = [row["id"] for row in values(store, "tasks")]
    file = tmp_path / "gold.jsonl"
    file.write_text("".join(f"{json.dumps({'task': id, 'expected': {'verdict': 'supported'}})}\n" for id in ids), "utf-8")
    assert queue_known(project, file, "gold") == {"tasks": 2, "new": 2, "closed": 2}


def test_erasing_the_prompt_erases_claim_and_document(project: Project) -> None:
    queue(project, kind="fact", facts=facts_of(project, {"response_id": "r0", "document": "unforgettable"}))
    with Store.open(project.store_url) as store:
        leased = answer(store, "ann", {"verdict": "absent"})
        with store.write() as connection:
            privacy.erase_unused_prompts(connection, [], by="lead", now=NOW)
            privacy._erase_prompts(connection, [leased.prompt.id], "lead", NOW)  # pyright: ignore[reportPrivateUsage]
        assert list(checks(store)) == []
        assert [row.get("fact") for row in values(store, "tasks")] == [None, None]
        privacy.clear_log(store)
    assert b"unforgettable" not in (project.path / "feedback.db").read_bytes()


def test_marks_are_spans_of_the_usual_question_and_train_a_process_reward(project: Project) -> None:
    assert queue(project, kind="mark") == {"tasks": 2, "new": 2}
    wrong = {"start": 16, "end": 39, "kind": "wrong"}
    with Store.open(project.store_url) as store:
        questions.keep(store, usual(), now=NOW)
        for _ in range(2):
            leased = tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
            assert leased
            id = leased.task.responses[0].id
            answer(store, "ann", {"answers": {"responses": {id: {SPANS: [wrong] if id == "r0" else []}}}})
    by_response = {row.response.id: row.spans for row in marked(project, ProcessConfig())}
    assert by_response == {"r0": ((16, 39),), "r1": ()}, "a response without marks was read all the same"
    assert {row.response.id: row.spans for row in marked(project, ProcessConfig(errors="irrelevant"))} == {"r0": (), "r1": ()}
    with Store.open(project.store_url) as store:
        assert sorted((row["target"], row["value"]) for row in values(store, "questions")) == [("r0", [wrong]), ("r1", [])]


def test_an_answer_marks_or_says_that_there_is_nothing() -> None:
    task = Task("t", "mark", Prompt("p", (Message("user", "?"),)), (Response("r", "p", SAID, "sft"),))
    with pytest.raises(Refused, match="must be answered"):
        payloads.clean(task, {})
    assert payloads.clean(task, {"answers": {"responses": {"r": {SPANS: []}}}})["answers"] == {"responses": {"r": {SPANS: []}}}
    with pytest.raises(Refused, match="not in the text"):
        payloads.clean(task, {"answers": {"responses": {"r": {SPANS: [{"start": 0, "end": 40, "kind": "wrong"}]}}}})
    with pytest.raises(Refused, match="does not fit"):
        payloads.clean(task, {"verdict": "supported"})


def test_a_projects_own_question_for_passages_takes_the_place_of_the_usual_one() -> None:
    own = {"slips": {"kind": "spans", "tasks": ["mark"], "options": ["typo"], "text": "Mark every slip."}}
    found = questions.load({"sets": [], **own})
    assert [each.name for each in found.asked("mark", "response")] == ["slips"]
    elsewhere = questions.load({"sets": [], "slips": own["slips"] | {"tasks": ["rank"]}})
    assert [each.name for each in elsewhere.asked("mark", "response")] == [SPANS]
    assert [each.name for each in elsewhere.asked("rank", "response")] == ["slips"]


@pytest.mark.parametrize("payload", [{}, {"verdict": "true"}, {"verdict": True}, {"verdict": ["supported"]}])
def test_a_fact_check_needs_one_of_three_verdicts(payload: dict[str, Any]) -> None:
    asked, response = Prompt("p", (Message("user", "?"),)), Response("r", "p", SAID, "sft")
    with pytest.raises(Refused, match="supported, contradicted, absent"):
        payloads.clean(Task("t", "fact", asked, (response,), fact=Fact("Rye", 0, DOCUMENT)), payload)


def test_checked_facts_order_responses_for_the_truthful_criterion(project: Project) -> None:
    """A contradicted claim puts a response below a supported one; a claim that labelers are split on, or that is absent, tells nothing."""
    said = {"r0": "Rye keeps.", "r2": "Rye rots.", "r3": "Rye sings.", "r4": "Rye is old."}
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt("q", (Message("user", "What of rye?"),), split="train")])
        store.add_labelers([Labeler("zoe", "person", "late")])
        store.add_responses([Response(f"q{id}", "q", text, "sft") for id, text in said.items()])
    rows = [{"response_id": f"q{id}", "document": DOCUMENT} for id in said]
    assert queue(project, kind="fact", facts=facts_of(project, *rows), overlap=3)["new"] == 4
    verdicts = {
        "Rye keeps.": {"ann": "supported", "bob": "supported", "zoe": "contradicted"},
        "Rye rots.": {"ann": "contradicted", "bob": "absent", "zoe": "supported"},
        "Rye sings.": {"ann": "absent", "bob": "contradicted", "zoe": "absent"},
        "Rye is old.": {"ann": "contradicted", "bob": "contradicted", "zoe": "absent"},
    }
    with Store.open(project.store_url) as store:
        for who in ("ann", "bob", "zoe"):
            for _ in said:
                leased = tasks.next_task(store, who, now=NOW, lease_seconds=60)
                assert leased
                assert leased.task.fact
                rest: dict[str, Any] = {"key": f"{who} {leased.task.id}", "revision": 0, "seconds": 1, "guideline": RULES, "now": NOW}
                answers.submit(store, who, leased.task.id, {"verdict": verdicts[leased.task.fact.claim][who]}, **rest)
        found = list(ranked_by(store, "truthful", usual()))
        assert list(ranked_by(store, "harmless", usual())) == []
    both, late = sorted(found, key=lambda row: row.group)
    # Ann and bob are split on "rots" and "sings", so only "keeps" and "is old" are told apart.
    assert {response.id: rank for response, rank in zip(both.responses, both.ranks, strict=True)} == {"qr0": 1, "qr4": 2}
    assert (both.labeler, both.group) == ("ann", "")
    assert {response.id: rank for response, rank in zip(late.responses, late.ranks, strict=True)} == {"qr0": 2, "qr2": 1}
    assert (late.labeler, late.group) == ("zoe", "late")
