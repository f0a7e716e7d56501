"""`accord keys`: a key is shown once, listed without its hash, and revoked by id or name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from accord.commands.app import main
from accord.commands.serve.keys import add, list_, revoke, webhooks
from accord.errors import InputError, UsageError
from accord.feedback import outbox
from accord.feedback.store import Store
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


def test_webhooks_are_listed_without_their_secrets_and_removed(project: Project, printed: Printed) -> None:
    add(project, "crowd", scope=("tasks",))
    with Store.open(project.store_url) as store, store.write() as connection:
        for app in ("crowd", "gone"):
            outbox.subscribe(connection, app, f"https://{app}.example/x", ["round.ready"], now=datetime.now(UTC))
    listed = {hook["app"]: hook for hook in webhooks(project)["webhooks"]}
    assert "secret" not in listed["crowd"]
    assert (listed["crowd"]["state"], listed["gone"]["state"]) == ("", "sent nothing: no working key")
    revoke(project, "crowd")
    assert {hook["state"] for hook in webhooks(project)["webhooks"]} == {"sent nothing: no working key"}
    assert "whsec-" not in printed("webhooks", project.path, "--json")
    left = webhooks(project, remove=listed["gone"]["id"])["webhooks"]
    assert [hook["url"] for hook in left] == ["https://crowd.example/x"]
    with pytest.raises(InputError, match="no such webhook"):
        webhooks(project, remove=listed["gone"]["id"])
    table = printed("webhooks", project.path)
    assert listed["crowd"]["id"] in table
    assert "crowd: round.ready to" in table
