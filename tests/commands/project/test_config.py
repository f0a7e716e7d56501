"""`accord config`: accord.toml over the defaults, and which setting comes from where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.project.config import config
from accord.errors import UsageError
from accord.runtime.project import sections

TOML = "[project]\nseed = 7\n[ppo]\nsteps = 3\n"


def test_every_section_is_in_force_with_accord_toml_over_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "accord.toml").write_text(TOML)
    settings = config(tmp_path)
    assert settings.keys() == sections().keys()
    assert (settings["project"]["seed"], settings["ppo"]["steps"], settings["ppo"]["lam"]) == (7, 3, 0.95)
    main(["config", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == settings


def test_the_terminal_says_which_settings_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "accord.toml").write_text(TOML)
    main(["config", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    (steps,) = [line for line in shown if " ppo.steps " in line]
    (lam,) = [line for line in shown if " ppo.lam " in line]
    assert "accord.toml" in steps
    assert "accord.toml" not in lam


def test_a_setting_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text("[ppo]\nstepz = 3\n")
    with pytest.raises(UsageError, match=r"stepz.*steps"):
        config(tmp_path)
