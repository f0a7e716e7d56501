"""Complete erasure: a word is planted in every place that can hold a person's words, and after `accord forget` it stands nowhere."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, Text, select

from accord import Project, Store
from accord.commands.app import main
from accord.commands.data.forget import forget
from accord.commands.data.import_ import import_
from accord.feedback import (
    accounts,
    answers,
    app_feedback,
    app_requests,
    chats,
    consents,
    documents,
    doubts,
    outbox,
    queue,
    reactions,
    review,
    schema,
    tasks,
    transcripts,
    written,
)
from accord.feedback.app_requests import Said
from accord.feedback.apps import App
from accord.feedback.media import keep_beside
from accord.feedback.places import COLUMNS, NOBODYS
from accord.feedback.queue import Kind
from accord.feedback.snapshot import write_snapshot
from accord.records import Guideline, MediaFile, Message, Prompt, Response, Sampling, composed
from accord.runtime import jobs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = "zqcanary"
WAV = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\1"
SOUND = {"data": base64.b64encode(WAV).decode(), "format": "wav"}
GUIDELINE = Guideline("training", "v1")


def words(where: str) -> str:
    """Return a text that names the place it was planted in."""
    return f"A text of some length about {CANARY}-{where}, planted here."


def screen(_: str) -> list[Any]:
    return []


def planted(content: bytes) -> set[str]:
    """Return the places named by canaries in a file or a cell."""
    marks = content.split(f"{CANARY}-".encode())[1:]
    return {mark.split(b",")[0].split(b'"')[0].decode(errors="replace")[:40] for mark in marks}


def cells(store: Store) -> Iterator[tuple[str, bytes]]:
    """Yield each column of text with what stands in it."""
    with store.read() as connection:
        for table in schema.metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                for column in table.columns:
                    yield f"{table.name}.{column.name}", str(row[column.name]).encode()


def labels(store: Store, eve: str) -> None:
    """Eve answers a task of each kind, asks about one, and leaves a draft."""
    prompt = Prompt("shared", (Message("user", "Name a colour of the sky."),), user="somebody")
    shown = (Response("s0", "shared", "Blue.", "m"), Response("s1", "shared", "Green.", "m"))
    brief = written.brief("user-based", "to plan a garden")
    kinds: dict[Kind, tuple[Any, dict[str, Any]]] = {
        "rank": (shown, {"ranks": {"s0": 1, "s1": 2}, "ratings": {"s0": {"quality": 5}, "s1": {"quality": 2}}, "reason": words("reason")}),
        "compare": (shown, {"choice": "first", "reason": words("compare-reason")}),
        "demonstrate": ((), {"text": words("demonstration")}),
        "correct": (shown[:1], {"text": words("correction"), "reason": words("why-corrected")}),
        "prompt": ((), {"text": words("written-prompt")}),
    }
    made = [
        queue.Task(f"t-{kind}", kind, brief if kind == "prompt" else prompt, given, reserved_for=eve) for kind, (given, _) in kinds.items()
    ]
    queue.add(store, [*made, queue.Task("t-draft", "demonstrate", prompt, reserved_for=eve)])
    while leased := tasks.next_task(store, eve, now=NOW, lease_seconds=3600):
        kind = leased.task.id.removeprefix("t-")
        if kind == "draft":
            doubts.ask(store, eve, leased.task.id, words("doubt"), now=NOW)
            answers.draft(store, eve, leased.task.id, {"text": words("draft")}, now=NOW)
            break
        answers.submit(
            store, eve, leased.task.id, kinds[leased.task.kind][1], key=kind, revision=0, seconds=1.0, guideline=GUIDELINE, now=NOW
        )


def talks(store: Store, eve: str) -> None:
    """Eve chats, reacts in every way, and a lead accepts all of it."""
    consents.answer(store, eve, True, now=NOW)
    picture = MediaFile("image", "image/png", words("picture").encode())
    shown = composed("user", [words("chat"), picture.named(words("alt"))])
    asked = chats.begin(store, eve, shown.content, system=words("system"), key="1", now=NOW, media=shown.media, files=[picture])
    added = documents.Read(words("document-name"), words("document"), 0, 0)
    documents.add(store, eve, asked.conversation, [added], most=8, now=NOW)
    spoken: dict[str, Any] = {"model": "m", "digest": "0" * 12, "sampling": Sampling(), "seed": 0, "finish": "stop", "now": NOW}
    one, two = (chats.answer(store, asked, words(f"answer-{n}"), id=f"a-{n}", **spoken) for n in "12")
    reactions.react(store, eve, "thumb", one.id, {"up": False, "reasons": [], "note": words("thumb-note")}, now=NOW)
    reactions.react(store, eve, "choice", one.id, {"choice": "first"}, other=two.id, now=NOW)
    reactions.react(store, eve, "correction", one.id, {"text": words("chat-correction")}, now=NOW)
    reactions.react(store, eve, "report", two.id, {"note": words("report-note")}, now=NOW)
    for item in review.waiting(store, screen):
        review.accept(store, item.reaction.id, by="lead", screen=screen, now=NOW)


def imports(project: Project, eve: str, tmp_path: Path) -> None:
    """Eve's rows come in from files, good and bad ones."""
    rows = [
        {"prompt": words("imported"), "response": words("imported-response"), "user": eve, "topic": words("extra")},
        {"prompt": "", "response": words("rejected"), "user": eve},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_(project.path, tmp_path / "rows.jsonl", keep_extra=True, skip_bad=True)
    sound = {"type": "input_audio", "input_audio": SOUND, "transcript": words("transcript")}
    (tmp_path / "spoken.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": [sound]}], "user": eve}) + "\n")
    import_(project.path, tmp_path / "spoken.jsonl")
    with Store.open(project.store_url) as store:
        spoken = next(medium for prompt in store.prompts() for turn in prompt.messages for medium in turn.media if medium.kind == "audio")
        transcripts.correct(store, spoken.digest, words("corrected"), seen=spoken.alt, by=eve, now=NOW)


