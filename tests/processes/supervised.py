"""The methods that learn from written rows, three steps each, on a small project: a program for torchrun, and for one process.

Words: the project's folder, then the methods to run. DIE names a rank and a step: that process kills itself when it has logged the step.
SHARD says how the processes hold the model.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exchanges import check

from accord.commands.app import RunFlags
from accord.commands.train.dpo import dpo
from accord.commands.train.ilql import ilql
from accord.commands.train.kto import kto
from accord.commands.train.pretrain import pretrain
from accord.commands.train.process import process
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.runtime import ranks
from accord.runtime.runs import Run
from accord.settings import DpoConfig, IlqlConfig, KtoConfig, PretrainConfig, ProcessConfig, RewardConfig, SftConfig

STEPS = 3
HELD: dict[str, Any] = {"shard": os.environ.get("SHARD", "auto")}
SMALL: dict[str, Any] = {**HELD, "batch_size": 3, "micro_tokens": 64, "epochs": 1, "lr": 1e-3, "warmup_steps": 1, "adam_epsilon": 1e-4}
"""Seven rows are learned from: the last batch has one, so that a process has none, and passes hold a row or two."""
BODY: dict[str, Any] = {**HELD, "vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "context": 1024}
NEAR: dict[str, Any] = {"held_out_group": "far"}

RUNS: dict[str, Callable[[Path, RunFlags], Run]] = {
    "pretrain": lambda p, f: pretrain(
        p, name="pretrain", flags=f, config=PretrainConfig(**BODY, tokens=2500, batch_tokens=1024, warmup_steps=2, adam_epsilon=1e-4)
    ),
    "sft": lambda p, f: sft(p, name="chat", flags=f, config=SftConfig(**SMALL, ptx_tokens=64, save_every=1)),
    "sft-lora": lambda p, f: sft(p, name="lora", flags=f, config=SftConfig(**SMALL, ptx_tokens=0, lora_rank=2, muon_lr=0.0)),
    "reward": lambda p, f: reward(p, flags=f, config=RewardConfig(**SMALL, **NEAR, ties="model")),
    "dpo": lambda p, f: dpo(p, flags=f, config=DpoConfig(**SMALL, **NEAR)),
    "dpo-pl": lambda p, f: dpo(p, name="dpo-pl", flags=f, config=DpoConfig(**SMALL, **NEAR, loss="plackett-luce")),
    "orpo": lambda p, f: dpo(p, name="orpo", flags=f, config=DpoConfig(**SMALL, **NEAR, loss="orpo")),
    "kto": lambda p, f: kto(p, flags=f, config=KtoConfig(**SMALL | {"batch_size": 5}, **NEAR)),
    "process": lambda p, f: process(p, flags=f, config=ProcessConfig(**SMALL | {"batch_size": 5})),
    "ilql": lambda p, f: ilql(p, flags=f, config=IlqlConfig(**SMALL | {"batch_size": 10}, **NEAR)),
}


def mortal(at: str) -> None:
    """Let a process kill itself when it has logged a step; ``at`` is its rank and the step."""
    number, last = map(int, at.split())
    log = Run.log

    def dying(self: Run, step: int, **metrics: float) -> None:
        log(self, step, **metrics)
        if (ranks.rank(), step) == (number, last):
            os.kill(os.getpid(), signal.SIGKILL)

    Run.log = dying


if __name__ == "__main__":
    if os.environ.get("DIE"):
        mortal(os.environ["DIE"])
    folder, *names = sys.argv[1:]
    if "EXCHANGE" in os.environ:
        check(Path(os.environ["EXCHANGE"]))
    for name in names:
        RUNS[name](Path(folder), RunFlags(dtype="float32", device="cpu", resume="RESUME" in os.environ))
    ranks.end()
