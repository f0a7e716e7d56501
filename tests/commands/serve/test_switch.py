"""`accord switch`: which model answers, the way back, and the list of switches."""

from __future__ import annotations

import json

import pytest

from accord.commands.app import main
from accord.commands.serve.switch import switch
from accord.errors import InputError, ModelError, UsageError
from accord.runtime.project import Project


def test_a_switch_and_the_way_back_are_rows(project: Project) -> None:
    assert switch(project) == {"answering": "ppo", "switches": []}
    with pytest.raises(InputError, match="nothing to go back to"):
        switch(project, back=True)
    assert switch(project, to="sft", why="shorter")["answering"] == "sft"
    assert switch(project, back=True)["answering"] == "ppo"
    assert switch(project, back=True)["answering"] == "sft"
    assert [(row["model"], row["why"]) for row in switch(project)["switches"]] == [
        ("ppo", "answered first"),
        ("sft", "shorter"),
        ("ppo", "back"),
        ("sft", "back"),
    ]


def test_only_a_language_model_can_answer(project: Project) -> None:
    for name in ("reward", "none"):
        with pytest.raises(ModelError, match="no such model to talk to"):
            switch(project, to=name, anyway=True)
    assert switch(project)["switches"] == []


def test_there_and_back_at_once_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="not both"):
        switch(project, to="sft", back=True)


def test_the_command_line_lists_the_switches(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["switch", str(project.path), "--to", "sft", "--why", "shorter", "--json"])
    switched = json.loads(capsys.readouterr().out)
    assert (switched["before"], switched["answering"], len(switched["digest"])) == ("ppo", "sft", 12)
    main(["switch", str(project.path)])
    table = capsys.readouterr().out
    assert f"sft@{switched['digest']}  shorter" in table
    with pytest.raises(SystemExit) as end:
        main(["switch", str(project.path), "--to", "none"])
    assert end.value.code == ModelError.exit_code
