"""Hostile text in everything that a job, a run or an upload shows: it stays text on every page."""

from __future__ import annotations

import json

import pytest
from visitors import Come

from accord.runtime.project import Project

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
PAGES = ("/", "/runs", "/run/one", "/run/one/live", "/jobs/1", "/jobs/2", "/data", "/data/uploads/0123456789abcdef?job=1", "/data/jobs/1")


@pytest.fixture
def hostile(project: Project) -> Project:
    """A project whose files hold markup wherever they hold text."""
    for number, words in enumerate((["import", EVIL, f"--map={EVIL}"], ["sft", "--name=one", EVIL]), 1):
        folder = project.path / "jobs" / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"arguments": words, "queue": "data", "at": EVIL, "by": EVIL}))
        (folder / "log.txt").write_text(f"{EVIL}\naccord: {EVIL}\n")
        (folder / "output.txt").write_text(json.dumps({EVIL: EVIL, "of": {EVIL: [EVIL]}, "unread": [EVIL], "models": [EVIL]}))
        (folder / "end.json").write_text('{"exit": 1}')
    upload = project.path / "uploads" / "0123456789abcdef"
    upload.mkdir(parents=True)
    (upload / "<img src=x onerror=alert(1)>.jsonl").write_text("{}")
    run = project.run("one")
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"stage": EVIL, **{name: {EVIL: EVIL} for name in ("config", "asked", "inputs")}}))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, EVIL: 1.0, "loss": 2.0}) + "\n")
    (run / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": EVIL, "response": EVIL, "score": 1}) + "\n")
    (run / "summary.json").write_text(json.dumps({EVIL: 1.0, "seconds": EVIL}))
    (run / "log.txt").write_text(EVIL)
    return project


def test_markup_in_files_of_the_project_stays_text(come: Come, hostile: Project) -> None:
    lead = come("lead", EVIL)
    for address in (*PAGES, "/lead/people", f"/lead/people/{lead.id}", "/runs/compare?a=one&b=one", "/report"):
        answer = lead.get(address)
        assert answer.status_code == 200, address
        assert "<script>alert" not in answer.text, address
        assert "<img src=x" not in answer.text, address
    for address in ("/run/one", "/jobs/1", "/data/jobs/1", "/lead/people"):
        assert "&lt;img src=x onerror" in lead.get(address).text, address
