"""`accord export`: a whole file or none, in our own form or another's, which says the same when it comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawn import stores
from hypothesis import HealthCheck, given, settings

from accord.commands.app import main
from accord.commands.data.export import export
from accord.commands.data.import_ import import_
from accord.data.importers import read
from accord.errors import AccordError, UsageError
from accord.feedback.export import What, lines
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt, Thumb
from accord.runtime.project import Project


def test_the_command_writes_a_whole_file_or_to_standard_output(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    out = project.path / "out.jsonl"
    with Store.open(project.store_url) as store:
        expected = "".join(lines(store, "rankings"))
    main(["export", str(project.path), "--what", "rankings", "--out", str(out)])
    assert capsys.readouterr().out == ""
    main(["export", str(project.path)])
    assert out.read_bytes().decode() == capsys.readouterr().out == expected
    main(["export", str(project.path), "--what", "prompts", "--format", "messages"])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_there_are_no_metrics_to_print(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(project.path), "--json"])
    assert stopped.value.code == 2
    assert "drop --json" in capsys.readouterr().err


FOREIGN = {
    ("demonstrations", "messages"): ".jsonl.gz",
    ("demonstrations", "demonstrations"): ".parquet",
    ("demonstrations", "sharegpt"): ".json",
    ("demonstrations", "trl-completion"): ".parquet",
    ("demonstrations", "history"): ".csv",
    ("responses", "responses"): ".jsonl.zst",
    ("rankings", "rankings"): ".tsv",
    ("rankings", "history"): ".csv.gz",
    ("comparisons", "trl-preference"): ".jsonl",
    ("comparisons", "openai-preference"): ".jsonl",
    ("comparisons", "label-studio"): ".json",
    ("comparisons", "argilla"): ".json",
    ("comparisons", "hh-rlhf"): ".jsonl.gz",
    ("prompts", "messages"): ".json.zst",
}


@pytest.mark.parametrize(("what", "format"), FOREIGN)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=stores())
def test_what_leaves_in_anothers_form_says_the_same_when_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, what: Any, format: str, records: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("foreign")
    path = folder / f"out{FOREIGN[what, format]}"
    project = Project.create(folder / "project")
    with Store.open(project.store_url) as store:
        store.add(**records)
    export(project, what=what, format=format, out=path)
    content = path.read_bytes()
    export(project, what=what, format=format, out=path)
    assert path.read_bytes() == content
    found = read(path)
    said = {response.id: response.text for response in (*found.responses, *records["responses"])}
    asked = {prompt.id: prompt.messages for prompt in (*found.prompts, *records["prompts"])}

    def ranked(rankings: Any) -> set[Any]:
        return {(asked[r.prompt_id], *sorted((rank, said[id]) for id, rank in zip(r.response_ids, r.ranks, strict=True))) for r in rankings}

    def pairs(rankings: Any) -> set[Any]:
        every = ((asked[r.prompt_id], a, b) for r in rankings for a in zip(r.ranks, r.response_ids, strict=True)
                 for b in zip(r.ranks, r.response_ids, strict=True) if a[0] < b[0])  # fmt: skip
        return {(prompt, said[better], said[worse]) for prompt, (_, better), (_, worse) in every}

    facts = {
        "prompts": lambda kept: {p.messages for p in kept["prompts"]},
        "demonstrations": lambda kept: {(d.prompt.messages, d.text) for d in kept["demonstrations"]},
        "responses": lambda kept: {(asked[r.prompt_id], r.text, r.model) for r in kept["responses"]},
        "rankings": lambda kept: ranked(kept["rankings"]),
        "comparisons": lambda kept: pairs(kept["rankings"]),
    }[what]
    assert facts(vars(found)) == facts(records)


def test_thumbs_leave_and_come_back(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    rows = [{"prompt": "Hi", "completion": "Hello", "label": True}, {"prompt": "Hi", "completion": "Go", "label": False}]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    import_(project, source, quiet=True)
    export(project, what="thumbs", format="trl-kto", out=tmp_path / "kto.parquet")
    again = [other for other in read(tmp_path / "kto.parquet").others if isinstance(other, Thumb)]
    assert {(t.prompt.messages[0].content, t.response.text, t.up) for t in again} == {("Hi", "Hello", True), ("Hi", "Go", False)}


REFUSED: tuple[tuple[str, What, str], ...] = (
    ("alpaca", "demonstrations", "alpaca cannot express a conversation"),
    ("hh-rlhf", "demonstrations", "cannot be written as 'hh-rlhf'.*sharegpt"),
    ("trl-preference", "comparisons", "there are no comparisons to write"),
)


def test_what_a_format_has_no_word_for_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    asked = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("ann", "person")], demonstrations=[Demonstration("d", Prompt("p", asked), "x", "ann")])
    out = tmp_path / "out.json"
    for format, what, message in REFUSED:
        with pytest.raises(AccordError, match=message):
            export(project, what=what, format=format, out=out)
    for name, format in (("x.xlsx", "messages"), ("x.parquet.gz", "messages"), ("x.csv", "jsonl")):
        with pytest.raises(UsageError, match=r"--out"):
            export(project, what="demonstrations", format=format, out=tmp_path / name)
    assert not [path for path in tmp_path.iterdir() if path.name != "project"]
