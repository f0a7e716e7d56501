"""Short runs of every method that learns from its own samples, the same for one process and for several: torchrun starts this file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import torch
from groups import improve, settings
from rolled import Dice
from tiny import END, FP32, PROMPTS, SMALL, learn, llama, scalar, weights
from torch import Tensor

from accord.algorithms import distill, star
from accord.algorithms.draws import Remembered
from accord.algorithms.process import ProcessReward
from accord.algorithms.rewards import ExactAnswer, Length, Mixture, Rows, Term, TextPart
from accord.algorithms.star import Question
from accord.engine.local import LocalSampler
from accord.models.scalar import RewardModel
from accord.models.sharding import gathered, is_sharded, sharded
from accord.records import Generation, Message, Prompt, Sampling
from accord.rewards.functions import FunctionReward
from accord.runtime import ranks
from accord.runtime.recordings import FOLDER, Recordings
from accord.runtime.runs import Run
from accord.settings import DistillConfig, PpoConfig, StarConfig

STEPS = 3


@dataclass(frozen=True)
class Asked:
    """One request to a sampler: with what it was drawn, and what came."""

    prompts: list[list[int]]
    n: int
    sampling: Sampling
    random: Tensor
    weights: dict[str, Tensor]
    generation: Generation


@dataclass(frozen=True)
class Recorded:
    """A sampler that keeps every request beside its answer. Where DIE names this process, the request of that number kills it."""

    sampler: LocalSampler
    asked: list[Asked] = field(default_factory=list[Asked])

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        if os.environ.get("DIE") == f"{ranks.rank()} {len(self.asked) + 1}":
            os.kill(os.getpid(), signal.SIGKILL)
        random = generator.get_state()
        generation = self.sampler.sample(prompts, n=n, sampling=sampling, generator=generator)
        self.asked.append(
            Asked([list(prompt) for prompt in prompts], n, sampling, random, weights(gathered(self.sampler.trained)), generation)
        )
        return generation

    def refresh(self) -> None:
        self.sampler.refresh()


class Server(Dice):
    """A sampler outside the processes, with random numbers of its own, which keeps its requests too."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy, seed=3)
        self.asked = list[Asked]()

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        generation = super().sample(prompts, n=n, sampling=sampling, generator=generator)
        random = torch.Generator().manual_seed(3 + self.draws).get_state()
        self.asked.append(Asked([list(prompt) for prompt in prompts], n, sampling, random, weights(self.copy), generation))
        return generation


@dataclass
class Counted:
    """A reward function of a user's, which counts the rows that this process gave it."""

    rows: int = 0

    def __call__(self, prompts: list[str], responses: list[str]) -> list[float]:
        self.rows += len(responses)
        return [float(len(set(response.split()))) for response in responses]


