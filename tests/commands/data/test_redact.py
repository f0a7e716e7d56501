"""`accord redact`: personal data of a project and of files is reviewed, replaced, or dropped with what holds it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asked import MAIL, prompts_of
from name_models import known_names
from sqlalchemy import insert, select

from accord.commands.app import main
from accord.commands.data.redact import redact
from accord.errors import UsageError
from accord.feedback import doubts, schema, tasks
from accord.feedback.audit import entries
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import Labeler, Message, Prompt
from accord.runtime.project import Project


def test_personal_data_of_a_project_is_reviewed_then_replaced(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    metrics = redact(project.path, out=out)
    assert metrics["kinds"] == {"email": 1, "phone": 1, "name": 2}
    assert metrics["where"] == {"prompt": 2, "response": 1, "demonstration": 1}
    assert {json.loads(line)["text"] for line in out.read_text().splitlines()} >= {"susan.clark@example.org", "Susan Clark"}
    assert redact(project.path, mode="replace", kinds=("email", "phone"))["changed"]["responses"] == 1
    with Store.open(project.store_url) as store:
        assert {p.id: p for p in store.prompts()}["c"].messages[0].content == MAIL.replace("susan.clark@example.org", "[EMAIL_1]")
        assert next(store.responses()).text == "Call [PHONE_1]."
        assert "redact" in [entry.what for entry in entries(store)]
    assert redact(project.path, mode="drop")["withdrawn"] == {"prompt": 1, "demonstration": 1, "ranking": 0}
    assert "c" not in prompts_of(project)


def test_rankings_of_responses_with_personal_data_are_left_out(project: Project) -> None:
    withdrawn = redact(project.path, mode="drop", kinds=("phone",))["withdrawn"]
    assert withdrawn == {"prompt": 0, "demonstration": 0, "ranking": 1}
    with Store.open(project.store_url) as store:
        assert list(store.rankings()) == []


def test_runs_with_copies_of_the_prompts_are_named(project: Project) -> None:
    project.run("reward").mkdir()
    for name in ("rankings.jsonl", "metrics.jsonl"):
        (project.run("reward") / name).write_text("{}\n")
    project.run("pretrain").mkdir()
    (project.run("pretrain") / "metrics.jsonl").write_text("{}\n")
    assert redact(project.path)["runs_with_copies"] == ["reward"]


def test_personal_data_of_files(tmp_path: Path) -> None:
    rows, text, out = tmp_path / "rows.jsonl", tmp_path / "text.txt", tmp_path / "out.jsonl"
    kept: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello, 你好"}], "n": 1}
    rows.write_text(json.dumps({"prompt": MAIL, "user": "x"}) + "\n" + json.dumps(kept) + "\n")
    text.write_text("Mail jo@example.org\nnothing\n")
    assert redact(rows, mode="replace", out=out)["findings"] == 2
    first, second = map(json.loads, out.read_text("utf-8").splitlines())
    assert (first["prompt"], first["user"]) == (
        MAIL.replace("Susan Clark", "[NAME_1]").replace("susan.clark@example.org", "[EMAIL_1]"),
        "x",
    )
    assert second == kept
    assert redact(rows, mode="drop", out=out)["dropped"] == 1
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [kept]
    redact(text, mode="replace", out=out)
    assert out.read_text() == "Mail [EMAIL_1]\nnothing\n"
    redact(text, out=out)
    assert json.loads(out.read_text())["where"] == "text.txt", "a review writes the findings"
    with pytest.raises(UsageError, match="--out"):
        redact(text, mode="drop")


def test_kinds_are_given_one_by_one(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["redact", str(project.path), "--kinds", "email", "--kinds", "phone", "--json"])
    assert json.loads(capsys.readouterr().out)["kinds"] == {"email": 1, "phone": 1}


def test_notes_on_doubts_and_the_rules_made_of_them_are_rewritten(project: Project) -> None:
    now, secret = datetime(2026, 1, 1, tzinfo=UTC), "Ask jo.park@example.org."
    with Store.open(project.store_url) as store:
        store.add_labelers([Labeler("lou", "person")])
        tasks.add(store, [Task("t", "demonstrate", next(iter(store.prompts())))])
        assert tasks.next_task(store, "lou", now=now, lease_seconds=60)
        doubt = doubts.ask(store, "lou", "t", secret, now=now)
        with store.write() as connection:
            rule = {"set": "training", "version": "v", "doubt": doubt, "rule": secret, "by": "lead", "at": now.isoformat()}
            connection.execute(insert(schema.guideline_rules).values(rule))
    changed = redact(project.path, mode="replace", kinds=("email",))["changed"]
    assert (changed["doubt_notes"], changed["guideline_rules"]) == (1, 1)
    with Store.open(project.store_url) as store, store.read() as connection:
        for column in (schema.doubt_notes.c.text, schema.guideline_rules.c.rule):
            assert connection.scalar(select(column)) == "Ask [EMAIL_1]."


def test_a_model_that_finds_names_is_named_in_accord_toml_or_by_a_flag(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known_names(project.path / "names")
    with Store.open(project.store_url) as store:
        store.add(prompts=[Prompt("n", (Message("user", "bob works with ada lovelace ."),), user="u")])
    before = redact(project.path, by="rules")["kinds"]["name"]
    by_flag = redact(project.path, by="folder:names")
    assert by_flag["kinds"]["name"] == before + 2
    assert by_flag["measured_by"]["findings"]["card"] == "personal folder:names"
    settings = project.path / "accord.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[classifiers]\npersonal = "folder:names"\n', "utf-8")
    main(["redact", str(project.path)])
    assert "never measured; run `accord classifiers PROJECT --task personal`" in capsys.readouterr().out
    redact(project.path, mode="replace")
    with Store.open(project.store_url) as store:
        assert {p.id: p for p in store.prompts()}["n"].messages[0].content == "[NAME_1] works with [NAME_2] ."
    text, out = tmp_path / "text.txt", tmp_path / "out.txt"
    text.write_text("it rains . bob lives in london\n")
    redact(text, mode="replace", by=f"folder:{project.path / 'names'}", out=out)
    assert out.read_text() == "it rains . [NAME_1] lives in london\n"


def test_what_does_not_say_where_is_refused_by_a_flag_and_passed_over_in_accord_toml(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="whether a text holds personal data, and not where"):
        redact(project.path, by="llm:judge")
    settings = project.path / "accord.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[classifiers]\npersonal = "llm:judge"\n', "utf-8")
    found = redact(project.path)
    assert (found["kinds"]["name"], found["measured_by"]["findings"]["card"]) == (2, "personal rules")
    assert "llm:judge of [classifiers] tells whether a text is personal, not where" in capsys.readouterr().err
