"""`accord forget` killed (kill -9) at every step: the next run finishes it, and still names what learned from the person."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from feedback.test_canaries import NOW, imports, labels, planted, runs, talks, words
from sqlalchemy import select

from accord import Project, Store
from accord.commands.app import main
from accord.commands.data.forget import forget
from accord.errors import RunError
from accord.feedback import accounts, erasure_plan, schema
from accord.feedback.audit import entries
from accord.feedback.erasure import person
from accord.feedback.erasure_plan import FOLDER, LEARNED
from accord.feedback.snapshot import snapshot_digest
from accord.runtime import lineage

KILLS = """
import json, os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from accord.commands.data.forget import forget

template, scratch, user = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def at_step(number, project):
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def seen(name, given):
        if name in ("os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree") and str(project) in str(given[0]):
            step()
        elif name == "open" and str(project) in str(given[0]) and given[2] and given[2] & (os.O_WRONLY | os.O_RDWR):
            step()

    sys.addaudithook(seen)
    event.listen(Engine, "commit", step)

def forked(work):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            os.write(write, repr(error).encode())
            os._exit(1)
    os.close(write)
    with open(read, "rb") as file:
        said = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

for number in range(1, 500):
    project = scratch / str(number)
    shutil.copytree(template, project)

    def killed():
        at_step(number, project)
        return forget(project, user=user)

    code, said = forked(killed)
    again = forked(lambda: forget(project, user=user)) if code else (0, said)
    print(json.dumps({"step": number, "code": code, "again": again}), flush=True)
    if code == 0:
        break
"""


@pytest.fixture
def eve(tmp_path: Path) -> tuple[Project, str]:
    """A labeler who chats, who was imported, and whom two models learned from: one from her rankings, one descends from it."""
    project = Project.create(tmp_path / "project")
    with Store.open(project.store_url) as store:
        accounts.redeem(store, accounts.invite(store, "labeler", words("account"), by="lead", now=NOW), now=NOW)
        eve = next(person.id for person in accounts.people(store))
        labels(store, eve)
        talks(store, eve)
    imports(project, eve, tmp_path)
    with Store.open(project.store_url) as store:
        runs(project, store, "imported", "demonstration")
    digest = snapshot_digest(project.path / "runs/sft/rankings.jsonl")
    for name, parents, data in (("rm", {}, {"rankings": digest}), ("ppo", {"rm": "0"}, {}), ("base", {}, {})):
        project.model(name).mkdir(parents=True)
        (project.model(name) / "config.json").write_text("{}")
        lineage.write(project.model(name), stage="reward", parents=parents, data=data, settings={}, metrics={})
    return project, eve


def left(project: Path) -> dict[str, set[str]]:
    """Return the files with a canary, each with where it was planted."""
    found = {str(path.relative_to(project)): planted(path.read_bytes()) for path in project.rglob("*") if path.is_file()}
    return {name: places for name, places in found.items() if places}


def test_a_kill_at_any_step_loses_neither_the_models_nor_the_rest_of_the_erasure(eve: tuple[Project, str], tmp_path: Path) -> None:
    project, user = eve
    scratch = tmp_path / "killed"
    scratch.mkdir()
    words = [sys.executable, "-c", KILLS, str(project.path), str(scratch), user]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    steps: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    assert steps, ran.stderr[-2000:]
    assert [step["code"] for step in steps] == [-9] * (len(steps) - 1) + [0]
    assert len(steps) > 20  # files, copies, and every commit
    whole: dict[str, Any] = json.loads(steps[-1]["again"][1])
    assert whole["models"] == {"rm": "learned from it", "ppo": "descends from rm"}
    finished = 0
    for step in steps:
        code, said = step["again"]
        assert code == 0, f"step {step['step']}: {said}"
        told: dict[str, Any] = json.loads(said)
        folder = scratch / str(step["step"])
        assert left(folder) == {}, step
        assert not (folder / FOLDER).exists(), step
        if not told.get("resumed") and step is not steps[-1] and not told["rows_in_runs"]:
            # Killed when all was done but the answer: the audit log has the models.
            with Store.open(f"sqlite:///{folder / 'feedback.db'}") as store:
                (row,) = [entry for entry in entries(store) if entry.on == LEARNED]
            assert row.why == "rm, ppo"
            finished += 1
            continue
        assert {name: told[name] for name in ("models", "files", "copies")} == {
            name: whole[name] for name in ("models", "files", "copies")
        }, step
    assert finished <= 4


def test_a_person_is_known_by_the_turns_of_their_chats_also_where_they_have_prompts(eve: tuple[Project, str]) -> None:
    project, user = eve
    with Store.open(project.store_url) as store:
        with store.read() as connection:
            turns = set(connection.scalars(select(schema.turns.c.id)))
        assert person(store, user).turns == turns
        assert len(turns) == 3
    told = project.path / "jobs/001/log.txt"
    told.write_text(f"begun\n{json.dumps({'turn': min(turns)})}\n")
    forget(project.path, user=user)
    assert told.read_text().split() == ["begun", "(erased)"]


def test_an_erasure_that_was_interrupted_is_named_by_the_next_one(eve: tuple[Project, str], capsys: pytest.CaptureFixture[str]) -> None:
    project, user = eve
    with Store.open(project.store_url) as store:
        erasure_plan.write_plan(project, store, user)
        kept = next(project.path.glob(f"{FOLDER}/*.json"))
        assert kept.stat().st_mode & 0o777 == 0o600
        main(["forget", str(project.path), "--user", "somebody"])
    assert f"The erasure of {user} was interrupted" in " ".join(capsys.readouterr().out.split())
    assert kept.exists()
    main(["forget", str(project.path), "--user", user, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["resumed"] is True
    assert "interrupted" not in told
    assert not kept.parent.exists()


def test_a_damaged_plan_is_named_with_the_way_out(eve: tuple[Project, str]) -> None:
    project, user = eve
    with Store.open(project.store_url) as store:
        erasure_plan.write_plan(project, store, user)
    kept = next(project.path.glob(f"{FOLDER}/*.json"))
    kept.write_text(kept.read_text()[:200])
    with pytest.raises(RunError, match="plan of an interrupted erasure is damaged") as raised:
        forget(project.path, user=user)
    assert str(kept) in str(raised.value)
    assert "remove the file" in raised.value.hint
    kept.unlink()
    assert forget(project.path, user=user)["models"]["rm"] == "learned from it"
