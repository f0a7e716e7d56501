"""The witness of loads and kills can see a loss: stores that were tampered with are caught, a power cut among the faults."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from labeling_load import ROOT, Log, Servers, at_work, fill, postgres
from visitor import Visitor
from witness import Witness, verdict

from accord import Project, Store
from accord.feedback import accounts

SABOTAGE = {
    "sound": "",
    "another payload": "answers._json = lambda payload: '{}'",
    "no record": "answers._record = lambda *given: None",
    "no sync": "database._prepare_sqlite = lambda connection, _: prepare(connection, _) or connection.execute('PRAGMA synchronous=OFF')",
}
PROGRAM = """
from accord.commands.app import main
from accord.feedback import answers, database
prepare = database._prepare_sqlite
{sabotage}
main()
"""
CAUGHT = {"sound": set[str](), "another payload": {"changed"}, "no record": {"unrecorded"}, "no sync": {"lost"}}


ENOUGH = 20
"""Acknowledged answers after which the server is killed."""


@pytest.fixture(scope="module")
def power_cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that keeps what a process has synced."""
    made = tmp_path_factory.mktemp("power") / "power_cut.so"
    words = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        str(ROOT / "benchmarks" / "power_cut.c"),
        "-o",
        str(made),
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(words, check=True, timeout=60)
    return made


def prepared(url: str, folder: Path) -> tuple[Project, list[str]]:
    """Make a project with a queue, and four labelers' invitations."""
    project = Project.create(folder, settings={"store": {"url": url}})
    with Store.open(url) as store:
        fill(store, 400)
        now = datetime.now(UTC)
        return project, [accounts.invite(store, "labeler", f"labeler {n}", by="load", now=now) for n in range(4)]


def worked(project: Project, tokens: list[str], program: str, environment: dict[str, str]) -> Witness:
    """Let the labelers answer until 20 answers are acknowledged, then kill the server while they go on."""
    servers = Servers(project.path, 1, program=program, environment=environment)
    witness = Witness(project.path / "acknowledged.jsonl")
    log = Log(witness)
    try:
        visitors = [Visitor(servers.address(0)) for _ in tokens]
        for visitor, token in zip(visitors, tokens, strict=True):
            visitor.join(token)

        def killed() -> None:
            deadline = time.monotonic() + 60
            while len(list(witness.lines())) < ENOUGH and time.monotonic() < deadline:
                time.sleep(0.02)
            servers.kill(0)
            log.closing.set()

        at_work(visitors, log, 0, killed)
    finally:
        servers.close()
    return witness


@pytest.mark.parametrize("fault", SABOTAGE)
def test_a_store_that_keeps_something_else_is_caught(fault: str, tmp_path: Path, power_cut: Path) -> None:
    held, disk = tmp_path / "held", tmp_path / "disk"
    held.mkdir()
    project, tokens = prepared(f"sqlite:///{held}/feedback.db", tmp_path / "project")
    shutil.copytree(held, disk)
    environment = {"LD_PRELOAD": str(power_cut), "POWER_CUT_FOLDER": str(held), "POWER_CUT_DISK": str(disk)}
    witness = worked(project, tokens, PROGRAM.format(sabotage=SABOTAGE[fault]), environment)
    found = verdict(f"sqlite:///{disk}/feedback.db", witness)  # what is there had the power gone with the process
    assert found["acknowledged"] >= ENOUGH
    wrong = {name for name in ("lost", "changed", "unrecorded", "doubled") if found[name]}
    assert wrong == CAUGHT[fault], found


def test_the_witness_reads_postgresql_too(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="accord-witness-", dir="/tmp") as folder:  # the server's own user must be able to enter it
        Path(folder).chmod(0o755)
        (Path(folder) / "pg").mkdir()
        with postgres(Path(folder) / "pg") as url:
            project, tokens = prepared(url, tmp_path / "project")
            found = verdict(url, worked(project, tokens, PROGRAM.format(sabotage=SABOTAGE["another payload"]), {}))
    assert found["acknowledged"] >= ENOUGH
    assert found["changed"] == found["acknowledged"]
    assert found["lost"] == found["unrecorded"] == 0