def claim(store: Store, eve: str) -> None:
    """A claim of an answer to Eve waits to be checked against a document."""
    asked = Prompt("claimed", (Message("user", words("claim-asked")),), user=eve)
    answer = Response("claiming", "claimed", words("claim-answer"), "m")
    queue.add(store, [queue.Task("t-fact", "fact", asked, (answer,), fact=queue.Fact(words("claim"), 0, words("claim-document")))])


def runs(project: Project, store: Store, *quoted: str) -> None:
    """A model learned from it all; its run keeps copies, and judges and rollouts have quoted them."""
    folder = project.path / "runs" / "sft"
    folder.mkdir(parents=True)
    for name, records in (("demonstrations", store.demonstrations()), ("rankings", store.ranked_prompts()), ("prompts", store.prompts())):
        write_snapshot(records, folder / f"{name}.jsonl")
        keep_beside(store, folder / f"{name}.jsonl")
    lines = [{"prompt": prompt.messages[-1].content, "response": "no"} for prompt in store.prompts()]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "log.txt").write_text("begun\n")
    told = f"It says: {' and '.join(map(words, quoted))}"
    job = json.dumps({"arguments": ["export", "--search", told], "queue": "data", "at": "2026-01-01T00:00:00Z"}, indent=2)
    for name in ("advice/judged/1.json", "advice/kept/1.json"):
        written_to(project.path / name, json.dumps({"said": told}))
    written_to(project.path / "jobs/001/job.json", job)
    written_to(project.path / "jobs/001/log.txt", f"begun\n{told}\nended\n")
    written_to(project.path / "jobs/001/output.txt", json.dumps({"rows": [told]}) + "\n")
    written_to(project.path / "jobs/001/end.json", json.dumps({"exit": 0}))
    written_to(project.path / "uploads/0123456789abcdef/rows.csv", f"prompt,response\n{told},no\n")


