"""A town whose labelers ranked a pilot, and the command line in this process: for `accord agreement` and `accord plan`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import main
from accord.commands.feedback.plan_pilot import simulated_pilot
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import PlanConfig, WorldConfig
from accord.world import World, labelers

WORLD = WorldConfig(documents=60, prompts=150, demonstrations=24, users=20)


def ranked_town(path: Path) -> Path:
    """A project whose labelers ranked four responses to each of 100 prompts, half of them twice."""
    project = Project.create(path, settings={"world": dataclasses.asdict(WORLD)})
    world = World.generate(WORLD.seed, WORLD)
    ranked, rankings = simulated_pilot(world, PlanConfig(k=4, pilot=100, overlap=0.5))
    with Store.open(project.store_url) as store:
        responses = {response.id: response for row in ranked for response in row.responses}
        people = [labeler.record for labeler in labelers(world)]
        store.add(prompts=world.prompts, labelers=people, responses=responses.values(), rankings=rankings)
    return project.path


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a command."""
    capsys.readouterr()
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0), *capsys.readouterr()
    return 0, *capsys.readouterr()


def metrics(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """What a command prints with --json."""
    code, out, err = typed(capsys, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found
