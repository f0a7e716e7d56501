"""Mirrors send what metrics.jsonl holds, each row once, to the tracker that was asked for; without it one line says what to install."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from accord.errors import AccordError
from accord.runtime import trackers
from accord.runtime.trackers import Mirror, mirrored, open_tracker


def rows(folder: Path, steps: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"stage": "ppo", "config": {"lr": 0.1}}))
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, "reward": step / 2, "kl_k1": None if step == 2 else 1.0}) + "\n" for step in steps)


def read(project: Path, run: str, key: str) -> list[tuple[int, float]]:
    events: Any = EventAccumulator(str(project / "trackers" / "tensorboard" / run))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(key)]


def test_tensorboard_gets_every_row_once(tmp_path: Path) -> None:
    rows(tmp_path / "runs" / "ppo", range(1, 4))
    rows(tmp_path / "runs" / "other", range(1, 2))
    mirror = Mirror(tmp_path, "tensorboard")
    assert mirror.follow() == {"other": 1, "ppo": 3}
    assert mirror.follow() == {}
    rows(tmp_path / "runs" / "ppo", range(4, 6))
    assert mirror.follow() == {"ppo": 2}
    mirror.close()
    assert read(tmp_path, "ppo", "reward") == [(step, step / 2) for step in range(1, 6)]
    assert [step for step, _ in read(tmp_path, "ppo", "kl_k1")] == [1, 3, 4, 5]


def test_a_mirror_follows_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "SECONDS", 0.05)
    rows(tmp_path / "runs" / "ppo", range(1, 3))
    with mirrored(tmp_path, ["tensorboard"], live=True) as sent:
        assert sent == {"ppo": 2}
        rows(tmp_path / "runs" / "ppo", range(3, 7))
        for _ in range(600):
            if sent["ppo"] == 6:
                break
            time.sleep(0.05)
    assert len(read(tmp_path, "ppo", "reward")) == 6


def test_nothing_is_sent_unless_asked_for(tmp_path: Path) -> None:
    rows(tmp_path / "runs" / "ppo", range(1, 3))
    with mirrored(tmp_path, [], live=False) as sent:
        assert sent == {}
    assert not (tmp_path / "trackers").exists()


@pytest.mark.parametrize(("kind", "package"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny"), ("trackio", "trackio")])
def test_a_tracker_that_is_not_there_says_how_to_get_it(
    kind: trackers.Kind, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, trackers.MODULES[kind], None)
    with pytest.raises(AccordError, match=f"{kind} is not installed .*pip install {package}"):
        open_tracker(kind, tmp_path, "ppo", {})
