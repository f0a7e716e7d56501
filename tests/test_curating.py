"""The commands over what came in: prompts that stay, personal data, forgetting, dialogues, a look at a set; on a store and on files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import main
from accord.feedback.audit import entries
from accord.feedback.provenance import papers
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime import lineage
from accord.runtime.project import Project

MAIL = "Write a letter to Susan Clark, who reads her mail at susan.clark@example.org every day."
ASKED = [
    (
        "a",
        "ann",
        "Which of the seven rivers in the northern valley runs dry first in a hot summer, and what do farmers there do about that?",
    ),
    ("b", "ann", "Which of the 7 rivers in the northern valley runs dry first in a hot summer, and what do farmers there do about that?"),
    ("c", "bob", MAIL),
    ("d", "bob", "How many apples does the tall man with the red hat carry home on Monday from the shop"),
    ("e", "eve", "Brainstorm names for a boat that leaks."),
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    with Store.open(made.store_url) as store:
        asked = [Prompt(id, (Message("user", text),), user=user, source="asked.jsonl") for id, user, text in ASKED]
        store.add(
            prompts=asked,
            labelers=[Labeler("lee", "person")],
            demonstrations=[
                Demonstration("d1", asked[2], "Dear Susan Clark, we miss you.", "lee"),
                Demonstration("d2", asked[4], "N/A", "lee"),
            ],
            responses=[Response(f"r{n}", "c", text, "sft", (1,)) for n, text in enumerate(("Call (415) 263-0142.", "No."))],
            rankings=[Ranking("k", "c", "lee", ("r0", "r1"), (1, 2), Guideline("training", "v"), "now")],
        )
    return made


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    main([*map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def held(project: Project) -> list[str]:
    with Store.open(project.store_url) as store:
        return [prompt.id for prompt in store.prompts()]


def test_prompts_stay_or_go_with_their_reasons_and_a_second_look_decides_anew(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    against = tmp_path / "test.jsonl.gz"
    against.write_bytes(gzip.compress(json.dumps({"question": {"text": ASKED[3][2] + "?"}}).encode() + b"\n"))
    look = ["prompts", project.path, "--against", against]
    figures = said(capsys, *look, "--dry-run")
    assert figures["dropped"] == {"in an evaluation set": 1, "near duplicate": 1}
    assert (figures["withdrawn"], held(project)) == (0, ["a", "b", "c", "d", "e"])
    assert said(capsys, *look)["withdrawn"] == 2
    assert held(project) == ["a", "c", "e"]
    with Store.open(project.store_url) as store:
        assert {p.prompt_id: (p.origin, p.language, p.use_case) for p in papers(store)}["e"] == ("asked.jsonl", "en", "brainstorming")
    assert said(capsys, *look)["kept"] == 3, "the same again"
    assert said(capsys, "prompts", project.path, "--near", 0)["kept"] == 5
    assert held(project) == ["a", "b", "c", "d", "e"]
    assert said(capsys, "prompts", project.path, "--personal", "drop")["dropped"] == {"personal data": 1, "near duplicate": 1}


def test_consent_is_marked_and_asked_for(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    marked = said(capsys, "provenance", project.path, "--user", "ann", "--consent", "refused", "--terms", "v1")
    assert (marked["marked"], marked["consent"]) == (2, {"(none)": 3, "refused": 2})
    assert said(capsys, "prompts", project.path)["dropped"] == {"no consent": 2}
    assert said(capsys, "prompts", project.path, "--consent", "any", "--near", 0)["kept"] == 5
    with pytest.raises(SystemExit):
        main(["provenance", str(project.path), "--consent", "given"])
    assert "whose prompts" in capsys.readouterr().err


def test_personal_data_of_a_project_is_reviewed_then_replaced(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.jsonl"
    figures = said(capsys, "redact", project.path, "--out", out)
    assert figures["kinds"] == {"email": 1, "phone": 1, "name": 2}
    assert figures["where"] == {"prompt": 2, "response": 1, "demonstration": 1}
    assert {json.loads(line)["text"] for line in out.read_text().splitlines()} >= {"susan.clark@example.org", "Susan Clark"}
    assert said(capsys, "redact", project.path, "--mode", "replace", "--kinds", "email", "--kinds", "phone")["changed"]["responses"] == 1
    with Store.open(project.store_url) as store:
        assert {p.id: p for p in store.prompts()}["c"].messages[0].content == MAIL.replace("susan.clark@example.org", "[EMAIL_1]")
        assert next(store.responses()).text == "Call [PHONE_1]."
        assert "redact" in [entry.what for entry in entries(store)]
    assert said(capsys, "redact", project.path, "--mode", "drop")["withdrawn"] == {"prompt": 1, "demonstration": 1, "ranking": 0}
    assert "c" not in held(project)


def test_rankings_of_responses_with_personal_data_are_left_out(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    withdrawn = said(capsys, "redact", project.path, "--mode", "drop", "--kinds", "phone")["withdrawn"]
    assert withdrawn == {"prompt": 0, "demonstration": 0, "ranking": 1}
    with Store.open(project.store_url) as store:
        assert list(store.rankings()) == []


def test_personal_data_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, text, out = tmp_path / "rows.jsonl", tmp_path / "text.txt", tmp_path / "out.jsonl"
    kept = {"messages": [{"role": "user", "content": "Hello, 你好"}], "n": 1}
    rows.write_text(json.dumps({"prompt": MAIL, "user": "x"}) + "\n" + json.dumps(kept) + "\n")
    text.write_text("Mail jo@example.org\nnothing\n")
    assert said(capsys, "redact", rows, "--mode", "replace", "--out", out)["findings"] == 2
    first, second = map(json.loads, out.read_text("utf-8").splitlines())
    assert (first["prompt"], first["user"]) == (
        MAIL.replace("Susan Clark", "[NAME_1]").replace("susan.clark@example.org", "[EMAIL_1]"),
        "x",
    )
    assert second == kept
    assert said(capsys, "redact", rows, "--mode", "drop", "--out", out)["dropped"] == 1
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [kept]
    said(capsys, "redact", text, "--mode", "replace", "--out", out)
    assert out.read_text() == "Mail [EMAIL_1]\nnothing\n"
    with pytest.raises(SystemExit):
        main(["redact", str(text), "--mode", "drop"])
    assert "--out" in capsys.readouterr().err


def test_a_person_is_forgotten_and_the_models_are_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = project.run("reward-a")
    run.mkdir(parents=True)
    with Store.open(project.store_url) as store:
        digest = write_snapshot(store.ranked_prompts(), run / "rankings.jsonl")
    for name, parents, data in (("rm", {}, {"rankings": digest}), ("ppo", {"rm": "0"}, {}), ("base", {}, {})):
        project.model(name).mkdir(parents=True)
        (project.model(name) / "config.json").write_text("{}")
        lineage.write(project.model(name), stage="reward", parents=parents, data=data, settings={}, figures={})
    figures = said(capsys, "forget", project.path, "--user", "bob", "--why", "asked")
    assert figures["models"] == {"rm": "learned from it", "ppo": "descends from rm"}
    assert (figures["prompts"], figures["rows_removed_from_runs"], figures["files"]) == (2, 1, {"reward-a/rankings.jsonl": 1})
    assert (run / "rankings.jsonl").read_text() == ""
    assert held(project) == ["a", "b", "e"]
    with pytest.raises(SystemExit):
        main(["forget", str(project.path), "--user", "bob"])
    assert "holds nothing" in capsys.readouterr().err


def test_dialogues_are_imported_as_demonstrations(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "raw.txt.gz", tmp_path / "dialogues.jsonl"
    raw.write_bytes(gzip.compress("\n\n".join(f"{'Ann' if n % 2 == 0 else 'Bob'}: line {n}" for n in range(6)).encode()))
    assert said(capsys, "dialogues", raw, "--out", out)["dialogues"] == 1
    assert said(capsys, "import", project.path, out)["demonstrations"] == 1
    with Store.open(project.store_url) as store:
        (found,) = [d for d in store.demonstrations() if d.labeler == "raw-text"]
    assert (found.text, len(found.prompt.messages)) == ("line 5", 5)
    with pytest.raises(SystemExit):
        main(["dialogues", str(tmp_path / "nowhere.txt")])
    assert "no such file" in capsys.readouterr().err


def test_a_set_is_looked_through_and_the_figures_are_a_runs_summary(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    figures = said(capsys, "inspect", project.path)
    assert (figures["run"], figures["prompts"]["texts"], figures["answer_nothing"]["why"]) == ("inspect-001", 5, {"a placeholder": 1})
    assert figures["contradictions"]["pairs"] == 1
    summary = json.loads((project.run("inspect-001") / "summary.json").read_text("utf-8"))
    assert summary["responses"]["texts"] == 2
    (sample,) = [json.loads(line) for line in (project.run("inspect-001") / "samples.jsonl").read_text("utf-8").splitlines()]
    assert (sample["kind"], sample["id"]) == ("answer_nothing", "d2")
    main(["inspect", str(project.path), "--sample", "2"])
    shown = capsys.readouterr().out
    assert "inspect-002" in shown
    assert "near duplicates" in shown
