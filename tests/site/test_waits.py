"""Jobs that do not end and jobs that cannot be started: pages about them keep nobody else waiting, and none of them breaks."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from visitors import Come

from accord.runtime import jobs, owners
from accord.runtime.project import Project
from accord.site import data_pages


def under_way(project: Project, *words: str, queue: str = "data") -> None:
    """A job of a process that goes on: this one."""
    folder = project.path / "jobs" / "001"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"arguments": list(words), "queue": queue, "at": "", "by": ""}))
    owners.write(folder / "supervisor.json", owners.this_process())


def test_twenty_who_watch_an_import_keep_nobody_else_waiting(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_pages, "MOMENT", 3.0)
    under_way(project, "import", "rows.jsonl")
    lead, viewer = come(), come("viewer")
    lead.get("/lead/people")
    with ThreadPoolExecutor(20) as threads:
        watching = [threads.submit(viewer.get, "/data/jobs/1") for _ in range(20)]
        time.sleep(0.5)  # they have arrived
        began = time.monotonic()
        assert lead.get("/lead/people").status_code == 200
        assert time.monotonic() - began < 2
        assert {each.result().status_code for each in watching} == {200}
        assert all("data-running" in each.result().text for each in watching)


def test_a_queue_that_is_full_is_told(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_WAITING", 0)
    folder = project.path / "jobs" / "001"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"arguments": ["sft", "--name=one"], "queue": "training", "at": "", "by": ""}))
    (folder / "end.json").write_text('{"exit": 75}')
    answer = come().post("/jobs/1/resume")
    assert answer.status_code == 409
    assert "jobs wait already" in answer.text
