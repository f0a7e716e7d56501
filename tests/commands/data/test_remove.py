"""`accord remove` at the terminal; tests/feedback/test_numbered_imports.py holds what it does."""

from __future__ import annotations

import json

import pytest

import accord
from accord.commands.app import main
from accord.runtime.project import Project


def test_a_prompt_is_removed_by_its_id(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with accord.store(project) as store:
        first, *rest = store.prompts()
    main(["remove", str(project.path), first.id, "--why", "a name in it", "--json"])
    assert json.loads(capsys.readouterr().out) == {"withdrawn": {"prompt": 1}, "models": {}}
    with accord.store(project) as store:
        assert list(store.prompts()) == rest
