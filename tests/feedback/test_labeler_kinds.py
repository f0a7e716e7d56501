"""Kinds of labelers: which rows a stage learns from, and words that name none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.errors import UsageError
from accord.feedback.labeler_kinds import kinds_of, said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt
from accord.runtime.project import Project

PROMPT = Prompt("p", (Message("user", "Why?"),))


@pytest.mark.parametrize("text", ["", "people", "person robot"])
def test_unknown_kinds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="kinds is"):
        kinds_of(text)


def test_kinds_choose_rows_by_their_labeler(tmp_path: Path) -> None:
    with Store.open(Project.create(tmp_path / "p").store_url) as store:
        store.add(labelers=[Labeler("ann", "person"), Labeler("bot", "model"), Labeler("sim", "simulated")])
        said: list[Any] = [Demonstration(name, PROMPT, "x", name) for name in ("ann", "bot", "sim")]
        assert [row.id for row in said_by(store, said, "person, model")] == ["ann", "bot"]
        assert [row.id for row in said_by(store, said, "simulated")] == ["sim"]
