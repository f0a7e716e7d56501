"""`accord imports` at the terminal and as JSON; tests/feedback/test_numbered_imports.py holds what it lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import accord
from accord.commands.app import main
from accord.runtime.project import Project


def test_imports_are_listed_with_their_digest(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "2+2?", "chosen": "4", "rejected": "5"}\n')
    main(["import", str(project.path), str(file)])
    assert "This is import 1" in capsys.readouterr().out
    accord.add(project, [{"prompt": "3+3?"}])
    main(["imports", str(project.path), "--json"])
    found = json.loads(capsys.readouterr().out)["imports"]
    assert [one["number"] for one in found] == [1, 2]
    assert found[0]["digest"] == hashlib.sha256(file.read_bytes()).hexdigest()
    main(["imports", str(project.path)])
    assert "1 rankings" in " ".join(capsys.readouterr().out.split())
