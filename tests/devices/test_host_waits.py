"""A training step makes the host wait for the device once, counted on the pretend accelerator of tests/far.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from far import FAR, Waits, accelerator
from tiny import FP32, PROMPTS, SMALL, ByFunction, llama, scalar, sequences

from accord.algorithms import dpo, grpo, kto, ppo, process, reward, sft
from accord.algorithms.rewards import Mixture, Term
from accord.engine.local import LocalSampler
from accord.runtime.runs import Run
from accord.settings import DpoConfig, GrpoConfig, KtoConfig, PpoConfig, ProcessConfig, RewardConfig, SftConfig

FEW: dict[str, Any] = {"epochs": 1, "batch_size": 2, "warmup_steps": 1, "save_every": 10**6, "lr": 1e-3}
SAMPLING: dict[str, Any] = {**SMALL, "steps": 1, "minibatch_size": 6, "save_every": 10**6, "lr": 1e-3}
REWARD = ByFunction(lambda response: float(len(set(response))))


def train_sft(updates: int, folder: Path) -> None:
    config = SftConfig(**FEW, select="last")
    run = Run.start(folder, stage="sft", config=config, inputs={}, resume=False)
    rows = [sft.Example(row, 4) for row in sequences([10] * 2 * updates)]
    sft.train(config, model=llama(1).to(FAR), examples=rows, validation=(), run=run, dtype=FP32)


def train_reward(updates: int, folder: Path) -> None:
    config = RewardConfig(**FEW)
    run = Run.start(folder, stage="reward", config=config, inputs={}, resume=False)
    rows = [reward.RankedRows(sequences([5, 6, 7], seed=number), [1, 2, 2]) for number in range(2 * updates)]
    reward.train(config, model=scalar(llama(1)).to(FAR), rankings=rows, validation=(), demonstrations=(), run=run, dtype=FP32)


def train_dpo(updates: int, folder: Path, loss: str = "sigmoid") -> None:
    config = DpoConfig(**FEW, loss=loss)  # type: ignore[arg-type]
    run = Run.start(folder, stage="dpo", config=config, inputs={}, resume=False)
    rows = [dpo.RankedResponses(sequences([8, 9, 7], seed=number), [4, 5, 3], [1, 2, 3]) for number in range(2 * updates)]
    dpo.train(config, policy=llama(1).to(FAR), rankings=rows, validation=(), run=run, dtype=FP32)


def train_kto(updates: int, folder: Path) -> None:
    config = KtoConfig(**FEW)
    run = Run.start(folder, stage="kto", config=config, inputs={}, resume=False)
    rows = [kto.ThumbRow(row, 4, number % 2 == 0) for number, row in enumerate(sequences([10] * 2 * updates))]
    kto.train(config, policy=llama(1).to(FAR), thumbs=rows, validation=(), run=run, dtype=FP32)


def train_process(updates: int, folder: Path) -> None:
    config = ProcessConfig(**FEW)
    run = Run.start(folder, stage="process", config=config, inputs={}, resume=False)
    rows = [process.MarkedRow(row, [False, True, False]) for row in sequences([8] * 2 * updates)]
    process.train(config, model=scalar(llama(1)).to(FAR), rows=rows, validation=(), run=run, dtype=FP32)


def train_ppo(updates: int, folder: Path) -> None:
    config = PpoConfig(**{**SAMPLING, "epochs": updates})
    run = Run.start(folder, stage="ppo", config=config, inputs={}, resume=False)
    policy = llama(1).to(FAR)
    sampler = LocalSampler(policy, stop=(1, 2, 3), dtype=FP32)
    ppo.train(config, policy=policy, reference=llama(1).to(FAR), value=scalar(llama(2)).to(FAR), sampler=sampler, scorer=REWARD,
              prompts=PROMPTS, pretraining=None, decode=str, run=run, dtype=FP32)  # fmt: skip


def train_grpo(updates: int, folder: Path) -> None:
    settings = {name: value for name, value in SAMPLING.items() if name not in ("ptx_coef", "value_lr")}
    config = GrpoConfig(**{**settings, "epochs": updates, "group_size": 3})
    run = Run.start(folder, stage="grpo", config=config, inputs={}, resume=False)
    policy = llama(1).to(FAR)
    sampler = LocalSampler(policy, stop=(1, 2, 3), dtype=FP32)
    grpo.train(config, policy=policy, reference=llama(1).to(FAR), sampler=sampler, rewards=Mixture([Term("model")], {"model": REWARD}),
               prompts=PROMPTS, decode=str, run=run, dtype=FP32)  # fmt: skip


TRAINING: dict[str, Callable[[int, Path], None]] = {
    "sft": train_sft,
    "reward": train_reward,
    "dpo": train_dpo,
    "dpo of rankings": lambda updates, folder: train_dpo(updates, folder, "plackett-luce"),
    "orpo": lambda updates, folder: train_dpo(updates, folder, "orpo"),
    "kto": train_kto,
    "process": train_process,
    "ppo": train_ppo,
    "grpo": train_grpo,
}


@pytest.fixture(autouse=True)
def one_kind_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pretend accelerator has no bfloat16 of its own."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.mark.parametrize("method", TRAINING)
def test_the_host_waits_once_a_step(method: str, tmp_path: Path) -> None:
    waits = list[int]()
    with accelerator():
        for updates in (2, 5):
            before = Waits.count
            torch.manual_seed(0)
            TRAINING[method](updates, tmp_path / str(updates))
            waits.append(Waits.count - before)
    assert (waits[1] - waits[0]) / 3 <= 1, waits