def words(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def texts(own: Counted) -> TextPart:
    """A reward function of texts; prompts are written as their tokens' numbers."""
    asked = [Prompt(f"p{place}", (Message("user", words(ids)),)) for place, ids in enumerate(PROMPTS)]
    return TextPart(FunctionReward("own", own), Rows(asked, PROMPTS, words))


@dataclass
class Outcome:
    """What a run left in one process."""

    weights: dict[str, Tensor]
    asked: list[Asked]
    counted: int = 0
    more: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


class Watch:
    """Makes a method's sampler and keeps it."""

    def __init__(self, stop: Sequence[int] = (END, 2, 3, 4, 5, 6, 7, 8), **asked: Any) -> None:
        self.stop, self.asked = stop, asked

    def __call__(self, policy: Any) -> Recorded:
        self.sampler = Recorded(LocalSampler(policy, stop=self.stop, dtype=FP32, divides=True, **self.asked))
        return self.sampler


def rewards(own: Counted) -> Mixture:
    """A reward model, a function, and a part with a limit, whose multiplier moves with the mean of its scores."""
    terms = (Term("model", 1.0, 0.5), Term("own", 0.5, 0.5), Term("length", limit=4.0))
    model = RewardModel(scalar(llama(5), 6), dtype=FP32, batch_tokens=40)
    return Mixture(terms, {"model": model, "own": texts(own), "length": Length()})


def in_parts(model: Any) -> Any:
    """Shard a model's weights over the processes, if there are several."""
    held = sharded(model)
    assert is_sharded(held) == (ranks.world() > 1)
    return held


def started(folder: Path, stage: str, config: Any) -> Run:
    """Start a run, or go on with the one that is there."""
    return Run.start(folder, stage=stage, config=config, inputs={}, resume=Run.started(folder))


def group_method(kind: str, hold: Callable[[Any], Any] = lambda model: model, **asked: Any) -> Callable[[Path], Outcome]:
    """Return a run of a method. ``hold`` says how the processes hold the policy's weights."""

    def run(folder: Path) -> Outcome:
        watch, own = Watch(), Counted()
        with_steps: dict[str, Any] = {"rounds" if kind == "raft" else "steps": STEPS, "micro_tokens": 40, **asked}
        begun = started(folder, kind, settings(kind, **with_steps))
        policy = hold(llama(1))
        learned = improve(folder, kind, policy=policy, rewards=rewards(own), sampler=watch, run=begun, **with_steps)
        return Outcome(weights(gathered(learned.policy)), watch.sampler.asked, own.rows)

    return run


def by_server(folder: Path) -> Outcome:
    """PPO one step ahead of a server: rollouts are recorded, and importance weights correct for what it does not know yet."""
    made = list[Server]()

    def server(policy: Any) -> Server:
        made.append(Server(policy))
        return made[0]

    asked: dict[str, Any] = {"steps": STEPS, "micro_tokens": 40, "lr": 1e-3, "value_lr": 1e-3, "staleness": 1}
    run, own = started(folder, "ppo", PpoConfig(**{**SMALL, **asked})), Counted()
    said = Remembered("own", texts(own), Recordings(run.folder / FOLDER))
    learned = learn(folder, sampler=server, scorer=said, run=run, **asked)
    return Outcome(weights(learned.policy), made[0].asked, own.rows, weights(learned.value))


def ppo(folder: Path, hold: Callable[[Any], Any] = lambda model: model) -> Outcome:
    watch, own = Watch(), Counted()
    dense = ProcessReward(scalar(llama(7), 8), dtype=FP32, batch_tokens=40)
    mixed = Mixture((Term("own"), Term("process", 0.3, 0.3)), {"own": texts(own), "process": dense})
    asked: dict[str, Any] = {
        "steps": STEPS,
        "micro_tokens": 40,
        "lr": 1e-3,
        "value_lr": 1e-3,
        "ptx_coef": 2.0,
        "ema": 0.5,
        "kl_target": 0.1,
    }
    asked |= {"kl_horizon": 50, "kl_stop": 1e-3, "epochs": 3, "whiten_rewards": True, "truncation": "bootstrap"}
    begun = started(folder, "ppo", PpoConfig(**{**SMALL, **asked}))
    learned = learn(folder, policy=hold(llama(1)), scorer=mixed, sampler=watch, run=begun, **asked)
    return Outcome(weights(gathered(learned.policy)), watch.sampler.asked, own.rows, weights(learned.value))


QUESTIONS = [Question([10 + i, 20 + i], [10 + i, 20 + i, 40 + i % 4]) for i in range(7)]
ANSWERS = {tuple(question.plain): Decimal(i % 4) for i, question in enumerate(QUESTIONS)}


def self_taught(folder: Path) -> Outcome:
    config = StarConfig(
        rounds=STEPS, batch_size=5, attempts=3, max_tokens=3, warmup_steps=1, warmup_share=0.0, lr=1e-2, minibatch_size=3, micro_tokens=12
    )
    policy, watch = llama(1), Watch(stop=(END, *range(2, 30)))
    star.train(
        config,
        policy=policy,
        sampler=watch(policy),
        scorer=ExactAnswer(ANSWERS, lambda ids: f"#### {ids[0] % 4}"),
        questions=QUESTIONS,
        decode=words,
        run=started(folder, "star", config),
        dtype=FP32,
    )
    return Outcome(weights(policy), watch.sampler.asked)


def distilled(folder: Path) -> Outcome:
    asked: dict[str, Any] = {"steps": STEPS, "batch_size": 5, "on_policy": 1.0, "max_tokens": 6, "lr": 1e-2, "micro_tokens": 40}
    config = DistillConfig(**asked, warmup_steps=1, warmup_share=0.0)
    policy, watch = llama(1), Watch()
    distill.train(
        config,
        policy=policy,
        teacher=llama(3),
        sampler=watch(policy),
        teacher_sampler=None,
        prompts=PROMPTS,
        written=(),
        decode=words,
        run=started(folder, "distill", config),
        dtype=FP32,
    )
    return Outcome(weights(policy), watch.sampler.asked)


def sampler_alone(folder: Path) -> Outcome:
    """Rows that are fewer than the processes, that need waves, greedy ones, filtered ones."""
    policy = llama(4)
    sampler = Watch(cache_bytes=1)(policy)
    for prompts in (PROMPTS, PROMPTS[:1]):
        for sampling in (Sampling(max_tokens=9), Sampling(temperature=0.0, max_tokens=5), Sampling(0.7, 9, 0.9, 1.2, 8)):
            sampler.sample(prompts, n=2, sampling=sampling, generator=torch.Generator().manual_seed(len(prompts)))
    return Outcome(weights(policy), sampler.asked)


RUNS: dict[str, Callable[[Path], Outcome]] = {
    "grpo": group_method("grpo", resample=1, kl_coef=0.05),
    "rloo": group_method("rloo"),
    "reinforce": group_method("reinforce", truncation="mask"),
    "raft": group_method("raft"),
    "online-dpo": group_method("online-dpo"),
    "distill": distilled,
    "ppo": ppo,
    "server": by_server,
    "grpo, sharded": group_method("grpo", in_parts, resample=1, kl_coef=0.05),
    "raft, sharded": group_method("raft", in_parts, restart=True),
    "ppo, sharded": partial(ppo, hold=in_parts),
    "star": self_taught,
    "sampler": sampler_alone,
}


def main(folder: Path, names: Sequence[str]) -> None:
    ranks.start(torch.device("cpu"), 60)
    for name in names:
        torch.save(RUNS[name](folder / name), folder / f"{name}-{ranks.rank()}.pt")
    ranks.end()


if __name__ == "__main__":
    torch.set_num_threads(1)
    import sampled  # by the name under which a test reads what is written here

    sampled.main(Path(sys.argv[1]), sys.argv[2:] or list(RUNS))
