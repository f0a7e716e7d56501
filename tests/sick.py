"""Real runs with a fault planted in them, small enough for a test, whose responses read as words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import END, FP32, VOCAB, ByFunction, llama, rng, scalar, sequences

from accord.algorithms import dpo, grpo, kto, ppo, reward, sft
from accord.algorithms.reward import RankedRows
from accord.algorithms.rewards import Mixture, Term
from accord.algorithms.sft import Example
from accord.engine.local import LocalSampler
from accord.evaluation.findings import Finding
from accord.evaluation.run_facts import examine, read_facts
from accord.protocols import Sampler, Scorer
from accord.records import Generation, Sampling
from accord.runtime.runs import Run
from accord.settings import DpoConfig, GrpoConfig, KtoConfig, PpoConfig, RewardConfig, SftConfig

STOPS = (END, 2, 3, 4, 5, 6, 7, 8)
PROMPTS = sequences([3, 5, 4, 7, 6, 3, 5, 4, 6, 5, 4, 3, 7, 5, 6, 4], seed=7)
HEALTHY: dict[str, Any] = {
    "steps": 16,
    "batch_size": 64,
    "minibatch_size": 16,
    "epochs": 2,
    "lr": 2e-3,
    "value_lr": 1e-2,
    "kl_coef": 0.05,
    "max_tokens": 24,
    "truncation": "terminate",
    "warmup_steps": 2,
    "ptx_coef": 0.0,
    "value_clip": 0.0,
    "save_every": 1,
}
Reward = Callable[[list[int]], float]


def greeting(row: list[int]) -> float:
    """A response is worth something when it holds token 40, and less the longer it is: nothing that length could buy."""
    return 3.0 * (40 in row) - 0.25 * len(row)


def upper(row: list[int]) -> float:
    """A response is worth its share of tokens from the upper half of the vocabulary: stop tokens are in the lower."""
    return 3 * sum(token >= VOCAB // 2 for token in row) / len(row)


def words(phrases: dict[int, str]) -> Callable[[Sequence[int]], str]:
    """Token ids as words: w12, or a phrase."""
    return lambda ids: " ".join("" if i in STOPS else phrases.get(i, f"w{i}") for i in ids).strip()


def ppo_run(
    folder: Path,
    *,
    reward: Reward | Scorer = greeting,
    seed: int = 0,
    policy: Any = None,
    stop: Sequence[int] = STOPS,
    sampler: Callable[[Any], Sampler] | None = None,
    phrases: dict[int, str] | None = None,
    **settings: Any,
) -> Path:
    """A PPO run of some seconds; a response is worth ``reward`` of its tokens."""
    config = PpoConfig(**{**HEALTHY, "seed": seed, **settings})
    policy = llama(1) if policy is None else policy
    run = Run.start(folder, stage="ppo", config=config, inputs={}, resume=False)
    documents = sequences([12, 9, 14, 8], seed=50)
    ppo.train(
        config,
        policy=policy,
        reference=llama(1),
        value=scalar(llama(2), 3),
        sampler=sampler(policy) if sampler else LocalSampler(policy, stop=stop, dtype=FP32),
        scorer=ByFunction(reward) if callable(reward) else reward,
        prompts=PROMPTS,
        pretraining=lambda skip: iter([[documents[i % 4], documents[(i + 1) % 4]] for i in range(skip, skip + 500)]),
        decode=words(phrases or {}),
        run=run,
        dtype=FP32,
    )
    return folder


def grpo_run(folder: Path, rewards: dict[str, tuple[float, Reward]], *, seed: int = 0, **settings: Any) -> Path:
    """A GRPO run on a mixture: name to weight and reward."""
    asked = {"steps": 16, "batch_size": 16, "group_size": 4, "minibatch_size": 16, "lr": 5e-3, "max_tokens": 24, "warmup_steps": 2}
    config = GrpoConfig(**{**asked, "save_every": 1, "seed": seed, **settings})
    policy = llama(1)
    terms = [Term(name, weight, weight) for name, (weight, _) in rewards.items()]
    grpo.train(
        config,
        policy=policy,
        reference=llama(1),
        sampler=LocalSampler(policy, stop=STOPS, dtype=FP32),
        rewards=Mixture(terms, {name: ByFunction(reward) for name, (_, reward) in rewards.items()}),
        prompts=PROMPTS,
        decode=words({}),
        run=Run.start(folder, stage="grpo", config=config, inputs={}, resume=False),
        dtype=FP32,
    )
    return folder


class Stale:
    """A sampler that is never given the policy's new weights."""

    def __init__(self, policy: Any) -> None:
        self.inner = LocalSampler(llama(1), stop=STOPS, dtype=FP32)

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        return self.inner.sample(prompts, n=n, sampling=sampling, generator=generator)

    def refresh(self) -> None:
        pass


