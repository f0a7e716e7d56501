"""Projects for the commands that train: with nothing ranked, with rankings, and with a reward model. Tests change copies of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, copied, labeled, rankings, with_sft_model

from accord.commands.app import main
from accord.commands.train.reward import reward
from accord.runtime.project import Project
from accord.settings import RewardConfig


@pytest.fixture(scope="session")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with an SFT model and responses that nobody has ranked."""
    return with_sft_model(tmp_path_factory.mktemp("train") / "p")


@pytest.fixture(scope="session")
def rewarded(unlabeled: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same with rankings, and a reward model that learned from them."""
    project = labeled(unlabeled, tmp_path_factory.mktemp("rewarded") / "p", rankings())
    reward(project, config=RewardConfig(lr=1e-2, warmup_steps=1), flags=FLAGS)
    return project


@pytest.fixture
def project(unlabeled: Project, tmp_path: Path) -> Project:
    """A copy of ``unlabeled``, for a test that changes it."""
    return copied(unlabeled, tmp_path / "p")


@pytest.fixture
def town(rewarded: Project, tmp_path: Path) -> Project:
    """A copy of ``rewarded``, for a test that changes it."""
    return copied(rewarded, tmp_path / "town")


Typed = Callable[..., dict[str, Any]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line with --json; return what it printed."""

    def run(*words: object) -> dict[str, Any]:
        capsys.readouterr()
        main([*map(str, words), "--json"])
        return json.loads(capsys.readouterr().out)

    return run
