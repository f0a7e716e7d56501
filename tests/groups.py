"""Short runs, on tiny models, of what learns from several responses to a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from tiny import END, FP32, PROMPTS, ByFunction, llama, metrics

from accord.algorithms import grpo, online_dpo, raft
from accord.algorithms.early_stopping import HeldOut
from accord.algorithms.rewards import Mixture, Term
from accord.engine.local import LocalSampler
from accord.protocols import Sampler, Scorer
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, OnlineDpoConfig, RaftConfig, ReinforceConfig, RlooConfig
from accord.settings.methods import METHODS
from accord.settings.mixins import DrawnBy, EarlyStopping, Episodes, LongPrompts, Recorded, Rewards, Training


class Kind(NamedTuple):
    """A method that learns from groups of its own samples: its settings, its loop, and how many responses a prompt gets here."""

    config: type[Any]
    train: Callable[..., Any]
    group_size: int


KINDS: dict[str, Kind] = {
    "grpo": Kind(GrpoConfig, grpo.train, 3),
    "rloo": Kind(RlooConfig, grpo.train, 3),
    "reinforce": Kind(ReinforceConfig, grpo.train, 1),
    "raft": Kind(RaftConfig, raft.train, 2),
    "online-dpo": Kind(OnlineDpoConfig, online_dpo.train, 2),
}
"""A new method takes its place in the laws by a line here."""
SMALL: dict[str, Any] = {
    "batch_size": 6,
    "minibatch_size": 3,
    "epochs": 2,
    "max_tokens": 6,
    "lr": 3e-4,  # a config alone knows no rate of a model's own
    "warmup_steps": 1,
    "warmup_share": 0.0,
    "save_every": 1,
}
READ_BY_THE_COMMAND = {
    field.name for mixin in (Rewards, EarlyStopping, Episodes, Recorded, DrawnBy, LongPrompts, Training) for field in fields(mixin)
} - {"seed", "micro_tokens", "save_every"}
"""Settings that a loop on tiny models cannot show: the command reads them, or a test of their own does."""
STOPS = (END, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Improved:
    """What a short run left."""

    policy: Any
    run: Run

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return metrics(self.run)

    @property
    def state(self) -> dict[str, Any]:
        restored = self.run.restore()
        assert restored is not None
        return restored[1]


def settings(kind: str, **asked: Any) -> Any:
    return KINDS[kind].config(**{**SMALL, "group_size": KINDS[kind].group_size, METHODS[kind].iterations: 2, **asked})


def by_default(response: list[int]) -> float:
    """A response is worth its number of distinct tokens."""
    return float(len(set(response)))


def improve(
    folder: Path,
    kind: str = "grpo",
    *,
    policy: Any = None,
    scorer: Scorer | None = None,
    terms: Sequence[Term] = (Term("model"),),
    rewards: Mixture | None = None,
    stop: Sequence[int] = STOPS,
    run: Run | None = None,
    sampler: Callable[[Any], Sampler] | None = None,
    prompts: Sequence[list[int]] = PROMPTS,
    held_out: HeldOut | None = None,
    **asked: Any,
) -> Improved:
    config, policy = settings(kind, **asked), llama(1) if policy is None else policy
    run = run or Run.start(folder, stage=kind, config=config, inputs={}, resume=False)
    KINDS[kind].train(
        config,
        policy=policy,
        reference=llama(1),
        sampler=sampler(policy) if sampler else LocalSampler(policy, stop=stop, dtype=FP32),
        rewards=rewards or Mixture(terms, dict.fromkeys((term.name for term in terms), scorer or ByFunction(by_default))),
        prompts=prompts,
        decode=lambda ids: " ".join(map(str, ids)),
        run=run,
        dtype=FP32,
        held_out=held_out,
    )
    return Improved(policy, run)
