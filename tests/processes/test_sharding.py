"""Models sharded over two processes (FSDP2 over gloo) learn what one process learns, and are saved and sampled from as if they were whole.

One start of torchrun serves all tests: sharded_models.py computes the figures that they look at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parent / "sharded_models.py"
SECONDS = 240
Figures = dict[str, dict[str, Any]]


def in_two_processes(folder: Path, *cases: str) -> list[Figures]:
    """What each process found. Neither outlives the test."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT), str(folder), *cases]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("w") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            code = started.wait(SECONDS)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
    assert code == 0, (folder / "log.txt").read_text()[-4000:]
    return json.loads((folder / "figures.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def found(folder: Path) -> list[Figures]:
    return in_two_processes(folder)


LEARNING = {
    "fused": "fused",
    "own": "own",
    "plain": "padded",
    "experts": "own",
    "scalar": "fused",
    "q values": "fused",
    "muon": "fused",
    "adapters": "fused",
    "adapters, own path": "own",
    "four bits": "fused",
}


@pytest.mark.parametrize("case", LEARNING)
def test_three_steps_are_those_of_one_process(found: list[Figures], case: str) -> None:
    for figures in (each[case] for each in found):
        assert figures["path"] == LEARNING[case]
        assert figures["loss"] < 1e-5
        assert figures["norm"] < 1e-5
        assert figures["weights"] < 1e-5  # of steps of 1e-3: where a gradient is near 0, AdamW's step is all sign, and rounding turns it
        assert figures["moved"] > 5e-4


@pytest.mark.parametrize("case", LEARNING)
def test_each_process_holds_half_of_the_parameters(found: list[Figures], case: str) -> None:
    shares = [each[case]["share"] for each in found]
    assert sum(shares) == pytest.approx(1)
    assert all(0.49 < share < 0.51 for share in shares)  # of a tensor of one row, one process has nothing


def test_recomputation_changes_no_bit(found: list[Figures]) -> None:
    assert found[0]["recompute"] == found[1]["recompute"] == {"fused": True, "own": True}


def test_the_reference_is_the_model_with_its_adapters_off(found: list[Figures]) -> None:
    for figures in (each["reference"] for each in found):
        assert figures["reference"] < 1e-5
        assert figures["learner"] < 1e-5
        assert figures["learned"] > 0.01


def test_a_sharded_model_takes_up_whole_weights_and_moments(found: list[Figures]) -> None:
    assert all(each["resumed"]["weights"] < 1e-6 for each in found)


def test_a_sharded_policy_draws_what_one_process_draws(found: list[Figures]) -> None:
    for figures in (each["sampling"] for each in found):
        assert figures["same"]
        assert figures["gap"] < 1e-5
        assert figures["dropped"]


def test_the_saved_folder_is_the_sharded_model(found: list[Figures], folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert all(each["files"]["others_hold_nothing"] for each in found)
    config = json.loads((folder / "model" / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    plain, expected = AutoModelForCausalLM.from_pretrained(folder / "model"), torch.load(folder / "expected.pt")
    said: list[torch.Tensor] = []
    with torch.no_grad():
        for row in expected["rows"]:
            relative = plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1)
            said.append(relative.gather(1, torch.tensor(row[1:])[:, None]).squeeze(1))
    assert torch.allclose(torch.cat(said), expected["logprobs"], atol=1e-4)


def test_weights_in_four_bits_stay_whole(found: list[Figures]) -> None:
    assert found[0]["four bits"]["codes"] == found[1]["four bits"]["codes"] == 2 * (4 * 32 * 32 + 3 * 32 * 64) // 2


def test_a_twin_is_sharded_and_has_weights_of_its_own(found: list[Figures]) -> None:
    for figures in (each["copies"] for each in found):
        assert figures["kept"]
        assert figures["moved"]
    assert found[0]["copies"]["share"] == found[1]["copies"]["share"] > 0
