"""`accord prompts`: prompts stay or go with their reasons, and a later run decides anew."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from asked import ASKED, prompts_of

from accord.commands.app import main
from accord.commands.data.prompts import prompts
from accord.errors import InputError
from accord.feedback.audit import entries
from accord.feedback.provenance import papers
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import PromptsConfig


def test_prompts_stay_or_go_with_their_reasons_and_a_second_look_decides_anew(project: Project, tmp_path: Path) -> None:
    against = tmp_path / "test.jsonl.gz"
    against.write_bytes(gzip.compress(json.dumps({"question": {"text": ASKED[3][2] + "?"}}).encode() + b"\n"))
    metrics = prompts(project, against=(against,), dry_run=True)
    assert metrics["dropped"] == {"in an evaluation set": 1, "near duplicate": 1}
    assert (metrics["withdrawn"], prompts_of(project)) == (0, ["a", "b", "c", "d", "e"])
    assert prompts(project, against=(against,))["withdrawn"] == 2
    assert prompts_of(project) == ["a", "c", "e"]
    with Store.open(project.store_url) as store:
        assert {p.prompt_id: (p.origin, p.language, p.use_case) for p in papers(store)}["e"] == ("asked.jsonl", "en", "brainstorming")
        assert [(entry.who, entry.what, entry.on) for entry in entries(store)] == [("operator", "prompts", "5 prompts, 2 left out")]
    assert prompts(project, against=(against,))["kept"] == 3, "the same again"
    assert prompts(project, config=PromptsConfig(near=0))["kept"] == 5
    assert prompts_of(project) == ["a", "b", "c", "d", "e"]
    assert prompts(project, config=PromptsConfig(personal="drop"))["dropped"] == {"personal data": 1, "near duplicate": 1}


def test_flags_and_json_reach_the_command(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prompts", str(project.path), "--near", "0", "--dry-run", "--json"])
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["read"], metrics["kept"], metrics["dropped"]) == (5, 5, {})


def test_a_project_without_prompts_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accord import"):
        prompts(Project.create(tmp_path / "empty"))
