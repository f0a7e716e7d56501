"""`accord undo` at the terminal; tests/feedback/test_numbered_imports.py holds what it does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

import accord
from accord.commands.app import main
from accord.commands.data.import_ import import_
from accord.commands.data.imports import imports
from accord.commands.data.undo import undo
from accord.data.corpus import read_documents
from accord.errors import InputError
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


KILLED = """
import importlib, os, signal, sys
from accord.commands.app import main
undo = importlib.import_module("accord.commands.data.undo")
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def marked(targets): mark(targets); die()
mark, settle, done = undo.mark, undo.settle, []
def second(*given): die() if done else done.append(settle(*given))
moment = sys.argv.pop(1)
if moment == "before the commit": undo.mark = marked
else: undo.settle = second
main()
"""


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_an_undo_killed_beside_its_commit_is_settled_by_the_next_command(project: Project, tmp_path: Path, moment: str) -> None:
    text, other = tmp_path / "text.jsonl", tmp_path / "other.jsonl"
    text.write_text("".join(json.dumps({"text": f"Document {n}."}) + "\n" for n in range(9)))
    other.write_text(json.dumps({"prompt": "4+4?", "response": "8"}) + "\n")
    number = import_(project.path, text, quiet=True)["import"]
    (document,) = project.path.glob("corpus/*.jsonl")
    command = [sys.executable, "-c", KILLED, moment, "undo", str(project.path), str(number)]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    with pytest.raises(InputError, match=r"an import or undo of this raw text has not ended"):
        list(read_documents(project.path / "corpus"))
    assert "left_by_a_killed_import" not in import_(project.path, other, quiet=True)
    taken_back = moment == "after the commit"
    assert document.exists() is not taken_back
    assert [path.name for path in project.path.glob("undone/*")] == ([f"{number}-{document.name}"] if taken_back else [])
    assert not list(project.path.rglob("*.pending"))
    if not taken_back:
        assert undo(project, number)["files"] == [f"corpus/{document.name}"]
    assert not document.exists()
    assert import_(project.path, text, quiet=True)["documents"] == 9, "and its text comes back with its file"


def test_an_import_whose_commit_arrived_although_it_failed_keeps_its_text(project: Project, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"Document {n}."}) + "\n" for n in range(9)))

    with pytest.MonkeyPatch.context() as patched:
        done = SQLiteDialect_pysqlite.do_commit

        def committed(self: object, connection: object) -> None:
            done(self, connection)  # type: ignore[arg-type]
            raise KeyboardInterrupt  # Ctrl-C arrived while the driver committed

        patched.setattr(SQLiteDialect_pysqlite, "do_commit", committed)
        with pytest.raises(KeyboardInterrupt):
            import_(project.path, text, quiet=True)
    (one,) = imports(project)["imports"]
    assert [name for name in one["files"] if (project.path / name).is_file()] == list(one["files"]) != []
    assert not list(project.path.rglob("*.pending"))
