"""`accord init`: an empty project, or one with the built-in world and the settings that its small model needs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.project.config import config as config_in_force
from accord.commands.project.init import init
from accord.errors import InputError
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import PpoConfig, WorldConfig
from accord.settings.rates import WORLD

SMALL = WorldConfig(seed=3, documents=10, prompts=30, demonstrations=4, users=10)


def test_an_empty_project_has_no_settings_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p"
    main(["init", str(path), "--json"])
    assert json.loads(capsys.readouterr().out) == {"folder": str(path)}
    assert tomllib.loads((path / "accord.toml").read_text("utf-8")) == {"project": {"name": "p"}}
    assert (path / "models").is_dir()
    assert (path / "runs").is_dir()


def test_the_world_brings_text_records_and_its_own_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "town"
    counts = init(path, world=True, config=SMALL)
    assert (counts["folder"], counts["documents"], counts["prompts"], counts["demonstrations"]) == (str(path), 10, 30, 4)
    project = Project.open(path)
    assert project.settings["world"]["seed"] == 3
    assert project.settings["project"]["name"] == "town"
    for section, rates in WORLD.items():
        assert rates.items() <= project.settings[section].items()
    lengths = {
        section: project.settings[section]["max_tokens"] for section in ("sft", "reward", "sample", "ppo", "evaluate", "star", "chat")
    }
    assert lengths == {"sft": 256, "reward": 256, "sample": 48, "ppo": 48, "evaluate": 48, "star": 96, "chat": 64}
    force = config_in_force(project)
    assert [name for name, values in force.items() if values.get("max_tokens") == 0] == [], "a length of the town is left to the model"
    assert project.settings["ppo"]["lr"] > 100 * PpoConfig().lr
    assert {"sft", "reward"} <= project.settings.keys()
    assert len((path / "corpus" / "world.jsonl").read_text("utf-8").splitlines()) == 10
    with Store.open(project.store_url) as store:
        people = {labeler.id: labeler.group for labeler in store.labelers()}
        assert all(people[row.labeler] == "writers" for row in store.demonstrations())
    main(["init", str(tmp_path / "other"), "--world", "--documents", "10", "--prompts", "30", "--demonstrations", "4", "--users", "10"])
    assert "project other" in capsys.readouterr().out


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    for world in (False, True):
        with pytest.raises(InputError, match="not empty"):
            init(tmp_path, world=world, config=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
