"""`accord chat`: talking in the terminal, and what is refused before a page opens. The page itself is in tests/e2e/test_chat_page.py."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx
import pytest
from shelved import real_model, running

from accord.commands.app import main
from accord.commands.serve.chat import chat
from accord.errors import ModelError, UsageError
from accord.runtime.project import Project
from accord.settings import ChatConfig


def test_a_model_answers_in_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "p", settings={"chat": {"temperature": 0, "max_tokens": 8}})
    for name in ("base", "sft"):
        real_model(project, name)
    said: list[str] = []
    for _ in range(2):
        monkeypatch.setattr("sys.stdin", io.StringIO("Who keeps the mill?\n/model none\n/quit\n"))
        main(["chat", str(project.path), "--terminal"])
        printed = capsys.readouterr()
        assert "Talking to sft" in printed.err, "the best guess of those that are there"
        assert "no such model" in printed.err
        said.append(printed.out)
    assert said[0] == said[1]
    assert said[0].strip()
    assert not (project.path / "feedback.db").exists(), "nothing is stored"


def test_the_page_opens_on_the_projects_models(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    real_model(project, "sft")
    with running("chat", project.path, "--port", 0, code=130) as output:
        found = re.search(r"http://127.0.0.1:\d+", output.readline())
        assert found
        link = output.readline().split()[-1]
        assert httpx.get(found[0], timeout=60).status_code != 200, "by invitation only"
        assert httpx.get(link, timeout=60).status_code == 200
    assert (project.path / "feedback.db").exists()


def test_what_cannot_be_talked_to_is_refused(project: Project) -> None:
    for terminal in (True, False):
        with pytest.raises(ModelError, match="no such model to talk to") as refused:
            chat(project, terminal=terminal, config=ChatConfig(model="reward"))
        assert "ppo, sft" in str(refused.value)


def test_flags_that_contradict_each_other_are_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="the project's own models"):
        chat(project, terminal=True, upstream="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="is not an address"):
        chat(project, upstream="127.0.0.1:9")
    with pytest.raises(SystemExit) as end:
        main(["chat", str(project.path), "--json"])
    assert end.value.code == UsageError.exit_code
