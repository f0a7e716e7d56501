"""`accord undo` at the terminal; tests/feedback/test_numbered_imports.py holds what it does."""

from __future__ import annotations

import pytest

import accord
from accord.commands.app import main
from accord.commands.data.imports import imports
from accord.runtime.project import Project


def test_an_import_is_taken_back_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    accord.add(project, [{"prompt": "3+3?"}])
    (number,) = [one["number"] for one in imports(project)["imports"]]
    capsys.readouterr()
    main(["undo", str(project.path), str(number), "--why", "the wrong file"])
    assert "withdrawn: prompt" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["undo", str(project.path), str(number)])
    assert stopped.value.code == 1
    assert "was taken back at" in capsys.readouterr().err