def written_to(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def project(tmp_path: Path, url: str) -> Project:
    return Project.create(tmp_path / "project", settings={"store": {"url": url}})


def test_nothing_is_left_of_a_labeler_who_chats_and_is_imported(project: Project, tmp_path: Path) -> None:
    with Store.open(project.store_url) as store:
        accounts.redeem(store, accounts.invite(store, "labeler", words("account"), by="lead", now=NOW), now=NOW)
        eve = next(person.id for person in accounts.people(store))
        accounts.change_profile(store, eve, lambda profile: {"language": words("profile")})
        labels(store, eve)
        talks(store, eve)
    imports(project, eve, tmp_path)
    with Store.open(project.store_url) as store:
        claim(store, eve)
        runs(project, store, "imported", "demonstration")
        before = [(where, place) for where, content in cells(store) for place in planted(content)]
        found = {where for where, _ in before}
        forget(project.path, user=eve)
        after = [(where, place) for where, content in cells(store) for place in planted(content)]
    assert after == []
    left = {str(path.relative_to(project.path)): planted(path.read_bytes()) for path in project.path.rglob("*") if path.is_file()}
    assert {name: places for name, places in left.items() if places} == {}
    assert found == set(COLUMNS)
    job = jobs.read(project, 1)
    assert (job.state, job.command, job.log().split()) == ("done", "export", ["begun", "(erased)", "ended"])
    assert not (project.path / "uploads/0123456789abcdef/rows.csv").exists()


APP = App("shop", terms="We learn from what you write.")


def test_nothing_is_left_of_the_user_of_an_app(project: Project) -> None:
    said = Said(words("app-answer"), model="m")
    with Store.open(project.store_url) as store:
        with store.write() as connection:
            outbox.subscribe(connection, "shop", "https://example.org/hook", ["review.needed"], now=NOW)
            asked = [Message("system", words("app-system")), Message("user", words("app-asked"))]
            app_requests.keep(connection, APP, "eve", "r-1", asked, [said], kind="answered", now=NOW)
            told = app_feedback.Feedback("r-1", user="eve", thumb=False, correction=words("app-correction"), comment=words("app-comment"))
            app_feedback.take(connection, APP, told, now=NOW)
            sent = app_feedback.Sent([Message("user", words("app-sent"))], user="eve", comment=words("app-remark"))
            app_feedback.compare(connection, APP, sent, [said, Said(words("app-other"))], "first", now=NOW)
            app_feedback.demonstrate(connection, APP, sent, words("app-demonstration"), now=NOW)
            app_feedback.ask(connection, APP, sent, now=NOW)
        accepted = [review.accept(store, item.reaction.id, by="lead", screen=screen, now=NOW) for item in review.waiting(store, screen)]
        assert {kind for made in accepted for kind, _ in made} >= {"prompt", "response", "demonstration", "ranking", "thumb"}
        runs(project, store, "app-asked", "app-demonstration")
        assert any(planted(content) for _, content in cells(store))
        forget(project.path, user="eve", app="shop")
        assert [(where, place) for where, content in cells(store) for place in planted(content)] == []
    left = {str(path.relative_to(project.path)): planted(path.read_bytes()) for path in project.path.rglob("*") if path.is_file()}
    assert {name: places for name, places in left.items() if places} == {}


def test_a_reader_that_holds_the_write_ahead_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "project")
    prompt = Prompt("a", (Message("user", words("held")),), user="eve")
    with Store.open(project.store_url) as store:
        store.add(prompts=[prompt])
        with store.read() as reader:
            reader.execute(select(schema.prompts)).all()
            assert forget(project.path, user="eve")["log_cleared"] is False
            assert planted((project.path / "feedback.db-wal").read_bytes()) == {"held"}
            store.add(prompts=[dataclasses.replace(prompt, id="b")])
        main(["forget", str(project.path), "--user", "eve"])
        assert "feedback.db-wal" not in capsys.readouterr().out.replace("\n", "")
        assert all(not planted(path.read_bytes()) for path in project.path.rglob("*") if path.is_file())


def test_every_column_of_text_stands_in_the_register() -> None:
    texts = {
        f"{table.name}.{column.name}"
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, (Text, schema.FreeText, LargeBinary))
    }
    assert texts == set(COLUMNS) | set(NOBODYS)
    assert not set(COLUMNS) & set(NOBODYS)
