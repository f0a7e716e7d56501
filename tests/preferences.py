"""Short runs of DPO and KTO on tiny models, rankings and thumbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import FP32, llama, metrics, sequences

from accord.algorithms import dpo, kto
from accord.algorithms.dpo import RankedResponses, ranked_responses
from accord.algorithms.kto import thumb_row
from accord.data.token_rows import RowWindow
from accord.runtime.runs import Run
from accord.settings import DpoConfig, KtoConfig


def ranking(seed: int) -> RankedResponses:
    prompt, responses = sequences([3 + seed % 4], seed=seed)[0], sequences([4, 2, 6], seed=90 + seed)
    return ranked_responses(prompt, responses, [2, 1, 2 + seed % 2], RowWindow(64), f"ranking {seed}")


RANKINGS = [ranking(seed) for seed in range(10)]
WINDOW = RowWindow(64)
THUMBS = [
    thumb_row(sequences([3 + i % 4], seed=i % 6)[0], sequences([2 + i % 5], seed=200 + i)[0], i % 3 > 0, WINDOW, str(i)) for i in range(18)
]


def learn_dpo(folder: Path, policy: Any = None, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    config = DpoConfig(**{"lr": 1e-2, "warmup_steps": 1, "batch_size": 4, **asked})
    policy = llama() if policy is None else policy
    run = Run.start(folder, stage="dpo", config=config, inputs={}, resume=False)
    dpo.train(config, policy=policy, rankings=RANKINGS[:7], validation=RANKINGS[7:9], held_out_group=RANKINGS[9:], run=run, dtype=FP32)
    return policy, metrics(run)


def learn_kto(folder: Path, policy: Any = None, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    config = KtoConfig(**{"lr": 1e-2, "warmup_steps": 1, "batch_size": 4, **asked})
    policy = llama() if policy is None else policy
    run = Run.start(folder, stage="kto", config=config, inputs={}, resume=False)
    kto.train(config, policy=policy, thumbs=THUMBS[:12], validation=THUMBS[12:16], held_out_group=THUMBS[16:], run=run, dtype=FP32)
    return policy, metrics(run)
