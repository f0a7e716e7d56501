"""Commands under --shard full that share weights, three steps each, on a small project: for torchrun, and for one process, which shards
nothing.

Words: the project's folder, then the methods to run. DIE and RESUME are those of supervised.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["SHARD"] = "full"  # read by supervised

from supervised import RUNS as SUPERVISED
from supervised import mortal

from accord.commands.app import RunFlags
from accord.commands.train.grpo import grpo
from accord.commands.train.ppo import ppo
from accord.runtime import ranks
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, PpoConfig

SMALL: dict[str, Any] = {"batch_size": 6, "minibatch_size": 3, "max_tokens": 6, "lr": 1e-3, "warmup_steps": 1, "adam_epsilon": 1e-4}
SMALL |= {"micro_tokens": 64, "shard": "full"}
GROUPS: dict[str, Any] = {**SMALL, "truncation": "terminate", "steps": 3, "group_size": 3, "epochs": 1}
PPO: dict[str, Any] = {**SMALL, "steps": 3, "value_lr": 1e-3, "ptx_coef": 0.5, "ptx_tokens": 64, "ema": 0.5}

RUNS: dict[str, Callable[[Path, RunFlags], Run]] = {
    "sft": SUPERVISED["sft"],
    "grpo-lora": lambda p, f: grpo(p, name="grpo-lora", flags=f, config=GrpoConfig(**GROUPS, lora_rank=2, lora_bits=4, recompute=True)),
    "ppo": lambda p, f: ppo(p, name="ppo", flags=f, config=PpoConfig(**PPO)),
    "ppo-lora": lambda p, f: ppo(p, name="ppo-lora", flags=f, config=PpoConfig(**PPO, lora_rank=2)),
}

if __name__ == "__main__":
    if os.environ.get("DIE"):
        mortal(os.environ["DIE"])
    folder, *names = sys.argv[1:]
    for name in names:
        RUNS[name](Path(folder), RunFlags(dtype="float32", device="cpu", resume="RESUME" in os.environ))
    ranks.end()
