"""`accord labelers`: what each command does to an account, and where an invitation leads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import main
from accord.commands.feedback import labelers
from accord.errors import UsageError
from accord.feedback import accounts, audit
from accord.feedback.site_address import public_address, written_down
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import LabelConfig


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


def test_the_commands_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> Any:
        capsys.readouterr()
        main([words[0], words[1], str(project.path), *words[2:], "--json"])
        return json.loads(capsys.readouterr().out)

    link = run("labelers", "invite", "Ann", "--group", "nurses", "--url", "https://labels.example/")["link"]
    assert link.startswith("https://labels.example/join?token=")
    with Store.open(project.store_url) as store:
        session = accounts.redeem(store, link.rpartition("=")[2], now=datetime.now(UTC))
        assert accounts.session(store, session, now=datetime.now(UTC))
    for done, state in (("pause", "paused"), ("exclude", "excluded"), ("revoke", "revoked")):
        run("labelers", done, "Ann", "--why", "a test")
        (ann,) = run("labelers", "list")["labelers"]
        assert ann[state]
    assert not run("labelers", "qualify", "Ann", "--failed")["qualified"]
    assert not run("labelers", "list")["labelers"][0]["qualified"]
    assert run("labelers", "qualify", "Ann")["qualified"]
    run("labelers", "include", "Ann")
    run("labelers", "resume", ann["id"])
    (ann,) = run("labelers", "list")["labelers"]
    assert [ann[state] for state in ("paused", "excluded", "revoked")] == [False] * 3
    run("labelers", "erase", "Ann")
    (ann,) = run("labelers", "list")["labelers"]
    assert ann["name"] == ann["group"] == ""
    with Store.open(project.store_url) as store:
        assert {entry.who for entry in audit.entries(store)} == {"operator", ann["id"]}


@pytest.mark.parametrize(
    ("label", "address"),
    [
        ({}, "http://127.0.0.1:8400"),
        ({"port": 9000}, "http://127.0.0.1:9000"),
        ({"names": "labels.example, other.example", "https": True}, "https://labels.example"),
    ],
)
def test_an_invitation_leads_to_where_the_site_is(tmp_path: Path, label: Any, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "p", settings={"label": label})
    main(["labelers", "invite", str(project.path), "Ann", "--json"])
    assert json.loads(capsys.readouterr().out)["link"].startswith(f"{address}/join?token=")


def test_an_invitation_leads_to_the_site_that_runs(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with written_down(project.path, "http://127.0.0.1:18377"):
        assert labelers.invite(project, "Ann")["link"].startswith("http://127.0.0.1:18377/join?token=")
        assert labelers.invite(project, "Bob", url="http://lan:1/")["link"].startswith("http://lan:1/join?token=")
    assert labelers.invite(project, "Cid")["link"].startswith("http://127.0.0.1:8400/join?token="), "it has ended"
    (project.path / "site.json").write_text('{"address": "http://127.0.0.1:18377", "process": 4194305}', "utf-8")
    assert labelers.invite(project, "Dan")["link"].startswith("http://127.0.0.1:8400/join?token="), "it was killed: no such process"


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_link_stands_whole_on_a_line_of_its_own(project: Project, columns: str) -> None:
    """On a terminal of any width. The database keeps the hash alone: a link that is cut off is lost."""
    command = [sys.executable, "-m", "accord", "labelers", "invite", str(project.path), "Ann Smith", "--url", "https://labels.example/team"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": columns}).stdout
    (line,) = [line for line in said.splitlines() if "join?token=" in line]
    assert line.startswith("https://labels.example/team/join?token=")
    with Store.open(project.store_url) as store:
        assert accounts.redeem(store, line.rpartition("=")[2], now=datetime.now(UTC))


def test_somebody_who_is_not_there_is_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["labelers", "pause", str(project.path), "nobody"])
    assert caught.value.code == 2
    assert "no account 'nobody'" in capsys.readouterr().err


def test_python_calls_the_same_functions(project: Project) -> None:
    """A second invitation needs `again`, or it makes a second account of the name."""
    made = labelers.invite(project, "Ann", group="nurses")
    assert made.keys() == {"name", "role", "link", "days"}
    labelers.invite(project, "Ann", again=True)
    (ann,) = labelers.list_(project)["labelers"]
    assert (ann["name"], ann["role"], ann["group"]) == ("Ann", "labeler", "nurses")
    assert labelers.pause(project, "Ann") == {"labeler": ann["id"], "done": "paused"}
    labelers.invite(project, "Ann")
    with pytest.raises(UsageError, match="2 accounts are called 'Ann'"):
        labelers.resume(project, "Ann")


def test_the_list_is_a_table_that_names_the_state(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    labelers.invite(project, "Ann")
    labelers.exclude(project, "Ann")
    main(["labelers", "list", str(project.path)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Ann" in line]
    assert "excluded" in line


@pytest.mark.parametrize("days", [0, 366])
def test_a_link_holds_a_year_at_most(project: Project, days: float) -> None:
    with pytest.raises(UsageError, match="at most 365"):
        labelers.invite(project, "Ann", days=days)


def test_a_running_site_is_known_by_its_name_and_its_own_port() -> None:
    """Its flags need not stand in accord.toml; https is a proxy's, at its usual port."""
    assert public_address(LabelConfig(), 9001) == "http://127.0.0.1:9001"
    assert public_address(LabelConfig(host="::1"), 9001) == "http://[::1]:9001"
    assert public_address(LabelConfig(names="labels.example, b"), 9001) == "http://labels.example:9001"
    assert public_address(LabelConfig(names="labels.example", https=True), 9001) == "https://labels.example"
