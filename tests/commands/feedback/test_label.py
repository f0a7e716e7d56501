"""`accord label`: the site opens on the responses that wait, and simulated labelers rank them without it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from visitor import Visitor

from accord.commands.app import main
from accord.commands.feedback.label import label
from accord.errors import InputError, RunError, UsageError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project
from accord.settings import LabelConfig, WorldConfig
from accord.world import HELD_OUT_GROUP, World

WORLD = WorldConfig(seed=3, documents=10, prompts=40, demonstrations=4, users=10)
TEXTS = ("I do not know.", "It is made of wool.", "Go away!")


@pytest.fixture
def town(tmp_path: Path) -> Project:
    """A project with three responses to each prompt of its world."""
    project = Project.create(tmp_path / "town", settings={"world": dataclasses.asdict(WORLD)})
    prompts = World.generate(WORLD.seed, WORLD).prompts
    with Store.open(project.store_url) as store:
        store.add(prompts=prompts, responses=[Response(f"{p.id}-{n}", p.id, text, "sft") for p in prompts for n, text in enumerate(TEXTS)])
    return project


@contextmanager
def site(project: Project) -> Iterator[tuple[str, str]]:
    """The address at which ``accord label`` serves a project, and the lead's token."""
    command = [sys.executable, "-c", "from accord.commands.app import main; main()", "label", str(project.path), "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as server:
        try:
            assert server.stdout
            line = server.stdout.readline()
            found = re.search(r"http://\S+:\d+", line)
            assert found, line + server.stdout.read()
            yield found[0], server.stdout.readline().split()[-1].rpartition("=")[2]
        finally:
            server.kill()


def test_every_prompt_has_a_labeler_and_held_out_users_one_of_the_held_out_group(town: Project) -> None:
    run = label(town, by="world", config=LabelConfig(overlap=0.0))
    assert run
    with Store.open(town.store_url) as store:
        groups = {labeler.id: labeler.group for labeler in store.labelers()}
        splits = {prompt.id: prompt.split for prompt in store.prompts()}
        by_prompt: dict[str, list[bool]] = {}
        for ranking in store.rankings():
            by_prompt.setdefault(ranking.prompt_id, []).append(groups[ranking.labeler] == HELD_OUT_GROUP)
    assert by_prompt.keys() == splits.keys()
    assert set(splits.values()) > {"train"}
    for prompt_id, held_out in by_prompt.items():
        assert sorted(held_out) == ([False] if splits[prompt_id] == "train" else [False, True])
    assert (run.summary["prompts"], run.summary["rankings"]) == (len(by_prompt), sum(map(len, by_prompt.values())))


def test_overlap_gives_prompts_a_second_labeler(town: Project) -> None:
    run = label(town, by="world", config=LabelConfig(overlap=1.0))
    assert run
    with Store.open(town.store_url) as store:
        for prompt in store.prompts(split="train"):
            labelers = [ranking.labeler for ranking in store.rankings() if ranking.prompt_id == prompt.id]
            assert len(labelers) == len(set(labelers)) == 2


def test_what_is_ranked_is_not_ranked_again(town: Project) -> None:
    label(town, by="world")
    with pytest.raises(InputError, match="wait to be ranked"):
        label(town, by="world", name="again")
    assert not town.run("again").exists()


def test_a_run_of_the_name_is_not_replaced(town: Project) -> None:
    label(town, by="world")
    with Store.open(town.store_url) as store:
        (prompt, *_) = store.prompts()
        store.add_responses(Response(f"new-{n}", prompt.id, text, "sft") for n, text in enumerate(TEXTS))
    with pytest.raises(RunError, match="finished run"):
        label(town, by="world")


def test_the_metrics_are_printed(town: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["label", str(town.path), "--by", "world", "--json"])
    assert json.loads(capsys.readouterr().out).keys() == {"rankings", "prompts", "labelers", "seconds", "peak_rss_mb"}


def test_without_a_world_nobody_simulated_can_label(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no built-in world"):
        label(Project.create(tmp_path / "p"), by="world")


def test_other_machines_are_not_served_without_a_secret(town: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCORD_SECRET", raising=False)
    with pytest.raises(UsageError, match="no secret is set"):
        label(town, config=LabelConfig(host="0.0.0.0"))


def test_the_site_gives_out_what_waits_and_does_not_queue_it_twice(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    prompt, alone = Prompt("p1", (Message("user", "Which bread?"),)), Prompt("p2", (Message("user", "Why?"),))
    responses = [Response(f"r{n}", prompt.id, text, "sft") for n, text in enumerate(TEXTS)]
    with Store.open(project.store_url) as store:
        store.add(prompts=[prompt, alone], responses=[*responses, Response("lone", alone.id, "Because.", "sft")])
    for _ in range(2):
        with site(project) as (address, token):
            visitor = Visitor(address)
            assert visitor.join(token).status == 200
            given = visitor.next()
            visitor.close()
        assert given
        assert given["task"]["messages"][-1]["content"] == "Which bread?"
        assert sorted(given["task"]["responses"]) == sorted(TEXTS)
    with Store.open(project.store_url) as store, store.read() as connection:
        assert connection.exec_driver_sql("SELECT prompt_id FROM tasks").scalars().all() == ["p1"]
