"""`accord move-store`: every row arrives, nobody's answer is lost on the way, and a kill at any step leaves one store in force."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from full_store import rows

from accord.commands.project.move_store import move_store
from accord.errors import InputError, StoreError, UsageError
from accord.feedback import accounts
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime.project import Project

WRITER = """
import sys
from accord.errors import StoreError
from accord.feedback.store import Store
from accord.records import Message, Prompt
with Store.open(sys.argv[1]) as store:
    try:
        for number in range(100_000):
            store.add_prompts([Prompt(f"w{number:06}", (Message("user", f"Question {number}?"),))])
            print(f"w{number:06}", flush=True)
    except StoreError as error:
        print("refused:", error, flush=True)
"""
KILLED = """
import os, sys
from accord.commands.app import main
from accord.commands.project import move_store
from accord.feedback import store_copy, store_move

def die(*_, **__):
    os.kill(os.getpid(), 9)

fill, seal = store_copy.fill, store_move._seal

def fill_half(connection, name, said, tell):
    return die() if name == "turns" else fill(connection, name, said, tell)

def seal_and_die(connection):
    seal(connection)
    die()

point = sys.argv[3]
if point == "while the rows are copied":
    store_copy.fill = fill_half
elif point == "before the comparison":
    store_copy.refuse_differences = die
elif point == "before the seal is on disk":
    store_move._seal = seal_and_die
elif point == "after the seal":
    store_move._finished = die
elif point == "before accord.toml":
    move_store.write_atomic = die
main(["move-store", sys.argv[1], "--to", sys.argv[2]])
"""
IN_FORCE = ("while the rows are copied", "before the comparison", "before the seal is on disk")
MOVED = ("after the seal", "before accord.toml")


def prompt(id: str) -> Prompt:
    return Prompt(id, (Message("user", id),))


def test_there_and_back(full: Project, other: str, tmp_path: Path) -> None:
    first = full.store_url
    with Store.open(first) as store:
        held = rows(store)
        assert len(held["answers"]) == 3
    there = move_store(full, to=other)
    assert there["old"] == full.store_name
    moved = Project.open(full.path)
    assert (moved.store_url, moved.settings["label"]) == (other, {"overlap": 0.5})
    with Store.open(other) as store:
        assert rows(store) == held
        assert not any(rows(store, without=())[name] for name in ("sessions", "attempts"))
        accounts.invite(store, "labeler", "ann", by="me", now=datetime.now(UTC))  # its numbers go on
        held = rows(store)
    back = move_store(moved, to=f"sqlite:///{tmp_path}/back.db")
    assert back["store"] != there["store"]
    with Store.open(Project.open(full.path).store_url) as store:
        assert rows(store) == held
    with pytest.raises(StoreError, match="has moved to"):
        Store.open(first)
    assert (full.path / "accord.toml").stat().st_mode & 0o777 == 0o600


def test_sessions_go_along_when_they_are_asked_for(full: Project, other: str) -> None:
    with Store.open(full.store_url) as store:
        held = rows(store, without=("attempts",))
    move_store(full, to=other, sessions=True)
    with Store.open(other) as store:
        assert rows(store, without=("attempts",)) == held
        assert len(held["sessions"]) == 3


def test_what_has_the_old_store_open_can_no_longer_write(full: Project, other: str) -> None:
    with Store.open(full.store_url) as open_site:
        open_site.add_prompts([prompt("before")])
        move_store(full, to=other)
        with pytest.raises(StoreError, match="the store has moved"):
            open_site.add_prompts([prompt("after")])
        with pytest.raises(StoreError, match="the store has moved"):
            accounts.change_profile(open_site, "labelers-1-é", lambda profile: {**profile, "language": "en"})
    with Store.open(other) as store:
        assert "before" in {one.id for one in store.prompts()}


def test_a_database_in_use_is_no_place_to_move_to(full: Project, other: str) -> None:
    with Store.open(other) as store:
        store.add_prompts([prompt("theirs")])
    toml = (full.path / "accord.toml").read_text()
    with pytest.raises(InputError, match="has rows already"):
        move_store(full, to=other)
    with pytest.raises(UsageError, match="where the store is now"):
        move_store(full, to=full.store_url)
    assert (full.path / "accord.toml").read_text() == toml
    with Store.open(full.store_url) as store, Store.open(other) as theirs:
        store.add_prompts([prompt("mine")])
        assert [one.id for one in theirs.prompts()] == ["theirs"]


def test_nothing_that_was_acknowledged_is_lost_while_people_write(full: Project, other: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, full.store_url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        said = [writer.stdout.readline().strip() for _ in range(30)]
        move_store(full, to=other)
        said += [line.strip() for line in writer.stdout]
    assert re.match("refused: .*the store has moved", said[-1])
    with Store.open(other) as store:
        arrived = {one.id for one in store.prompts()}
    assert set(said[:-1]) <= arrived
    assert len(said) > 30


@pytest.mark.parametrize(
    ("url", "point"),
    [("sqlite", point) for point in (*IN_FORCE, *MOVED)] + [("postgresql", point) for point in (IN_FORCE[-1], MOVED[0])],
    indirect=["url"],
)
def test_a_kill_leaves_one_store_in_force_and_the_same_command_goes_on(full: Project, other: str, point: str) -> None:
    toml = (full.path / "accord.toml").read_text()
    with Store.open(full.store_url) as store:
        held = rows(store)
    done = subprocess.run([sys.executable, "-c", KILLED, full.path, other, point], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (full.path / "accord.toml").read_text() == toml
    if point in IN_FORCE:
        with Store.open(full.store_url) as store:
            store.add_prompts([prompt("after-the-kill")])
            held = rows(store)
        if point != "while the rows are copied":
            with pytest.raises(StoreError, match="was not finished"):
                Store.open(other)
    else:
        with pytest.raises(StoreError, match=r"has moved to .*move-store"):
            Store.open(full.store_url)
    move_store(full, to=other)
    with Store.open(Project.open(full.path).store_url) as store:
        assert store.database.is_sqlite == other.startswith("sqlite")
        assert rows(store) == held
