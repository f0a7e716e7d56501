"""A disk of 8 MB that fills up: what cannot be written is named and leaves nothing half, and all goes on once there is room."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from accord.commands.data.import_ import import_
from accord.commands.project.backup import backup
from accord.errors import AccordError
from accord.feedback import accounts, answers, tasks
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.feedback.web.app import create
from accord.records import Message, Prompt, Response
from accord.runtime import checkpoints, jobs
from accord.runtime.project import Project
from accord.settings import LabelConfig

SIZE = 8 << 20
Full = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Full]]:
    """A folder, and what fills its disk: a tmpfs where one can be mounted, else a limit on the size of every file."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, timeout=10).returncode == 0

    @contextmanager
    def full() -> Iterator[None]:
        filler, before = place / "filler", resource.getrlimit(resource.RLIMIT_FSIZE)
        if mounted:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            assert shutil.disk_usage(place).free == 0
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            yield
        finally:
            filler.unlink(missing_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield place, full
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


@pytest.fixture
def project(disk: tuple[Path, Full]) -> Project:
    made = Project.create(disk[0] / "project")
    with Store.open(made.store_url) as store:
        prompt = Prompt("p", (Message("user", "Name a colour."),))
        shown = tuple(Response(f"r{n}", "p", f"Colour {n}.", "m") for n in range(2))
        tasks.add(store, [Task("t", "compare", prompt, shown)])
    return made


def files(project: Project) -> dict[str, bytes]:
    found = [path for path in project.path.rglob("*") if path.is_file() and not path.name.startswith(("feedback.db", ".lock"))]
    return {path.relative_to(project.path).as_posix(): path.read_bytes() for path in found}


def test_an_import_is_named_and_leaves_nothing(project: Project, disk: tuple[Path, Full], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Question {n}?", "response": "So. " * 50}) + "\n" for n in range(500)))
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"Document {n}."}) + "\n" for n in range(500)))
    before = files(project)
    with disk[1]():
        for source in (rows, text):
            with pytest.raises(AccordError, match="full"):
                import_(project.path, source, quiet=True)
            assert files(project) == before
    with Store.open(project.store_url) as store:
        assert store.counts()["demonstrations"] == 0
    assert import_(project.path, rows, quiet=True)["demonstrations"] == 500
    assert import_(project.path, text, quiet=True)["documents"] == 500


def test_an_answer_is_not_acknowledged_and_can_be_sent_again(project: Project, disk: tuple[Path, Full]) -> None:
    with (
        Store.open(project.store_url) as store,
        TestClient(
            create(store, LabelConfig(), name="full", secret="x" * 40), base_url="http://127.0.0.1:8400", raise_server_exceptions=False
        ) as client,
    ):
        token = accounts.invite(store, "labeler", "ann", by="tests", now=datetime.now(UTC))
        client.post("/join", data={"token": token}, follow_redirects=False)
        told = {"Accept": "application/json"}
        given = client.get("/next", headers=told).json()
        frame = {"csrf": given["csrf"], "key": given["key"], "revision": "0", "version": given["task"]["guideline"]["version"]}
        sent = frame | {"action": "save", "choice": "first", "reason": "x" * 4000}
        with disk[1]():
            replies = [client.post("/tasks/t/answer", data=sent, headers=told).status_code for _ in range(3)]
            assert replies == [503] * 3
            assert client.get("/health").status_code in (200, 503)
            assert list(answers.every(store)) == []
        assert client.post("/tasks/t/answer", data=sent, headers=told).status_code == 200
        assert len(list(answers.every(store))) == 1


def test_a_backup_a_job_and_a_checkpoint_leave_nothing_half(project: Project, disk: tuple[Path, Full]) -> None:
    run = project.path / "runs" / "r"
    run.mkdir(parents=True)
    checkpoints.save(run, {"weights": torch.ones(1000), "step": 1})
    copy = disk[0] / "copy.zip"
    (project.path / "jobs").mkdir()
    before = files(project)
    with disk[1]():
        with pytest.raises(AccordError, match="full"):
            checkpoints.save(run, {"weights": torch.ones(100_000), "step": 2})
        with pytest.raises(AccordError, match=r"full|disk I/O error"):  # a limited file has its disk's free space
            backup(project.path, copy)
        with pytest.raises(AccordError, match="full"):
            jobs.start(project, ["config"])
        assert files(project) == before
        assert not copy.exists()
        assert checkpoints.load(run)["step"] == 1
    assert [path.name for path in project.path.rglob(".tmp-*")] == []
    backup(project.path, copy)
    assert copy.stat().st_size > 0
    assert jobs.wait(jobs.start(project, ["config"]), 60).state == "done"
