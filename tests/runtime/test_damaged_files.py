"""Files of a project that were damaged: the error names the file and the way back, and the file stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime import jobs
from accord.runtime.logs import read_metrics
from accord.runtime.project import Project


def torn(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def garbage(whole: bytes) -> bytes:
    return b"\xff\x00garbage " * (len(whole) // 10)


def stored(project: Project) -> Path:
    with Store.open(project.store_url) as store:
        store.add(prompts=[Prompt(f"p{n}", (Message("user", f"Question {n}? " * 20),)) for n in range(300)])
    return project.path / "feedback.db"


@pytest.mark.parametrize("damage", [torn, garbage])
def test_a_damaged_database_is_named_with_the_way_back(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    project = Project.create(tmp_path / "p")
    file = stored(project)
    file.write_bytes(damaged := damage(file.read_bytes()))
    with pytest.raises(AccordError) as caught, Store.open(project.store_url) as store:
        list(store.prompts())
    assert "feedback.db" in str(caught.value)
    assert "accord restore" in str(caught.value.hint)
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[label\n", b"[project]\nseed = ", b'project = "x"\n'])
def test_a_damaged_accord_toml_is_named(tmp_path: Path, content: bytes) -> None:
    project = Project.create(tmp_path / "p")
    file = project.path / "accord.toml"
    file.write_bytes(content)
    with pytest.raises(AccordError, match=r"accord\.toml"):
        Project.open(project.path).settings  # noqa: B018
    assert file.read_bytes() == content


def test_a_job_with_a_damaged_file_is_listed_and_none_is_overwritten(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    assert jobs.wait(jobs.start(project, ["config"]), 60).state == "done"
    for name in ("log.txt", "output.txt", "process.json", "supervisor.json", "end.json", "job.json"):
        file = project.path / "jobs" / "001" / name
        file.write_bytes(damaged := b'\xff{"exit": ')
        (first,) = jobs.newest(project)
        assert first.number == 1
        assert isinstance(first.log(), str)
        assert name == "log.txt" or first.result() is None
        jobs.advance(project)
        assert file.read_bytes() == damaged
    second = jobs.start(project, ["config"])
    assert second.number == 2
    assert jobs.wait(second, 60).state == "done"


def test_a_torn_line_of_metrics_hides_no_other(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n{"step": 3, "loss": 0.5}\n{"step": 4, "loss"')
    before = file.read_bytes()
    assert list(read_metrics(file).columns["loss"]) == [2.0, 0.5]
    assert file.read_bytes() == before
