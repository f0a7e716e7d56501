"""`accord import`: all of a source or nothing, whatever breaks; a dry run stores nothing; what was exported comes in as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from drawn import stores
from excerpts import FORMATS
from hypothesis import HealthCheck, given, settings

from accord.commands.app import main
from accord.commands.data.export import export
from accord.commands.data.import_ import import_
from accord.data.corpus import read_documents
from accord.data.importers import read
from accord.data.mixtures import parts_of
from accord.data.sources import Source
from accord.data.spans import read_spans
from accord.errors import AccordError, InputError, StoreError, UsageError
from accord.feedback.export import What, lines
from accord.feedback.store import Store
from accord.records import Labeler, Message
from accord.runtime.project import Project

GOOD = [{"prompt": f"Question {n}?", "response": f"Answer {n}."} for n in range(30)]
BAD: list[Any] = [{"prompt": 3, "response": "x"}, '{"prompt": "bro', {"prompt": "x"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


def wrote(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def content(project: Project) -> dict[str, Any]:
    """All that an import may have left: rows, files, unfinished things."""
    with Store.open(project.store_url) as store:
        counts = store.counts() | {"thumbs": sum(1 for _ in store.thumbs())}
    names = {path.relative_to(project.path).as_posix() for path in project.path.rglob("*") if path.is_file()}
    return counts | {"files": {name for name in names if not name.startswith("feedback.db")}}


def mixed(folder: Path) -> Path:
    path = folder / "mixed.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in (*GOOD[:15], *BAD, *GOOD[15:])]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_bad_row_at_the_end_stores_nothing(project: Project, tmp_path: Path) -> None:
    before = content(project)
    with pytest.raises(InputError, match=r'mixed\.jsonl:16, field "prompt": not a string: 3'):
        import_(project, mixed(tmp_path), quiet=True)
    assert content(project) == before


def test_the_rest_is_stored_and_the_rejects_say_why(project: Project, tmp_path: Path) -> None:
    figures = import_(project, mixed(tmp_path), skip_bad=True, quiet=True)
    assert (figures["read"], figures["kept"], figures["dropped"]) == (33, 30, {"bad row": 3})
    rejects = [json.loads(line) for line in Path(figures["rejects"]).read_text().splitlines()]
    assert Path(figures["rejects"]) == project.path / "rejects" / "mixed.jsonl.jsonl"
    assert [r["where"].rpartition("mixed.jsonl:")[2] for r in rejects] == ['16, field "prompt"', "17", '18, field "response"']
    assert [r["row"] for r in rejects] == ['{"prompt": 3, "response": "x"}', '{"prompt": "bro', '{"prompt": "x"}']
    assert "not a string" in rejects[0]["why"]


def test_a_record_that_the_store_refuses_takes_everything_back(project: Project, tmp_path: Path) -> None:
    with Store.open(project.store_url) as store:
        store.add_labelers([Labeler("ann", "person", "other")])
    before = content(project)
    rows = [*GOOD, {"text": "x"}, GOOD[0] | {"labeler": "ann", "group": "mine"}]
    with pytest.raises(StoreError, match="labelers: ann is in the store with another content"):
        import_(project, wrote(tmp_path, [row for row in rows if "text" not in row]), quiet=True)
    assert content(project) == before


def test_a_killed_import_leaves_nothing_and_goes_through_afterwards(project: Project, tmp_path: Path) -> None:
    path = wrote(tmp_path, [{"prompt": f"Question {n}? " + "word " * 50, "response": "So."} for n in range(60_000)])
    command = [sys.executable, "-c", "from accord.commands.app import main; main()", "import", str(project.path), str(path), "--json"]
    for wait in (0.9, 2.5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not list(project.path.glob(".tmp-*")) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        left = content(project)
        assert left["demonstrations"] in (0, 60_000), "half an import"
        assert left["prompts"] == left["demonstrations"]
        assert not [name for name in left["files"] if not name.startswith((".tmp-", "accord.toml"))]
    figures = import_(project, path, limit=1000, quiet=True)
    assert figures["kept"] == 1000
    assert not list(project.path.glob(".tmp-*"))


KILLED = """
import os, signal, sys
from accord.commands.app import main
from accord.feedback import placed, spool
where = {"before the commit": (spool.About, "end"), "after the commit": (placed.Placed, "keep")}[sys.argv.pop(1)]
setattr(*where, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
main()
"""


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_an_import_killed_beside_its_commit_is_settled_by_the_next(project: Project, tmp_path: Path, moment: str) -> None:
    first, other = wrote(tmp_path, [{"text": f"Document {n}."} for n in range(9)]), wrote(tmp_path, GOOD, "other.jsonl")
    command = [sys.executable, "-c", KILLED, moment, "import", str(project.path), str(first)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == -signal.SIGKILL
    (document,) = project.path.glob("corpus/*.jsonl")
    with pytest.raises(InputError, match=r"corpus/rows-.*jsonl: an import or undo of this raw text has not ended"):
        list(read_documents(project.path / "corpus"))
    figures = import_(project.path, other, quiet=True)
    lost = moment == "before the commit"
    assert figures.get("left_by_a_killed_import") == ([f"corpus/{document.name}"] if lost else None)
    assert document.exists() is not lost
    assert import_(project.path, first, quiet=True)["documents"] == (9 if lost else 0)
    assert len(list(read_documents(project.path / "corpus"))) == 9
    assert not list(project.path.rglob("*.pending"))


def test_importing_twice_adds_nothing(project: Project, tmp_path: Path) -> None:
    for format, (rows, _) in FORMATS.items():
        path = wrote(tmp_path, rows, f"{format}.jsonl")
        first = import_(project, path, quiet=True)
        after = content(project)
        again = import_(project, path, quiet=True)
        assert content(project) == after
        assert first["kept"] == again["kept"] > 0
        assert not any(again[kind] for kind in ("documents", "prompts", "demonstrations", "responses", "rankings", "thumbs"))
    assert [span.kind for span in read_spans(project.path)] == ["Irrelevant"]


def test_a_dry_run_shows_rows_and_stores_nothing(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, path = content(project), wrote(tmp_path, [*GOOD, GOOD[0]])
    main(["import", str(project.path), str(path), "--dry-run", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert {key: said[key] for key in ("format", "read", "kept", "dropped")} == {
        "format": "demonstrations",
        "read": 31,
        "kept": 30,
        "dropped": {"repetition": 1},
    }
    assert len(said["rows"]) == 10
    assert said["rows"][0]["examples"][0]["learned"] == " Answer 0.<|end|>"
    assert said["rows"][0]["examples"][0]["context"].endswith("<|user|>Q: Question 0?<|end|><|assistant|>\nA:")
    main(["import", str(project.path), str(path), "--dry-run"])
    assert "dropped: repetition" in capsys.readouterr().out
    assert content(project) == before


def test_a_dry_run_shows_a_models_tokens_and_what_is_learned_of_them(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import chat

    spoken = chat()
    spoken.tokenizer.save_pretrained(project.path / "models" / "sft")
    main(["import", str(project.path), str(wrote(tmp_path, GOOD)), "--dry-run", "--json"])
    example = json.loads(capsys.readouterr().out)["rows"][0]["examples"][0]
    turns = (Message("user", "Question 0?"),)
    prompt, response = spoken.prompt(turns), spoken.response(turns, "Answer 0.")
    assert example["tokens"] == [*prompt, *response]
    assert example["keep"] == [0] * len(prompt) + [1] * len(response)


def test_a_dry_run_says_which_rows_a_models_template_refuses(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny import chat

    tokenizer = chat().tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + 1 }}{% endfor %}"
    tokenizer.save_pretrained(project.path / "models" / "sft")
    main(["import", str(project.path), str(wrote(tmp_path, GOOD)), "--dry-run", "--json"])
    example = json.loads(capsys.readouterr().out)["rows"][0]["examples"][0]
    assert "fails: TypeError" in example["note"]
    assert "fix the template" in example["note"]
    assert (example["tokens"], example["context"], example["learned"]) == ([], "user: Question 0?", "")


def test_samples_are_drawn_by_seed_and_limits_count_rows(tmp_path: Path) -> None:
    path = wrote(tmp_path, GOOD)

    def taken(**options: Any) -> list[str]:
        return [d.text for d in read(path, **options).demonstrations]

    assert taken(sample=7, seed=1) == taken(sample=7, seed=1) != taken(sample=7, seed=2)
    assert len(set(taken(sample=7))) == 7
    assert len(taken(sample=100)) == 30
    assert taken(limit=3) == taken()[:3]
    with pytest.raises(UsageError, match="the sample is 0"):
        taken(sample=0)


def test_a_mixture_keeps_its_shares(project: Project, tmp_path: Path) -> None:
    wrote(tmp_path, GOOD, "a.jsonl")
    wrote(tmp_path, [{"q": f"Why {n}?"} for n in range(12)], "b.jsonl")
    recipe = tmp_path / "mixture.toml"
    recipe.write_text('[[source]]\nfile = "a.jsonl"\nweight = 3\n[[source]]\nfile = "b.jsonl"\nmap = { prompt = "q" }\n')
    assert [part.sample for part in parts_of(Source(recipe))] == [30, 10]
    assert [part.sample for part in parts_of(Source(recipe, sample=9))] == [7, 2]
    figures = import_(project, recipe, sample=8, quiet=True)
    assert (figures["format"], figures["read"], figures["demonstrations"], figures["prompts"]) == ("demonstrations, prompts", 8, 6, 8)
    wrong = {"[[source]]\nfile = 3": "file is 3", "[[source]]\npath = 'x'": "unknown key 'path'", "x = 1": "list of", "=": "TOML"}
    for text, message in wrong.items():
        recipe.write_text(text)
        with pytest.raises(AccordError, match=message):
            parts_of(Source(recipe))


def test_columns_are_named_on_the_command_line(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(wrote(tmp_path, [{"q": "Why?", "best": {"text": "So."}}]))
    main(["import", str(project.path), path, "--map", "prompt=q", "--map", "response=best.text", "--json"])
    assert json.loads(capsys.readouterr().out)["demonstrations"] == 1
    with pytest.raises(SystemExit) as stopped:
        main(["import", str(project.path), path, "--map", "prompt"])
    assert stopped.value.code == 2


def test_the_split_can_be_said(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "fixed")
    main(["import", str(project.path), str(wrote(tmp_path, GOOD)), "--split", "test", "--json"])
    with Store.open(project.store_url) as store:
        assert {prompt.split for prompt in store.prompts()} == {"test"}
        assert sum(1 for _ in store.demonstrations("test")) == 30


EXPORTS: tuple[What, ...] = ("prompts", "demonstrations", "responses", "rankings")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stores())
def test_what_was_exported_comes_in_as_it_was(tmp_path_factory: pytest.TempPathFactory, records: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("round")
    one, two = Project.create(folder / "one"), Project.create(folder / "two")
    with Store.open(one.store_url) as store:
        store.add(**records)
        exported = {what: list(lines(store, what)) for what in EXPORTS}
    for what in EXPORTS:
        export(one, what=what, out=folder / f"{what}.jsonl")
    for project in (two, one):
        figures = [import_(project, folder / f"{what}.jsonl", quiet=True) for what in EXPORTS]
        with Store.open(project.store_url) as store:
            assert {what: list(lines(store, what)) for what in EXPORTS} == exported
    assert not any(figure[kind] for figure in figures for kind in EXPORTS), "a project's own export added something to it"
