"""A run over a sampler that never draws the same twice, as a server elsewhere does; by itself, to be killed in the middle.

python tests/rolled.py KIND FOLDER STALENESS STEP      kills itself once the responses of STEP are drawn, before they are learned from
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from groups import STOPS, improve, settings
from tiny import FP32, SMALL, learn, llama
from torch import Tensor

from accord.engine.local import LocalSampler
from accord.protocols import Sampler, Scorer
from accord.records import Generation, Sampling
from accord.runtime.runs import Run
from accord.settings import PpoConfig

ASKED: dict[str, Any] = {"save_every": 2, "lr": 1e-3, "batch_size": 6, "gap_multiple": 2.5}
STEPS = 5


class Dice:
    """A server elsewhere: it keeps a copy of the weights that it was brought, and its own random numbers."""

    foreign = True

    def __init__(self, policy: Any, seed: int | None = None) -> None:
        self.policy, self.copy, self.stale, self.seed, self.draws = policy, llama(1), True, seed, 0

    def bring(self) -> None:
        if self.stale:
            self.copy.load_state_dict(self.policy.state_dict())
        self.stale = False

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        self.bring()
        self.draws += 1
        seed = int.from_bytes(os.urandom(4), "big") if self.seed is None else self.seed + self.draws
        inner = LocalSampler(self.copy, stop=STOPS, dtype=FP32)
        return inner.sample(prompts, n=n, sampling=sampling, generator=torch.Generator().manual_seed(seed))

    def refresh(self) -> None:
        self.stale = True


class Fatal:
    """A scorer that ends the process, or raises, in the n-th batch that it sees."""

    def __init__(self, at: int, end: Callable[[], None]) -> None:
        self.left, self.end = at, end

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.end()
        return torch.tensor([float(len(set(response))) for response in responses])


def never() -> None:
    raise AssertionError("this scorer was to see fewer batches")


def run(
    kind: str,
    folder: Path,
    sampler: Callable[[Any], Sampler] = Dice,
    *,
    resume: bool = False,
    fatal: Fatal | None = None,
    scorer: Scorer | None = None,
    **asked: Any,
) -> Any:
    """Train in a folder, or go on there, and return what is left."""
    scorer, steps = scorer or fatal or Fatal(0, never), {"rounds" if kind == "raft" else "steps": STEPS}
    whole = {**ASKED, **steps, **asked}
    config = PpoConfig(**{**SMALL, **whole}) if kind == "ppo" else settings(kind, **whole)
    begun = Run.start(folder, stage=kind, config=config, inputs={}, resume=resume)
    if kind == "ppo":
        return learn(folder, run=begun, sampler=sampler, scorer=scorer, **whole)
    return improve(folder, kind, run=begun, sampler=sampler, scorer=scorer, **whole)


if __name__ == "__main__":
    kind, folder, staleness, step = sys.argv[1:]
    late = {"staleness": int(staleness)} if int(staleness) else {}
    run(kind, Path(folder), fatal=Fatal(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL)), **late)
