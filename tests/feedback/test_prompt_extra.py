"""What comes with a prompt (its right answer, tests, a rubric) stays with it: in the database, snapshots, exports and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.commands.data.export import export
from accord.commands.data.import_ import import_
from accord.commands.data.redact import redact
from accord.errors import InputError, StoreError
from accord.feedback import codec, erasure
from accord.feedback.export import values
from accord.feedback.snapshot import read_snapshot, write_snapshot
from accord.feedback.spool import About, Spool
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt, RankedPrompt, Response, Thumb
from accord.runtime.project import Project

NOW = datetime(2026, 11, 30, tzinfo=UTC)
EXTRA = {"answer": "4", "tests": ["assert f(2) == 4", 1.5, None], "meta": {"b": True, "a": "é\u2028\0\x1a"}}
PROMPT = Prompt("p", (Message("user", "2+2?"),), user="ann", extra=EXTRA)


@pytest.mark.parametrize("how", ["add", "spool"])
def test_it_comes_back_from_the_database_however_the_prompt_is_read(store: Store, tmp_path: Path, how: str) -> None:
    bob = Labeler("bob", "person")
    demonstration, response = Demonstration("d", PROMPT, "Four.", "bob"), Response("r", "p", "4", "m")
    for _ in range(2):  # the same again adds nothing
        if how == "add":
            store.add(labelers=[bob], demonstrations=[demonstration], thumbs=[Thumb(PROMPT, response, up=True, labeler="bob")])
        else:
            with Spool(tmp_path) as spool:
                spool.add([bob, PROMPT, demonstration, response, Thumb(PROMPT, response, up=True, labeler="bob")])
                spool.store(store, About("rows", "", "accord", ""))
    assert [prompt.extra for prompt in store.prompts()] == [EXTRA]
    assert [demonstration.prompt.extra for demonstration in store.demonstrations()] == [EXTRA]
    assert [thumb.prompt.extra for thumb in store.thumbs()] == [EXTRA]


@pytest.mark.parametrize("extra", [{"at": NOW}, {"score": float("nan")}, {1: "one"}], ids=["a date", "no number", "a key that is no text"])
def test_what_json_cannot_hold_is_refused(store: Store, extra: Any) -> None:
    with pytest.raises(StoreError, match="p: extra"):
        store.add_prompts([Prompt("p", PROMPT.messages, extra=extra)])
    assert store.counts()["prompts"] == 0


def test_a_snapshot_keeps_it_and_one_without_it_is_written_as_ever(tmp_path: Path) -> None:
    plain = Prompt("q", PROMPT.messages)
    ranked = RankedPrompt(PROMPT, (Response("r", "p", "4", "m"), Response("s", "p", "5", "m")), (1, 2), "bob")
    for kind, rows in ((Prompt, [PROMPT, plain]), (RankedPrompt, [ranked])):
        digest = write_snapshot(rows, tmp_path / "rows.jsonl")
        assert read_snapshot(tmp_path / "rows.jsonl", kind, digest) == rows
    for record in (plain, Demonstration("d", plain, "Four.", "bob")):
        assert "extra" not in json.dumps(codec.encode(record))
    old = {"id": "q", "messages": [{"role": "user", "content": "2+2?"}], "use_case": "other", "user": "", "split": "train", "source": ""}
    assert codec.decode(Prompt, old) == plain


def test_an_export_is_imported_with_it_into_another_project(tmp_path: Path) -> None:
    first, second = accord.create(tmp_path / "first"), accord.create(tmp_path / "second")
    rows = [
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "extra": EXTRA | {"meta": {}}},
        {"prompt": "3+3?", "chosen": "6", "rejected": "5"},
    ]
    accord.add(first, rows)
    export(first, what="rankings", out=tmp_path / "rankings.jsonl")
    import_(second, tmp_path / "rankings.jsonl", quiet=True)
    with accord.store(first) as one, accord.store(second) as other:
        assert list(one.prompts()) == list(other.prompts())
        assert sorted(str(prompt.extra.get("answer")) for prompt in other.prompts()) == ["4", "None"]
        assert [line.get("extra", {}).get("answer") for line in values(other, "prompts")].count("4") == 1


def test_records_and_rows_bring_it_and_a_table_has_it_as_text(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "project")
    accord.add(project, [PROMPT])
    table = tmp_path / "rows.csv"
    table.write_text('prompt,extra\n3+3?,"{""answer"": ""6""}"\n4+4?,\n', encoding="utf-8")
    import_(project, table, quiet=True)
    with accord.store(project) as store:
        found = {prompt.messages[0].content: prompt.extra for prompt in store.prompts()}
    assert found == {"2+2?": EXTRA, "3+3?": {"answer": "6"}, "4+4?": {}}
    with pytest.raises(InputError, match="not a JSON object"):
        accord.add(project, [{"prompt": "5+5?", "extra": "ten"}])


def test_personal_data_in_it_is_erased_and_redacted(store: Store) -> None:
    mail = {"meta": {"from": "ann@example.org"}, "ids": ["ann@example.org", 7]}
    store.add_prompts([Prompt("p", PROMPT.messages, user="ann", extra=mail), Prompt("q", PROMPT.messages, user="ben", extra=mail)])
    erasure.forget(store, erasure.person(store, "ann"), by="lead", why="", now=NOW)
    erasure.rewrite(store, lambda text: text.replace("ann@example.org", "(mail)"), by="lead", why="", now=NOW)
    with store.read() as connection:
        kept = {row.id: row.extra for row in connection.exec_driver_sql("SELECT id, extra FROM prompts")}
    assert kept["p"] == "{}"
    assert json.loads(kept["q"]) == {"meta": {"from": "(mail)"}, "ids": ["(mail)", 7]}


def test_redact_finds_personal_data_in_it(tmp_path: Path) -> None:
    project: Project = accord.create(tmp_path / "project")
    accord.add(project, [{"prompt": "Who?", "extra": {"meta": {"mail": "ann@example.org"}}}])
    assert redact(project.path, mode="drop")["withdrawn"]["prompt"] == 1
