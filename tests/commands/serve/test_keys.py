"""`accord keys`: a key is shown once, listed without its hash, and revoked by id or name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from accord.commands.app import main
from accord.commands.serve.keys import add, list_, revoke
from accord.errors import InputError, UsageError
from accord.runtime.project import Project
from accord.serving.keys import Keys

Printed = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs a command; gives what it prints."""

    def run(*words: object) -> str:
        capsys.readouterr()
        main(["keys", *map(str, words)])
        return capsys.readouterr().out

    return run


def test_a_key_works_until_it_is_revoked(project: Project) -> None:
    made = add(project, "newsletter", requests_per_minute=60, model=("sft",))
    known = Keys(project.path)
    key = known.find(made["key"])
    assert key
    assert (key.name, key.requests_per_minute, key.models) == ("newsletter", 60, ("sft",))
    (listed,) = list_(project)["keys"]
    assert "digest" not in listed
    assert (listed["id"], listed["revoked"]) == (made["id"], "")
    assert revoke(project, "newsletter")["id"] == made["id"]
    assert known.find(made["key"]) is None
    with pytest.raises(InputError, match="no such working key"):
        revoke(project, "newsletter")


def test_a_negative_limit_is_refused(project: Project) -> None:
    for limit in ("requests_per_minute", "tokens_per_minute"):
        with pytest.raises(UsageError, match="below 0"):
            add(project, "x", **{limit: -1})
    assert list_(project) == {"keys": []}


def test_the_command_line_prints_json_and_tables(project: Project, printed: Printed) -> None:
    made: dict[str, Any] = json.loads(printed("add", project.path, "news", "--requests-per-minute", 60, "--json"))
    assert list(made) == ["key", "id", "name"]
    assert Keys(project.path).find(made["key"])
    table = printed("list", project.path)
    assert "news" in table
    assert "60" in table
    assert made["key"] not in table
    assert "revoked news" in printed("revoke", project.path, made["id"])
    assert json.loads(printed("list", project.path, "--json"))["keys"][0]["revoked"]
    assert "key for again" in printed("add", project.path, "again")