class Hot:
    """A sampler whose temperature is not the one that is asked for: what a stray sampling rule amounts to."""

    def __init__(self, policy: Any, temperature: float) -> None:
        self.inner, self.temperature = LocalSampler(policy, stop=STOPS, dtype=FP32), temperature

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        return self.inner.sample(prompts, n=n, sampling=replace(sampling, temperature=self.temperature), generator=generator)

    def refresh(self) -> None:
        self.inner.refresh()


def sft_run(folder: Path, *, seed: int = 0, examples: int = 128, random: bool = False, **settings: Any) -> Path:
    """An SFT run: a response is the prompt's first token twice, or (``random``) nothing that can be known."""
    config = SftConfig(**{"epochs": 6, "batch_size": 16, "lr": 5e-3, "save_every": 1000, "ptx_tokens": 0, "seed": seed, **settings})
    prompts = [torch.randint(10, 30, (4,), generator=rng(i)).tolist() for i in range(examples + 32)]
    answers = [torch.randint(10, 30, (2,), generator=rng(9000 + i)).tolist() if random else [p[0], p[0]] for i, p in enumerate(prompts)]
    rows = [Example([*p, *a, END], 3) for p, a in zip(prompts, answers, strict=True)]
    run = Run.start(folder, stage="sft", config=config, inputs={}, resume=False)
    sft.train(config, model=llama(0, std=0.1, hidden=32), examples=rows[:-32], validation=rows[-32:], run=run, dtype=FP32)
    return folder


def reward_run(folder: Path, *, seed: int = 0, random: bool = False, rankings: int = 120, **settings: Any) -> Path:
    """A reward-model run on rankings that prefer the shorter, or (``random``) nothing."""

    def ranking(number: int) -> RankedRows:
        lengths: list[int] = (torch.randperm(10, generator=rng(number))[:4] + 1).tolist()
        rows = [torch.randint(2, VOCAB, (n,), generator=rng(number * 31 + i)).tolist() for i, n in enumerate(lengths)]
        order = sorted(lengths)
        ranks = (torch.randperm(4, generator=rng(7000 + number)) + 1).tolist() if random else [order.index(n) + 1 for n in lengths]
        return RankedRows([[2, 3, 4, *row, END] for row in rows], ranks)

    config = RewardConfig(**{"batch_size": 8, "epochs": 2, "lr": 5e-3, "save_every": 1000, "seed": seed, **settings})
    rows = [ranking(number) for number in range(rankings + 60)]
    run = Run.start(folder, stage="reward", config=config, inputs={}, resume=False)
    model = scalar(llama(0, std=0.1))
    reward.train(config, model=model, rankings=rows[:-60], validation=rows[-60:], demonstrations=[], run=run, dtype=FP32)
    return folder


def dpo_run(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """A DPO run on pairs that differ in their last token: 40 is liked."""

    def pair(number: int) -> dpo.RankedResponses:
        prompt, said = (torch.randint(10, 39, (n,), generator=rng(number + 500 * n)).tolist() for n in (3, 7))
        return dpo.RankedResponses([[*prompt, *said, 40, END], [*prompt, *said, 41, END]], [9, 9], [1, 2])

    config = DpoConfig(**{"epochs": 4, "batch_size": 8, "lr": 2e-3, "save_every": 1000, "seed": seed, **settings})
    rows = [pair(number) for number in range(120)]
    run = Run.start(folder, stage="dpo", config=config, inputs={}, resume=False)
    dpo.train(config, policy=llama(0, std=0.1), rankings=rows[:-20], validation=rows[-20:], run=run, dtype=FP32)
    return folder


def kto_run(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """A KTO run on thumbs that go by the last token: 40 is liked."""

    def thumb(number: int) -> kto.ThumbRow:
        tokens: list[int] = torch.randint(10, 39, (10,), generator=rng(number)).tolist()
        return kto.ThumbRow([*tokens, 40 + number % 2, END], 9, number % 2 == 0)

    config = KtoConfig(**{"epochs": 3, "batch_size": 16, "lr": 1e-3, "save_every": 1000, "seed": seed, **settings})
    rows = [thumb(number) for number in range(240)]
    run = Run.start(folder, stage="kto", config=config, inputs={}, resume=False)
    kto.train(config, policy=llama(0, std=0.1), thumbs=rows[:-40], validation=rows[-40:], run=run, dtype=FP32)
    return folder


def found(folder: Path) -> dict[str, Finding]:
    """What is found in a run, by name."""
    return {finding.name: finding for finding in examine(read_facts(folder))}
