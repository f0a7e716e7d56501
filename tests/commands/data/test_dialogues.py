"""`accord dialogues`: conversations in raw text become rows that `accord import` reads as demonstrations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.data.dialogues import dialogues
from accord.commands.data.import_ import import_
from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.runtime.project import Project


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six lines of Ann and Bob."""
    path = tmp_path / "raw.txt.gz"
    path.write_bytes(gzip.compress("\n\n".join(f"{'Ann' if n % 2 == 0 else 'Bob'}: line {n}" for n in range(6)).encode()))
    return path


def test_dialogues_are_imported_as_demonstrations(project: Project, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "dialogues.jsonl"
    assert dialogues([raw], out=out) == {"files": 1, "dialogues": 1, "turns": 6, "out": str(out)}
    (row,) = map(json.loads, out.read_text("utf-8").splitlines())
    assert (row["file"], row["speakers"], row["paragraph"]) == ("raw.txt.gz", ["Ann", "Bob"], 1)
    assert import_(project, out)["demonstrations"] == 1
    with Store.open(project.store_url) as store:
        (found,) = [d for d in store.demonstrations() if d.labeler == "raw-text"]
    assert (found.text, len(found.prompt.messages)) == ("line 5", 5)


def test_the_fewest_paragraphs_are_a_flag(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["dialogues", str(raw), "--least", "7", "--out", str(tmp_path / "none.jsonl"), "--json"])
    assert json.loads(capsys.readouterr().out)["dialogues"] == 0


def test_unusable_arguments_write_no_file(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "dialogues.jsonl"
    with pytest.raises(InputError, match="no such file"):
        dialogues([tmp_path / "nowhere.txt"], out=out)
    with pytest.raises(UsageError, match="--least"):
        dialogues([raw], least=1, out=out)
    with pytest.raises(UsageError, match="no files"):
        dialogues([], out=out)
    assert not out.exists()
