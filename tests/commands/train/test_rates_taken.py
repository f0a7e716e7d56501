"""A learning rate that the settings leave open is the method's for this model: said, recorded, kept by a resume, written into the card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, RESUME, SMALL, copied, labeled, rankings

from accord.commands.app import RunFlags
from accord.commands.train import dpo as dpo_module
from accord.commands.train.dpo import dpo
from accord.commands.train.ppo import ppo
from accord.commands.train.pretrain import pretrain
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.errors import RunError, UsageError
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig, PpoConfig, PretrainConfig, RewardConfig, SftConfig


def rows(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def config_of(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "config.json").read_text())


@pytest.mark.parametrize(("rank", "expected"), [(0, 1e-6), (2, 1e-5)])
def test_dpo_takes_its_own_rate_and_says_so(
    rank: int, expected: float, unlabeled: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    run = dpo(project, config=DpoConfig(lora_rank=rank, epochs=20), flags=FLAGS)
    assert max(row["lr"] for row in rows(run)) == pytest.approx(expected)
    record = config_of(run)
    assert (record["config"]["lr"], record["asked"]["lr"]) == (expected, 0)
    lineage = json.loads((project.model("dpo") / "lineage.json").read_text())
    assert lineage["settings"]["lr"] == expected
    said = f"lr {expected:g}, the rate of dpo for {'adapters on' if rank else 'all weights of'} a model of"
    assert f"dpo: {said}" in capsys.readouterr().err
    assert said in (run.folder / "log.txt").read_text()


def test_the_beta_that_was_in_force_is_in_the_record_and_in_the_card(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    for loss, beta in (("sigmoid", 0.1), ("simpo", 2.0)):
        run = dpo(project, name=loss, config=DpoConfig(loss=loss), flags=FLAGS)
        assert config_of(run)["config"]["beta"] == beta
        assert f"| beta | {beta} |" in (project.model(loss) / "README.md").read_text()


def test_ppos_value_model_has_a_rate_of_its_own_and_a_rate_that_is_given_stays(town: Project, rewarded: Project, tmp_path: Path) -> None:
    small = {name: value for name, value in SMALL.items() if name != "lr"}
    asked = PpoConfig(**small, steps=1, ptx_coef=0.0, lora_rank=2)
    run = ppo(town, config=asked, flags=FLAGS)
    assert (config_of(run)["config"]["lr"], config_of(run)["config"]["value_lr"]) == (3e-5, 1e-4)
    other = copied(rewarded, tmp_path / "other")
    run = ppo(other, config=replace(asked, lr=7e-4, value_lr=3e-4), flags=FLAGS)
    assert (config_of(run)["config"]["lr"], config_of(run)["config"]["value_lr"]) == (7e-4, 3e-4)
    assert "asked" not in config_of(run)


def test_a_resumed_run_keeps_its_rate_and_is_refused_another(unlabeled: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is stopped before its model is saved; meanwhile the table of rates has changed, as a newer version's may."""
    project = labeled(unlabeled, tmp_path / "p", rankings())

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    save = dpo_module.save
    monkeypatch.setattr(dpo_module, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        dpo(project, flags=FLAGS)
    monkeypatch.setattr(dpo_module, "save", save)
    monkeypatch.setattr("accord.commands.train.run.rate", lambda *_, **__: 1.0)
    with pytest.raises(RunError, match=r"config.lr was 0.0, is 0.5"):
        dpo(project, config=DpoConfig(lr=0.5), flags=RESUME)
    run = dpo(project, flags=RESUME)
    assert run.done
    assert config_of(run)["config"]["lr"] == 1e-6


TRAINED: dict[str, Callable[[Project, RunFlags], Run]] = {
    "pretrain": lambda p, f: pretrain(p, name="new", config=PretrainConfig(), flags=f),
    "sft": lambda p, f: sft(p, name="new", config=SftConfig(ptx_tokens=0), flags=f),
    "reward": lambda p, f: reward(p, name="new", config=RewardConfig(), flags=f),
    "dpo": lambda p, f: dpo(p, name="new", flags=f),
    "ppo": lambda p, f: ppo(p, name="new", config=PpoConfig(ptx_coef=0.0), flags=f),
}


@pytest.mark.parametrize("stage", TRAINED)
def test_float16_does_not_train_and_the_error_names_what_does(stage: str, rewarded: Project) -> None:
    """Without loss scaling small gradients are 0 in it."""
    with pytest.raises(UsageError, match="loss scaling") as error:
        TRAINED[stage](rewarded, RunFlags(dtype="float16"))
    assert "bfloat16" in error.value.hint
    assert not rewarded.run("new").exists() or not any(rewarded.run("new").iterdir())
