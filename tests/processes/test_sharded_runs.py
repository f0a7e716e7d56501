"""Commands under --shard full, by two processes against one: adapters over shared weights, ordinary models, a resume by either.

The other methods are compared in test_supervised.py and test_sampled.py.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "commands" / "train")]

from sharded_runs import RUNS  # noqa: E402
from small_project import FLAGS, RESUME, labeled, rankings, with_sft_model  # noqa: E402

from accord.commands.train.reward import reward  # noqa: E402
from accord.settings import RewardConfig  # noqa: E402

NAMES = {"sft": "chat"}
"""A run that is not called after its method."""
SECONDS = 300
CLOCK = ("second", "peak_rss")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an SFT and a reward model."""
    folder = tmp_path_factory.mktemp("project")
    made = labeled(with_sft_model(folder / "unlabeled"), folder / "p", rankings())
    reward(made, config=RewardConfig(batch_size=3, lr=1e-2), flags=FLAGS)
    return made.path


def torchrun(folder: Path, *names: str, processes: int = 2, **more: str) -> None:
    """Run methods as several processes; where DIE says that one kills itself, they fail. Neither outlives the test."""
    path = os.pathsep.join([*sys.path[:2], str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), str(HERE / "sharded_runs.py")]
    words += [str(folder), *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            code = process.wait(SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (code != 0) is ("DIE" in more), (folder / "log.txt").read_text()[-4000:]


@pytest.fixture(scope="module")
def one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every method's run by this process."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("one") / "p"))
    for run in RUNS.values():
        run(folder, FLAGS)
    return folder


@pytest.fixture(scope="module")
def two(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every method's run by two processes, all in one start of them."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("two") / "p"))
    torchrun(folder, *RUNS)
    return folder


def metrics(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in row.items() if not any(word in name for word in CLOCK)} for row in rows]
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in kept]


def weights(model: Path) -> dict[str, Tensor]:
    return {f"{file.name} {name}": value for file in model.glob("*.safetensors") for name, value in load_file(file).items()}


def alike(one: Path, two: Path, run: str) -> None:
    alone, together = (metrics(folder / "runs" / run) for folder in (one, two))
    assert len(alone) == len(together) > 1
    for before, after in zip(alone, together, strict=True):
        assert after == pytest.approx(before, abs=1e-5, rel=1e-5, nan_ok=True)
    for model in [run, f"{run}-value"] if run.startswith("ppo") else [run]:
        mine, theirs = (weights(folder / "models" / model) for folder in (one, two))
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(theirs[key], value, atol=1e-6, rtol=0, msg=f"{model} {key}")


@pytest.mark.parametrize("method", RUNS)
def test_sharded_over_two_processes_it_learns_what_one_learns(method: str, one: Path, two: Path) -> None:
    alike(one, two, NAMES.get(method, method))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 5])
def test_odd_numbers_of_processes_learn_what_one_learns(processes: int, project: Path, one: Path, tmp_path: Path) -> None:
    """Batches, widths and vocabulary are no multiples of them, and of five some have no row of a minibatch of three."""
    folder = Path(shutil.copytree(project, tmp_path / "p"))
    torchrun(folder, "sft", "ppo", processes=processes)
    for run in ("chat", "ppo"):
        alike(one, folder, run)


@pytest.mark.parametrize("method", RUNS)
def test_it_learned_in_three_steps(method: str, project: Path, one: Path) -> None:
    rows = metrics(one / "runs" / NAMES.get(method, method))
    assert all(row["grad_norm"] > 0 for row in rows)


def test_a_killed_run_goes_on_to_the_same_bits_and_in_one_process_to_the_same_numbers(project: Path, two: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "p"))
    torchrun(folder, "sft", DIE="1 3")
    alone = Path(shutil.copytree(folder, tmp_path / "alone"))
    torchrun(folder, "sft", RESUME="1")
    finished = [(path / "models" / "chat" / "model.safetensors").read_bytes() for path in (folder, two)]
    assert finished[0] == finished[1]
    RUNS["sft"](alone, RESUME)
    alike(alone, two, "chat")


def test_another_program_opens_the_models(two: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kinds = ((AutoModelForCausalLM, ("chat", "ppo-lora")), (AutoModelForSequenceClassification, ("ppo-value", "ppo-lora-value")))
    for opened, names in kinds:
        for name in names:
            model, told = opened.from_pretrained(two / "models" / name, output_loading_info=True)
            assert not told["missing_keys"]
            assert not told["unexpected_keys"]
            assert not type(model).__name__.startswith("FSDP")
