"""`--find-lr`: the rate rises through the command's own training, one rate is suggested, and the project stays as it was."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, RESUME

from accord.commands.train import range_test
from accord.commands.train.dpo import dpo
from accord.commands.train.kto import kto
from accord.commands.train.range_test import STEPS, few, smoothed, suggested
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.errors import UsageError
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig, KtoConfig, RewardConfig, SftConfig
from accord.settings.rates import rate

TRIED: dict[str, Callable[[Project], Run]] = {
    "sft": lambda project: sft(project, find_lr=True, config=SftConfig(lr=1e-2, lora_rank=2), flags=FLAGS),
    "reward": lambda project: reward(project, find_lr=True, config=RewardConfig(ties="model"), flags=FLAGS),
    "dpo": lambda project: dpo(project, find_lr=True, config=DpoConfig(lr=1e-3, muon_lr=1e-3), flags=FLAGS),
    "kto": lambda project: kto(project, find_lr=True, config=KtoConfig(lr=1e-3), flags=FLAGS),
}


def tree(project: Project, *but: str) -> dict[str, str]:
    """Every file's digest, every folder's name, without these folders."""
    paths = {path.relative_to(project.path).as_posix(): path for path in project.path.rglob("*")}
    kept = {name: path for name, path in paths.items() if not name.startswith(but)}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for name, path in kept.items()}


def logged(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def result(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.summary.items() if name not in ("seconds", "peak_rss_mb")}


@pytest.mark.parametrize("command", TRIED)
def test_it_tries_a_geometric_range_alike_each_time_and_leaves_the_project_as_it_was(command: str, town: Project) -> None:
    caches = ("cache", "corpus/tokens-")  # what any command that opens a model or a corpus fills
    before = tree(town, *caches)
    assert "runs/sft/summary.json" in before  # a finished run of that name is no obstacle
    run = TRIED[command](town)
    assert tree(town, *caches) == before

    found, rows = run.summary, logged(run)
    assert [row["step"] for row in rows] == list(range(1, found["steps"] + 1))
    logs = [math.log10(row["lr"] / found["lr"]) for row in rows]
    assert logs == pytest.approx([-2 + 4 * step / (STEPS - 1) for step in range(len(logs))])
    assert found["steps"] == STEPS or found["ended"] == "diverged"
    assert found["table_lr"] == rate(command, 10_000, lora=command == "sft")
    assert found["rates"][-1]["lr"] == pytest.approx(rows[-1]["lr"])
    assert 6 <= len(found["rates"]) <= 12

    before = tree(town)
    assert result(TRIED[command](town)) == result(run)
    assert tree(town) == before


def test_the_suggestion_lies_within_the_range_and_a_rate_far_above_diverges(town: Project) -> None:
    config = SftConfig(lr=1e-2, ptx_tokens=0)
    found = sft(town, find_lr=True, config=config, flags=FLAGS).summary
    assert 1e-4 < found["suggested_lr"] < 1
    losses = [row["loss"] for row in logged(sft(town, name="as-suggested", config=SftConfig(lr=found["suggested_lr"]), flags=FLAGS))]
    assert losses[-1] < losses[0]
    far = SftConfig(lr=1000 * found["suggested_lr"], ptx_tokens=0)
    beyond = sft(town, find_lr=True, config=far, flags=FLAGS).summary
    assert beyond["ended"] == "diverged"
    assert beyond["steps"] < STEPS
    assert beyond["rates"][-1]["loss"] is None or beyond["rates"][-1]["loss"] > 4 * min(row["loss"] for row in beyond["rates"][:-1])


def test_muon_is_suggested_in_the_proportion_in_which_it_rose(town: Project) -> None:
    found = sft(town, find_lr=True, config=SftConfig(lr=1e-2, muon_lr=2e-2), flags=FLAGS).summary
    assert found["suggested_muon_lr"] == pytest.approx(2 * found["suggested_lr"], rel=0.05)
    assert "suggested_muon_lr" not in sft(town, find_lr=True, config=SftConfig(lr=1e-2), flags=FLAGS).summary


def test_a_test_that_time_ends_suggests_nothing(town: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(range_test, "SECONDS", 0.0)
    run = TRIED["sft"](town)
    assert (run.summary["ended"], run.summary["suggested_lr"], run.summary["steps"]) == ("time", None, 1)
    range_test.print_run(run)
    assert "smaller --batch-size" in capsys.readouterr().out


def test_it_cannot_be_resumed(town: Project) -> None:
    with pytest.raises(UsageError, match="--resume"):
        sft(town, find_lr=True, flags=RESUME)


def test_the_command_line_prints_one_object_or_a_table_and_clears_its_folder(town: Project, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = [sys.executable, "-c", "from accord.commands.app import main; main()", "sft", str(town.path), "--find-lr", "--lr", "0.01"]
    for more in ([], ["--json"]):
        done = subprocess.run([*words, *more], env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True, check=True)
        assert not list(scratch.iterdir())
        if more:
            found = json.loads(done.stdout)
            assert found["suggested_lr"] > 0
        else:
            assert "smoothed loss" in done.stdout
            assert "Suggestion: --lr" in done.stdout
            assert "2e-05 (docs/rates.md)" in done.stdout


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss_if_it_falls_beyond_its_noise() -> None:
    rates = [10 ** (-5 + 4 * i / 59) for i in range(60)]
    losses = [2 + (math.log10(lr) + 2.5) ** 2 for lr in rates]  # lowest at 10 ** -2.5; smoothed, up to a factor of 2 later
    assert 10**-3.5 <= (suggested(rates, losses) or 0) <= 2 * 10**-3.5
    assert suggested(rates, losses[:-5] + [math.nan] * 5) == suggested(rates, losses)
    assert suggested(rates, [float(i) for i in range(60)]) is None
    assert suggested(rates, [2 + (-1) ** i * 0.3 - i / 300 for i in range(60)]) is None
    assert suggested(rates, [abs(12 - i) + 1.0 for i in range(60)]) is None  # a tenth of it is below the range
    assert suggested(rates, [math.nan] * 60) is None


def test_smoothing_forgets_at_a_fifth_per_step_and_starts_at_the_first_loss() -> None:
    means = smoothed([3.0] * 4 + [0.0] * 30)
    assert means[:4] == pytest.approx([3.0] * 4)
    assert means[-1] / means[-2] == pytest.approx(0.8, rel=1e-3)


def test_no_more_rows_than_its_steps_take_drawn_by_the_seed() -> None:
    config = DpoConfig(batch_size=2, seed=3)
    drawn = few(range(1000), config)
    assert len(set(drawn)) == 2 * STEPS
    assert few(range(1000), config) == drawn
    assert list(few(range(5), config)) == list(range(5))
