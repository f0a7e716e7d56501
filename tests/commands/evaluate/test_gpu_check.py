"""`accord gpu-check` on the CPU, which must agree with itself; and what a device that computes otherwise would look like."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.evaluate import gpu_check as module
from accord.commands.evaluate.gpu_check import LIMIT, STAGES, Agreement, difference
from accord.commands.evaluate.gpu_check_speed import METHODS, PASSES
from accord.settings.methods import METHODS as TABLE

SERVER = Path(__file__).parents[2] / "engine" / "vllm_stand_in.py"


def test_the_cpu_agrees_with_itself_as_two_processes_and_beside_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is a process that speaks vLLM's routes, in the place of vLLM's command; what it says is computed from the weights."""
    stand_in = tmp_path / "vllm"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {SERVER} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("ACCORD_VLLM", str(stand_in))
    out = tmp_path / "gpu.json"
    asked = ["grpo", "sft-torchrun", "grpo-vllm"]
    main(["gpu-check", "--device", "cpu", "--stages", *asked, "--sizes", "--out", str(out), "--json"])
    printed = json.loads(capsys.readouterr().out)
    written = json.loads(out.read_text())
    assert printed == written
    row, *others = written["agreement"]
    assert [other["stage"] for other in others] == asked[1:]
    assert all(other["right"] for other in others), others
    assert 0 < others[1]["metrics"] < 1e-4, "a gap of exactly 0 would be no other computation"
    assert row == {"stage": "grpo", "metrics": 0.0, "note": "", "right": True}
    assert written["environment"]["device"] == "cpu"


@pytest.mark.slow
def test_a_small_size_is_trained_by_every_method(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    main(["gpu-check", "--device", "cpu", "--stages", "sft", "--sizes", "1M", "--minutes", "60", "--out", str(out)])
    rows = json.loads(out.read_text())["speed"]
    assert [row["method"] for row in rows] == list(METHODS)
    for row in rows:
        assert not row["note"], row
        assert 0 < row["share"] < 1
        assert row["peak_gb"] > 0.1


def test_differences_are_relative_above_one_and_a_number_is_not_none() -> None:
    assert difference(1000.0, 1001.0) == pytest.approx(1e-3)
    assert difference(0.0, 0.5) == 0.5
    assert difference(math.nan, math.nan) == 0.0
    assert difference(math.nan, 1.0) == math.inf
    assert not Agreement("sft", 2 * LIMIT).right
    assert not Agreement("sft", 0.0, "failed").right


def test_what_is_asked_for_must_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["gpu-check", "--sizes", "70B"])
    assert stopped.value.code == 2
    assert "--sizes: '70B' is not known (one of 1M, 0.1B" in capsys.readouterr().err


def test_a_world_that_cannot_be_made_is_an_error_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUND", (("pretrain", "--hidden-size", "-3"),))
    with pytest.raises(SystemExit) as stopped:
        main(["gpu-check", "--device", "cpu", "--stages", "sft", "--sizes", "1M"])
    assert stopped.value.code == 1
    assert "gpu-check, pretrain" in capsys.readouterr().err


def test_every_method_of_the_table_is_compared() -> None:
    assert set(TABLE) - {"star"} <= set(STAGES)
    assert set(METHODS) == set(PASSES)
