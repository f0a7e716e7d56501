"""A training step makes the host wait for the device once, and decoding once in sixteen tokens, counted on the pretend accelerator of
tests/far.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from far import FAR, Waits, accelerator
from tiny import FP32, PROMPTS, SMALL, ByFunction, llama, rng, scalar, sequences

from accord.algorithms import dpo, grpo, kto, ppo, process, reward, sft
from accord.algorithms.rewards import Mixture, Term
from accord.engine.batching import BatchEngine, Request
from accord.engine.guided import QGuide
from accord.engine.local import LocalSampler
from accord.models.paths import path_of, take
from accord.models.qvalues import QNetwork
from accord.records import Sampling
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


ROWS = sequences([3, 5, 4, 3])
STOPS = range(1, 5)
"""So many that some rows end early, and others not."""


def drawn_together(model: Any, tokens: int, stop: Any) -> list[list[int]]:
    sampling = Sampling(max_tokens=tokens, repetition_penalty=1.1)
    return LocalSampler(model, stop=list(stop), dtype=FP32).sample(ROWS, n=2, sampling=sampling, generator=rng()).rows()


def drawn_guided(model: Any, tokens: int, stop: Any) -> list[list[int]]:
    model.guide = QGuide(QNetwork(model), beta=2.0)
    return drawn_together(model, tokens, stop)


def drawn_continuously(model: Any, tokens: int, stop: Any) -> list[list[int]]:
    """By the serving engine: requests of many lengths and ways of sampling, one of them joining later, with log-probabilities."""
    engine = BatchEngine(model, stop=list(stop), dtype=FP32, context=100)
    ways: list[dict[str, Any]] = [{}, {"temperature": 0.0}, {"repetition_penalty": 1.3}, {"top_p": 0.8, "top_k": 20}]
    limits = [tokens, tokens, tokens - 7, tokens]
    asked = [Request(tuple(row), Sampling(max_tokens=most, **how), 3, 2) for row, most, how in zip(ROWS, limits, ways, strict=True)]
    came: dict[int, list[int]] = {engine.submit(request): [] for request in asked[:-1]}
    waiting = asked[-1:]
    while engine.busy:
        for token in engine.step():
            came[token.ticket].append(token.token)
        for request in waiting:
            came[engine.submit(request)] = []
        waiting = []
    return list(came.values())


DRAWN: dict[str, Callable[[Any, int, Any], list[list[int]]]] = {
    "local": drawn_together,
    "guided": drawn_guided,
    "batch": drawn_continuously,
}


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        *(("local", "fused"), ("local", "own"), ("local", "grouped")),
        *(("batch", "fused"), ("batch", "own"), ("batch", "grouped")),
        ("guided", "fused"),
    ],
)
def test_decoding_makes_the_host_wait_once_in_sixteen_tokens(engine: str, path: Any) -> None:
    """And draws the tokens that the CPU draws, which looks at every one of them.

    Not on the path that reads rows as a whole for each token, nor with pads on the plain path: there transformers itself looks at
    its masks.
    """
    draw, few, many = DRAWN[engine], 16, 32
    expected = {few: draw(take(llama(1, layers=1), path), few, ()), many: draw(take(llama(1, layers=1), path), many, ())}
    stopped = draw(take(llama(1, layers=1), path), many, STOPS)
    assert min(map(len, stopped)) < 16 < max(map(len, stopped)), "rows should end at different looks"
    waits = dict[int, int]()
    with accelerator() as waited:
        far = take(llama(1, layers=1).to(FAR), path)
        assert path_of(far.base_model) == path
        for tokens, rows in expected.items():
            before = waited.count
            assert draw(far, tokens, ()) == rows
            waits[tokens] = waited.count - before
        assert draw(far, many, STOPS) == stopped
    assert waits[many] - waits[few] <= (many - few) / 16, waits
